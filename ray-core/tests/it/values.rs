//! Arguments and results of every kind and size.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use ray_core::value::{Archived, Buffer, Table, Tensor};
use ray_core::{Ray, get, put, remote};
use serde::{Deserialize, Serialize};

use crate::support::{Signs, Tally, in_own_process, kill_process};

/// Up to this size a value travels in frames and not through the store.
const INLINE: usize = 100 << 10;

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Shape {
    Empty,
    Circle { radius: f64 },
    Named { name: Option<String>, inner: Box<Shape> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    wide: (i128, u128),
    nested: Option<Option<u8>>,
    map: HashMap<String, Vec<u64>>,
    keyed: BTreeMap<(u8, i8), char>,
    shape: Shape,
    #[serde(skip)]
    skipped: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[remote]
fn echo(value: Everything) -> Everything {
    value
}

#[remote]
fn echo_bytes(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[remote]
fn echo_buffer(buffer: Buffer) -> Buffer {
    buffer
}

#[remote]
fn echo_many(
    a: u8,
    b: String,
    c: Vec<u8>,
    d: Option<Buffer>,
    e: (),
    f: [u64; 4],
) -> (u8, String, usize, usize, (), u64) {
    (a, b, c.len(), d.map_or(0, |buffer| buffer.len()), e, f.iter().sum())
}

/// Whether these bytes lie in the object store's memory.
fn is_in_the_store(bytes: &[u8]) -> bool {
    let address = bytes.as_ptr().addr();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        // The store's segment has no name where it is made of huge pages; it is shared, as no other mapping of the test is.
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|flags| flags.ends_with('s')))
        .any(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).unwrap());
            (from..to).contains(&address)
        })
}

#[remote]
fn reads_in_place(buffer: Buffer, tensor: Tensor, table: Table, archived: Archived<Vec<u64>>) -> ([bool; 4], i64) {
    let column = table.batches()[0]
        .column(0)
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap()
        .clone();
    let in_store = [
        is_in_the_store(buffer.as_slice()),
        is_in_the_store(tensor.data().as_slice()),
        is_in_the_store(column.values().inner().as_slice()),
        is_in_the_store(archived.as_buffer().as_slice()),
    ];
    let numbers: i64 = column.values().iter().sum();
    let floats: f64 = tensor.view::<f64>().unwrap().iter().sum();
    let archive: u64 = archived.iter().map(|number| number.to_native()).sum();
    (
        in_store,
        numbers + floats as i64 + archive as i64 + i64::from(buffer.as_slice()[7]),
    )
}

#[remote(max_retries = 3)]
fn dies_twice(buffer: Buffer, attempts: Tally) -> (usize, bool) {
    if attempts.add() <= 2 {
        kill_process(std::process::id());
        std::thread::park();
    }
    (buffer.len(), is_in_the_store(buffer.as_slice()))
}

#[test]
fn any_serde_type_comes_back_as_it_went() {
    in_own_process(|| {
        let _ray = session();
        let value = Everything {
            unit: (),
            wide: (i128::MIN, u128::MAX),
            nested: Some(None),
            map: [("a".to_owned(), vec![1, 2]), (String::new(), vec![])].into(),
            keyed: [((1, -1), 'x'), ((2, -2), '\u{1f980}')].into(),
            shape: Shape::Named {
                name: None,
                inner: Box::new(Shape::Circle { radius: f64::INFINITY }),
            },
            skipped: 0,
            rest: [("left".to_owned(), -1)].into(),
        };
        assert_eq!(get(&echo::remote(value.clone())).unwrap(), value);
        assert_eq!(get(&echo::remote(put(&value).unwrap())).unwrap(), value);
        assert_eq!(get(&echo::remote(echo::remote(value.clone()))).unwrap(), value);
        let many = echo_many::remote(
            1,
            "two",
            vec![3; INLINE],
            Some(Buffer::from_vec(vec![4u8; 1 << 20])),
            (),
            [5; 4],
        );
        assert_eq!(get(&many).unwrap(), (1, "two".to_owned(), INLINE, 1 << 20, (), 20));
        let few = echo_many::remote(1, "two", put(&vec![3u8]).unwrap(), None, (), [5; 4]);
        assert_eq!(get(&few).unwrap(), (1, "two".to_owned(), 1, 0, (), 20));
    });
}

#[test]
fn sizes_around_every_boundary_come_back_equal() {
    in_own_process(|| {
        let _ray = session();
        let around = |len: usize| [len - 200, len - 64, len - 1, len, len + 1, len + 64];
        let sizes = [0, 1, 63, 64, 65, 1 << 20, 50 << 20]
            .into_iter()
            .chain(around(INLINE))
            .chain(around(1 << 16));
        for size in sizes {
            let bytes = pattern(size);
            let buffer = get(&echo_buffer::remote(Buffer::from_vec(bytes.clone()))).unwrap();
            assert!(buffer.as_slice() == bytes, "a buffer of {size}");
            if size <= 1 << 20 {
                assert!(
                    get(&echo_bytes::remote(bytes.clone())).unwrap() == bytes,
                    "bytes of {size}"
                );
            }
            let reference = put(&Buffer::from_vec(bytes.clone())).unwrap();
            let buffer = get(&echo_buffer::remote(echo_buffer::remote(&reference))).unwrap();
            assert!(buffer.as_slice() == bytes, "a buffer of {size} by reference");
        }
    });
}

#[test]
fn large_buffers_tensors_tables_and_archives_are_read_in_place_in_the_worker() {
    in_own_process(|| {
        let _ray = session();
        let len = 100_000;
        let numbers = Int64Array::from_iter_values(0..len);
        let texts = StringArray::from_iter_values((0..len).map(|number| number.to_string()));
        let schema = Arc::new(Schema::new(vec![
            Field::new("number", DataType::Int64, false),
            Field::new("text", DataType::Utf8, false),
        ]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers), Arc::new(texts)]).unwrap();
        let table = Table::new(schema, vec![batch]).unwrap();
        let tensor = Tensor::from_vec(vec![0.5f64; len as usize], [100, 1000]).unwrap();
        let archived = Archived::new(&(0..len as u64).collect::<Vec<_>>()).unwrap();
        let buffer = Buffer::from_vec(pattern(1 << 20));
        let expected = 2 * (len * (len - 1) / 2) + len / 2 + i64::from(pattern(8)[7]);

        let by_value = reads_in_place::remote(buffer.clone(), tensor.clone(), table.clone(), archived.clone());
        assert_eq!(get(&by_value).unwrap(), ([true; 4], expected));
        let (buffer, tensor) = (put(&buffer).unwrap(), put(&tensor).unwrap());
        let (table, archived) = (put(&table).unwrap(), put(&archived).unwrap());
        let by_reference = reads_in_place::remote(&buffer, &tensor, &table, &archived);
        assert_eq!(get(&by_reference).unwrap(), ([true; 4], expected));
    });
}

#[test]
fn a_large_argument_is_stored_once_however_often_its_task_is_tried() {
    in_own_process(|| {
        let store = 96 << 20;
        let _ray = Ray::builder()
            .num_cpus(1)
            .object_store_memory(store)
            .log_to_driver(false)
            .init()
            .unwrap();
        let signs = Signs::new();
        let big = Buffer::from_vec(pattern(64 << 20));
        // It fits once, and again only when the last one is gone.
        for round in 0..3 {
            let attempts = signs.tally(&round.to_string());
            let result = dies_twice::remote(big.clone(), attempts.clone());
            assert_eq!(get(&result).unwrap(), (big.len(), true));
            assert_eq!(attempts.count(), 3);
        }
    });
}
