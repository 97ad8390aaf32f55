//! VA-1 for each attribute of serde's derive.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::{decode, encode};
use super::round_trip;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Real(f64),
    Text(String),
    List(Vec<Untagged>),
    Struct { a: Option<u8>, b: String },
    Map(BTreeMap<String, Option<i32>>),
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Tagged {
    Unit,
    Struct {
        value: Option<u8>,
        inner: Box<Option<Tagged>>,
    },
    NewType(Inner),
    Map(HashMap<String, u16>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(Vec<f32>),
    Tuple(u8, Option<Option<i8>>),
    Struct { x: char, y: Untagged },
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Inner {
    depth: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Attributes {
    #[serde(rename = "r#type", alias = "kind")]
    renamed: u8,
    #[serde(default)]
    defaulted: Vec<u8>,
    #[serde(default = "seven", skip_serializing_if = "is_seven")]
    skipped_if: u8,
    #[serde(skip)]
    skipped: u8,
    #[serde(flatten)]
    inner: Inner,
    #[serde(with = "as_text")]
    with: u64,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

fn seven() -> u8 {
    7
}

fn is_seven(number: &u8) -> bool {
    *number == 7
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    only: Option<Adjacent>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Converted(u32);

impl From<Converted> for String {
    fn from(converted: Converted) -> Self {
        converted.0.to_string()
    }
}

impl TryFrom<String> for Converted {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum WithOther {
    Known,
    #[serde(alias = "Ancient")]
    Old(u8),
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Strict {
    a: u8,
    b: String,
}

impl Default for Strict {
    fn default() -> Self {
        Self { a: 1, b: "b".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlatEnum {
    id: u8,
    #[serde(flatten)]
    shape: External,
    #[serde(flatten)]
    maybe: Option<Inner>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlatTagged {
    id: u8,
    #[serde(flatten)]
    choice: Tagged,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum External {
    Newtype(Vec<u8>),
    Tuple(u8, char),
    Struct { f: f32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum PartlyUntagged {
    Named(u8),
    #[serde(untagged)]
    Any(String),
}

fn untagged() -> impl Strategy<Value = Untagged> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Untagged::Number),
        proptest::num::f64::NORMAL.prop_map(Untagged::Real),
        any::<String>().prop_map(Untagged::Text),
        any::<(Option<u8>, String)>().prop_map(|(a, b)| Untagged::Struct { a, b }),
        prop::collection::btree_map("[c-z]{1,3}", any::<Option<i32>>(), 0..3).prop_map(Untagged::Map),
        Just(Untagged::Nothing),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Untagged::List)
    })
}

fn tagged() -> impl Strategy<Value = Tagged> {
    let leaf = prop_oneof![
        Just(Tagged::Unit),
        any::<(u32, Option<String>)>().prop_map(|(depth, note)| Tagged::NewType(Inner { depth, note })),
        prop::collection::hash_map("[j-s]{1,3}", any::<u16>(), 0..3).prop_map(Tagged::Map),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (any::<Option<u8>>(), prop::option::of(inner)).prop_map(|(value, inner)| Tagged::Struct {
            value,
            inner: Box::new(inner),
        })
    })
}

proptest! {
    #[test]
    fn untagged_enums_are_read_back_equal(value in untagged()) {
        round_trip(&value);
        round_trip(&Adjacent::Struct { x: 'ß', y: value });
    }

    #[test]
    fn internally_tagged_enums_are_read_back_equal(value in tagged()) {
        round_trip(&value);
        round_trip(&FlatTagged { id: 1, choice: value });
    }

    #[test]
    fn adjacently_tagged_enums_are_read_back_equal(tuple in any::<(u8, Option<Option<i8>>)>(), list in any::<Vec<u8>>()) {
        round_trip(&Transparent { only: Some(Adjacent::Tuple(tuple.0, tuple.1)) });
        round_trip(&vec![Adjacent::Newtype(list.into_iter().map(f32::from).collect()), Adjacent::Unit]);
    }

    #[test]
    fn a_struct_of_all_attributes_is_read_back_equal(
        numbers in any::<(u8, u8, u64)>(),
        note in any::<Option<String>>(),
        rest in prop::collection::btree_map("[x-z]{1,4}", any::<Option<i32>>(), 0..4),
    ) {
        round_trip(&Attributes {
            renamed: numbers.0,
            defaulted: vec![numbers.0; 3],
            skipped_if: numbers.1,
            skipped: 0,
            inner: Inner { depth: 9, note },
            with: numbers.2,
            rest: rest.into_iter().map(|(key, value)| (key, value.into())).collect(),
        });
    }
}

#[test]
fn flattened_enums_and_options_are_read_back_equal() {
    for shape in [
        External::Newtype(vec![1, 200]),
        External::Tuple(1, 'x'),
        External::Struct { f: 0.5 },
    ] {
        for maybe in [
            None,
            Some(Inner {
                depth: 1,
                note: Some("n".into()),
            }),
        ] {
            round_trip(&FlatEnum {
                id: 1,
                shape: shape.clone(),
                maybe,
            });
        }
    }
    round_trip(&vec![PartlyUntagged::Named(1), PartlyUntagged::Any("text".into())]);
}

#[test]
fn conversions_defaults_aliases_and_other_hold() {
    round_trip(&Converted(5));
    round_trip(&Strict::default());
    round_trip(&vec![WithOther::Known, WithOther::Old(1), WithOther::Other]);

    let reread = |json: serde_json::Value| encode(&json).unwrap().to_bytes();
    assert_eq!(decode::<Strict>(&reread(serde_json::json!({ "a": 3 }))).unwrap().b, "b");
    assert!(
        decode::<Strict>(&reread(serde_json::json!({ "c": 3 })))
            .unwrap_err()
            .to_string()
            .contains("unknown field")
    );
    assert_eq!(
        decode::<WithOther>(&reread("Unknown".into())).unwrap(),
        WithOther::Other
    );
    assert_eq!(
        decode::<WithOther>(&reread(serde_json::json!({ "Ancient": 4 }))).unwrap(),
        WithOther::Old(4)
    );
}

/// The limits that the module states, so that a change of serde's shows.
#[test]
fn serdes_own_buffering_refuses_wide_integers_and_two_formed_types() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Number(u128),
        Address { ip: std::net::IpAddr },
    }
    let read = |wide: Wide| decode::<Wide>(&encode(&wide).unwrap().to_bytes());
    assert!(read(Wide::Number(u128::MAX)).is_err());
    assert!(
        read(Wide::Address {
            ip: [127, 0, 0, 1].into()
        })
        .is_err()
    );
}
