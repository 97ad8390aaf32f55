//! VA-1 for each kind of serde's data model.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize};

use super::super::{EncodeErrorKind, MAX_DEPTH, decode, encode};
use super::round_trip;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i64, i64),
    Polygon { name: String, corners: Vec<(i32, i32)> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    boolean: bool,
    signed: (i8, i16, i32, i64, i128),
    unsigned: (u8, u16, u32, u64, u128),
    floats: (f32, f64),
    character: char,
    text: String,
    bytes: Vec<u8>,
    nothing: (),
    unit: Unit,
    newtype: Meters,
    option: Option<Option<Option<u8>>>,
    optional_unit: Option<()>,
    optional_newtype: Option<Option<Unit>>,
    shapes: Vec<Shape>,
    map: BTreeMap<(u8, String), Option<Shape>>,
    pair: [u16; 2],
    cow: Cow<'static, str>,
    shared: Rc<str>,
    result: Result<u8, String>,
    time: Duration,
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<f32>()
            .prop_filter("comparable", |number| !number.is_nan())
            .prop_map(Shape::Circle),
        any::<(i64, i64)>().prop_map(|(from, to)| Shape::Line(from, to)),
        any::<(String, Vec<(i32, i32)>)>().prop_map(|(name, corners)| Shape::Polygon { name, corners }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let scalars = (
        any::<bool>(),
        any::<(i8, i16, i32, i64, i128)>(),
        any::<(u8, u16, u32, u64, u128)>(),
        any::<char>(),
    );
    let floats = (
        proptest::num::f32::NORMAL | proptest::num::f32::INFINITE,
        proptest::num::f64::ANY,
    );
    let texts = (
        any::<String>(),
        any::<Vec<u8>>(),
        any::<Option<Option<Option<u8>>>>(),
        any::<Option<()>>(),
    );
    let rest = (
        prop::collection::vec(shapes(), 0..4),
        prop::collection::btree_map(any::<(u8, String)>(), prop::option::of(shapes()), 0..4),
        any::<Result<u8, String>>(),
        any::<(Option<bool>, u32)>(),
    );
    (scalars, floats, texts, rest).prop_map(|(scalars, floats, texts, rest)| Everything {
        boolean: scalars.0,
        signed: scalars.1,
        unsigned: scalars.2,
        floats: (floats.0, if floats.1.is_nan() { 0.0 } else { floats.1 }),
        character: scalars.3,
        text: texts.0.clone(),
        bytes: texts.1,
        nothing: (),
        unit: Unit,
        newtype: Meters(-0.5),
        option: texts.2,
        optional_unit: texts.3,
        optional_newtype: rest.3.0.map(|some| some.then_some(Unit)),
        shapes: rest.0,
        map: rest.1,
        pair: [1, u16::MAX],
        cow: texts.0.clone().into(),
        shared: texts.0.into(),
        result: rest.2,
        time: Duration::from_millis(rest.3.1.into()),
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        proptest::num::f64::NORMAL.prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_kind_of_data_is_read_back_equal(value in everything()) {
        round_trip(&value);
    }

    #[test]
    fn json_values_are_read_back_equal(value in json()) {
        round_trip(&value);
        round_trip(&Some(value));
    }

    #[test]
    fn integers_are_read_back_as_any_type_they_fit(number in any::<i64>()) {
        let object = encode(&number).unwrap().to_bytes();
        prop_assert_eq!(decode::<i128>(&object).unwrap(), i128::from(number));
        prop_assert_eq!(decode::<u64>(&object).ok(), u64::try_from(number).ok());
        prop_assert_eq!(decode::<i8>(&object).ok(), i8::try_from(number).ok());
        prop_assert_eq!(decode::<f64>(&object).unwrap(), number as f64);
    }

    #[test]
    fn floats_keep_every_bit(bits in any::<(u32, u64)>()) {
        let object = encode(&(f32::from_bits(bits.0), f64::from_bits(bits.1))).unwrap().to_bytes();
        let (single, double) = decode::<(f32, f64)>(&object).unwrap();
        prop_assert_eq!((single.to_bits(), double.to_bits()), bits);
    }
}

#[test]
fn options_in_options_are_told_apart() {
    for value in [None, Some(None), Some(Some(None)), Some(Some(Some(())))] {
        round_trip(&value);
    }
    for value in [None, Some(None), Some(Some(5))] {
        round_trip(&value);
        round_trip(&vec![value, value]);
    }
    round_trip(&Some(serde_json::Value::Null));
}

#[test]
fn a_small_integer_costs_nine_bytes() {
    assert_eq!(encode(&7i32).unwrap().object_len(), 9);
    assert_eq!(encode(&i32::MIN).unwrap().object_len(), 13);
}

#[test]
fn strings_of_every_length_of_length_are_read_back() {
    for len in [0, 63, 64, 127, 128, 16_383, 16_384, 100_000] {
        round_trip(&"x".repeat(len));
        round_trip(&HashMap::from([("k".repeat(len), len)]));
    }
}

/// Begins its parts without saying how many come, as streams do.
#[derive(Debug, PartialEq)]
struct Streamed(Vec<u32>);

impl Serialize for Streamed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("numbers", &OpenSeq(&self.0))?;
        map.end()
    }
}

struct OpenSeq<'a>(&'a [u32]);

