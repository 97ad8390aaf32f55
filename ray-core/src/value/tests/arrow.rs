//! Tables and arrays of every shape, whole, sliced and damaged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeListArray, Float64Array, Int16Array, Int32Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray,
    UInt8Array, UnionArray,
};
use arrow_schema::{DataType, Field, Schema, UnionFields};
use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Array, Table, decode, encode};
use super::round_trip;

const ROWS: usize = 100;

fn texts() -> Vec<Option<String>> {
    (0..ROWS)
        .map(|row| (row % 7 != 0).then(|| "text longer than twelve bytes ".repeat(row % 4)))
        .collect()
}

fn arrays() -> Vec<ArrayRef> {
    let numbers = || (0..ROWS).map(|row| (row % 5 != 0).then_some(row as i32));
    let strings: ArrayRef = Arc::new(StringArray::from(texts()));
    let integers: ArrayRef = Arc::new(numbers().collect::<Int32Array>());
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>((0..ROWS).map(|row| Some((0..row as i32 % 5).map(Some))));
    let mut words = StringDictionaryBuilder::<Int8Type>::new();
    (0..ROWS).for_each(|row| words.append_value(["a", "b", "c"][row % 3]));
    let mut maps = MapBuilder::new(None, StringBuilder::new(), ListBuilder::new(StringBuilder::new()));
    for row in 0..ROWS {
        maps.keys().append_value("key");
        maps.values().append_value([Some("value")]);
        maps.append(row % 2 == 0).unwrap();
    }
    let fields = vec![
        Field::new("s", DataType::Utf8, true),
        Field::new("i", DataType::Int32, true),
    ];
    let structs = StructArray::new(fields.clone().into(), vec![strings.clone(), integers.clone()], None);
    let union_fields: UnionFields = [(0, Arc::new(fields[0].clone())), (1, Arc::new(fields[1].clone()))]
        .into_iter()
        .collect();
    let kinds = (0..ROWS).map(|row| (row % 2) as i8).collect::<Vec<_>>();
    let union = UnionArray::try_new(
        union_fields,
        kinds.into(),
        None,
        vec![strings.clone(), integers.clone()],
    )
    .unwrap();
    let ends = Int16Array::from(vec![10, 60, ROWS as i16]);
    let fixed = FixedSizeListArray::new(
        Arc::new(Field::new("item", DataType::UInt8, false)),
        2,
        Arc::new(UInt8Array::from(vec![7; 2 * ROWS])),
        None,
    );
    vec![
        strings.clone(),
        integers,
        Arc::new(Float64Array::from(vec![1.5; ROWS])),
        Arc::new(
            (0..ROWS)
                .map(|row| (row % 3 != 0).then_some(row % 2 == 0))
                .collect::<BooleanArray>(),
        ),
        Arc::new(LargeStringArray::from(texts())),
        Arc::new(StringViewArray::from(
            texts().iter().map(Option::as_deref).collect::<Vec<_>>(),
        )),
        Arc::new(
            Decimal128Array::from(vec![i128::MAX / 1000; ROWS])
                .with_precision_and_scale(38, 2)
                .unwrap(),
        ),
        Arc::new(lists),
        Arc::new(words.finish()),
        Arc::new(maps.finish()),
        Arc::new(structs),
        Arc::new(union),
        Arc::new(RunArray::try_new(&ends, &StringArray::from(vec!["a", "b", "c"])).unwrap()),
        Arc::new(fixed),
        Arc::new(NullArray::new(ROWS)),
    ]
}

fn table() -> Table {
    let arrays = arrays();
    let fields = arrays
        .iter()
        .enumerate()
        .map(|(index, array)| Field::new(format!("c{index}"), array.data_type().clone(), true));
    let metadata = HashMap::from([("unit".to_owned(), "m".to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    Table::new(schema, vec![batch.clone(), batch.slice(13, 50), batch.slice(0, 0)]).unwrap()
}

#[test]
fn arrays_of_every_type_are_read_back_whole_and_sliced() {
    for array in arrays() {
        round_trip(&Array::from(array.clone()));
        round_trip(&Array::from(array.slice(3, 90)));
        round_trip(&Array::from(array.slice(71, 5)));
        round_trip(&Array::from(array.slice(9, 0)));
    }
}

#[test]
fn a_table_is_read_back_with_its_schema() {
    round_trip(&table());
    round_trip(&Some(vec![table(), table()]));
    let none = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(5)),
    );
    round_trip(&Table::from(none.unwrap()));
}

#[test]
fn a_table_passes_through_another_serializer() {
    let text = serde_json::to_string(&table()).unwrap();
    assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table());
}

#[test]
fn numbers_are_read_in_place() {
    let array = Array::from(Arc::new(Float64Array::from(vec![0.5; 1000])) as ArrayRef);
    let object = encode(&array).unwrap().to_bytes();
    let read: Array = decode(&object).unwrap();
    let start = read.to_data().buffers()[0].as_ptr();
    assert!(object.as_ptr_range().contains(&start));
    // The second reading finds the first one's proof.
    assert_eq!(decode::<Array>(&object).unwrap(), read);
}

#[test]
fn a_small_part_of_a_large_array_travels_alone() {
    let all: ArrayRef = Arc::new(StringArray::from(vec!["a text of some length"; 10_000]));
    let encoded = encode(&Array::from(all.slice(5000, 10))).unwrap();
    assert!(encoded.object_len() < 2000, "{} bytes", encoded.object_len());
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["a text of some length"; 10]));
    let mut object = encode(&Array::from(array)).unwrap().to_bytes().to_vec();
    *object.last_mut().unwrap() = 0xff;
    let error = decode::<Array>(&object.into()).unwrap_err();
    assert!(error.to_string().contains("UTF"), "{error}");
}

/// Reads every element, which is where damaged offsets would show.
fn read_all(object: Vec<u8>) {
    if let Ok(table) = decode::<Table>(&Bytes::from(object)) {
        for batch in table.into_batches() {
            for column in batch.columns() {
                _ = column.slice(0, column.len()).to_data().validate_full();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    /// AR-1.
    #[test]
    fn a_damaged_table_is_refused_or_read_safely(
        at in any::<prop::sample::Index>(),
        in_head in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 1..4),
    ) {
        let encoded = encode(&table()).unwrap();
        let mut object = encoded.to_bytes().to_vec();
        let range = if in_head { encoded.layout().head_len } else { object.len() };
        let at = at.index(range - bytes.len());
        object[at..at + bytes.len()].copy_from_slice(&bytes);
        read_all(object);
    }
}
