//! Values that are read where they lie.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use ray_core::memory::ObjectState;
use ray_core::value::{Archived, Array, Buffer, Table, Tensor};
use ray_core::{ObjectRef, get, put, remote};

use super::{MIB, all_is_freed, pattern, report, session, small_store};
use crate::support::{in_own_process, is_object_memory, wait_until};

/// Whether an address lies in the shared memory of an object store, by the kernel's word.
fn is_shared(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        is_object_memory(rest) && (number(from)..number(to)).contains(&address)
    })
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Graph {
    edges: Vec<u64>,
}

fn batch() -> RecordBatch {
    let names = StringArray::from_iter_values((0..50_000).map(|row| format!("row {row}")));
    let counts = Int64Array::from_iter_values(0..50_000);
    RecordBatch::try_from_iter([("name", Arc::new(names) as _), ("count", Arc::new(counts) as _)]).unwrap()
}

fn count_address(table: &Table) -> usize {
    let counts = table.batches()[0].column(1).clone();
    let counts = counts.as_any().downcast_ref::<Int64Array>().unwrap();
    counts.values().as_ptr().addr()
}

fn array_address(array: &Array) -> usize {
    let numbers = array.as_arrow().as_any().downcast_ref::<Int64Array>().unwrap();
    numbers.values().as_ptr().addr()
}

#[remote]
fn lies_in_place(table: Table, array: Array, tensor: Tensor, buffer: Buffer, graph: Archived<Graph>) -> Vec<bool> {
    vec![
        is_shared(count_address(&table)) && table.num_rows() == 50_000,
        is_shared(array_address(&array)),
        is_shared(tensor.view::<f32>().unwrap().as_ptr().addr()) && tensor.shape() == [100, 1000],
        is_shared(buffer.as_slice().as_ptr().addr()) && buffer.as_slice() == pattern(1, MIB),
        is_shared(graph.edges.as_ptr().addr()) && graph.edges.len() == 100_000,
    ]
}

#[test]
fn tables_arrays_tensors_buffers_and_archives_are_read_in_place_by_the_driver_and_by_tasks() {
    in_own_process(|| {
        let _ray = session(2);
        let graph = Graph {
            edges: (0..100_000).collect(),
        };
        let numbers = Int64Array::from_iter_values(0..100_000);
        let table = put(&Table::from(batch())).unwrap();
        let array: ObjectRef<Array> = put(&Array::from(Arc::new(numbers) as arrow_array::ArrayRef)).unwrap();
        let tensor = put(&Tensor::from_vec(vec![1.5f32; 100_000], [100, 1000]).unwrap()).unwrap();
        let buffer = put(&Buffer::from(pattern(1, MIB))).unwrap();
        let graph = put(&Archived::new(&graph).unwrap()).unwrap();

        let read = get(&table).unwrap();
        assert!(is_shared(count_address(&read)));
        assert_eq!(read.batches(), [batch()]);
        assert_eq!(
            count_address(&read),
            count_address(&get(&table).unwrap()),
            "two readers see one copy"
        );
        assert!(is_shared(array_address(&get(&array).unwrap())));
        assert!(is_shared(get(&tensor).unwrap().view::<f32>().unwrap().as_ptr().addr()));
        assert!(is_shared(get(&buffer).unwrap().as_slice().as_ptr().addr()));
        assert!(is_shared(get(&graph).unwrap().edges.as_ptr().addr()));
        let seen = lies_in_place::remote(&table, &array, &tensor, &buffer, &graph);
        assert_eq!(get(&seen).unwrap(), [true; 5]);
        drop((read, table, array, tensor, buffer, graph, seen));
        all_is_freed();
    });
}

#[test]
fn a_value_held_by_a_reader_is_neither_moved_nor_freed() {
    in_own_process(|| {
        let _ray = small_store(16).init().unwrap();
        let reference = put(&Buffer::from(pattern(1, 2 * MIB))).unwrap();
        let id = reference.id();
        let held = get(&reference).unwrap();
        let address = held.as_slice().as_ptr();
        drop(reference);
        let object = |id| report().objects.into_iter().find(|object| object.object == id);
        wait_until(|| object(id).unwrap().state == ObjectState::Freed {});
        let freed = object(id).unwrap();
        assert_eq!(
            freed
                .holders
                .iter()
                .map(|holder| (holder.pid, holder.views))
                .collect::<Vec<_>>(),
            [(std::process::id(), 1)]
        );
        // Three times what fits: all else is moved or written over.
        let others: Vec<_> = (0..24)
            .map(|other| put(&Buffer::from(pattern(other, 2 * MIB))).unwrap())
            .collect();
        for (number, other) in (0..).zip(&others) {
            assert!(get(other).unwrap().as_slice() == pattern(number, 2 * MIB));
        }
        assert_eq!(held.as_slice().as_ptr(), address);
        assert!(held.as_slice() == pattern(1, 2 * MIB));
        drop((held, others));
        all_is_freed();
    });
}