impl Serialize for OpenSeq<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        self.0.iter().try_for_each(|number| seq.serialize_element(number))?;
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Streamed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Form {
            numbers: Vec<u32>,
        }
        Form::deserialize(deserializer).map(|form| Self(form.numbers))
    }
}

#[test]
fn sequences_and_maps_of_unknown_length_are_read_back() {
    round_trip(&Streamed(vec![]));
    round_trip(&vec![Streamed((0..1000).collect()), Streamed(vec![u32::MAX])]);
}

/// Says that two elements come and writes one.
#[derive(Debug)]
struct Liar;

impl Serialize for Liar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(2))?;
        seq.serialize_element(&1)?;
        seq.end()
    }
}

#[test]
fn a_wrong_count_is_an_error_that_names_the_place() {
    let error = encode(&BTreeMap::from([("a", vec![Liar])])).unwrap_err();
    assert_eq!(
        error.kind(),
        &EncodeErrorKind::WrongCount {
            announced: 2,
            written: 1
        }
    );
    assert_eq!(error.path(), "value[0][0]");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(u8, Option<Box<Link>>);

fn chain(len: usize) -> Link {
    (1..len).fold(Link(0, None), |tail, _| Link(1, Some(Box::new(tail))))
}

/// VA-2.
#[test]
fn what_is_nested_too_deeply_to_read_cannot_be_written() {
    // Each link is a tuple and an option.
    let deepest = MAX_DEPTH / 2;
    round_trip(&chain(deepest));
    let error = encode(&chain(deepest + 1)).unwrap_err();
    assert_eq!(error.kind(), &EncodeErrorKind::TooDeep { limit: MAX_DEPTH });
    assert!(error.to_string().contains("value[1][1]"), "{error}");
}

/// Reads one type as another, as a program does whose types have grown.
#[test]
fn fields_may_come_and_go_and_change_their_order() {
    #[derive(Serialize)]
    struct Old {
        gone: Vec<Shape>,
        kept: u8,
        moved: String,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct New {
        moved: String,
        kept: u64,
        added: Option<u8>,
    }
    let old = Old {
        gone: vec![Shape::Line(1, 2), Shape::Point],
        kept: 3,
        moved: "m".into(),
    };
    let new: New = decode(&encode(&old).unwrap().to_bytes()).unwrap();
    assert_eq!(
        new,
        New {
            moved: "m".into(),
            kept: 3,
            added: None
        }
    );
}

#[test]
fn an_error_names_the_field_that_is_wrong() {
    let value = serde_json::json!({ "shapes": [{ "Circle": 1.5 }, { "Line": [1, "two"] }] });
    #[derive(Debug, Deserialize)]
    struct Drawing {
        #[expect(dead_code, reason = "only read into")]
        shapes: Vec<Shape>,
    }
    let error = decode::<Drawing>(&encode(&value).unwrap().to_bytes()).unwrap_err();
    assert_eq!(error.path(), "value.shapes[1]::Line[1]");
    assert!(error.to_string().contains("expected i64"), "{error}");
}
