//! VA-3: bytes from anywhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::{Buffer, DecodeErrorKind, RefToken, decode, encode, refs_of};
use crate::ids::{ObjectId, WorkerId};

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tree {
    Leaf {
        buffer: Buffer,
        reference: RefToken,
    },
    Node {
        children: Vec<Tree>,
        names: BTreeMap<String, Option<f64>>,
    },
}

/// Recurses without taking a byte of input for a level.
#[derive(Debug, Deserialize)]
struct Endless(#[expect(dead_code, reason = "only read into")] Option<Box<Endless>>);

fn sample() -> Bytes {
    let leaf = || Tree::Leaf {
        buffer: Buffer::copy_from_slice(&[1; 100]),
        reference: RefToken::object(ObjectId::default(), WorkerId::default()),
    };
    let names = BTreeMap::from([("name".to_owned(), Some(1.5)), ("none".to_owned(), None)]);
    let tree = Tree::Node {
        children: vec![leaf(), leaf()],
        names,
    };
    encode(&tree).unwrap().to_bytes()
}

fn read_every_way(object: &Bytes) {
    _ = decode::<Tree>(object);
    _ = decode::<serde_json::Value>(object);
    _ = decode::<Endless>(object);
    _ = decode::<Vec<Buffer>>(object);
    _ = decode::<(u64, String, Option<i128>)>(object);
    _ = decode::<serde::de::IgnoredAny>(object);
    _ = refs_of(object);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut object = sample().to_vec();
        for (at, byte) in changes {
            let at = at.index(object.len());
            object[at] = byte;
        }
        read_every_way(&object.into());
    }

    #[test]
    fn any_in_band_bytes_never_panic(in_band in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut object = b"RV\x01\x01".to_vec();
        object.extend_from_slice(&(in_band.len() as u32).to_le_bytes());
        object.extend_from_slice(&in_band);
        read_every_way(&object.into());
    }

    #[test]
    fn any_long_header_never_panics(fields in any::<(u32, u32, u64, [u64; 3])>(), small in any::<bool>()) {
        let shrink = |number: u64| if small { number % 200 } else { number };
        let mut object = b"RV\x01\x81".to_vec();
        object.extend_from_slice(&(shrink(fields.0.into()) as u32).to_le_bytes());
        object.extend_from_slice(&(shrink(fields.1.into()) as u32).to_le_bytes());
        object.extend_from_slice(&[0; 4]);
        for number in [fields.2, fields.3[0], fields.3[1], fields.3[2]] {
            object.extend_from_slice(&shrink(number).to_le_bytes());
        }
        object.resize(400, 0xc1);
        read_every_way(&object.into());
    }
}

/// OB-2.
#[test]
fn a_truncated_or_extended_object_is_refused() {
    let object = sample();
    for len in 0..object.len() {
        assert!(decode::<Tree>(&object.slice(..len)).is_err());
    }
    let mut longer = object.to_vec();
    longer.push(0);
    let error = decode::<Tree>(&longer.into()).unwrap_err();
    assert!(matches!(error.kind(), DecodeErrorKind::Length { .. }), "{error}");
}

#[test]
fn another_version_codec_or_magic_is_named() {
    let with = |at: usize, byte: u8| {
        let mut object = encode(&1).unwrap().to_bytes().to_vec();
        object[at] = byte;
        decode::<i32>(&object.into()).unwrap_err().kind().clone()
    };
    assert_eq!(with(0, 0), DecodeErrorKind::NotAnObject);
    assert_eq!(with(2, 9), DecodeErrorKind::Version { found: 9, expected: 1 });
    assert_eq!(with(3, 5), DecodeErrorKind::Codec { found: 5 });
}

#[test]
fn a_value_is_not_read_as_a_shorter_type() {
    let object = encode(&(1, 2, 3)).unwrap().to_bytes();
    assert!(
        decode::<(i32, i32)>(&object)
            .unwrap_err()
            .to_string()
            .contains("invalid length 3")
    );
    let mut object = object.to_vec();
    object[4] += 1;
    object.push(0);
    assert_eq!(
        decode::<(i32, i32, i32)>(&object.into()).unwrap_err().kind(),
        &DecodeErrorKind::Trailing { count: 1 }
    );
}

#[test]
fn a_type_that_recurses_without_input_ends_in_an_error() {
    let error = decode::<Endless>(&encode(&5).unwrap().to_bytes()).unwrap_err();
    assert!(matches!(error.kind(), DecodeErrorKind::TooDeep { .. }));
}

#[test]
fn a_count_beyond_the_input_allocates_nothing() {
    let mut object = b"RV\x01\x01\x06\0\0\0\xd4".to_vec();
    object.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x7f]);
    let error = decode::<Vec<u64>>(&object.into()).unwrap_err();
    assert_eq!(error.kind(), &DecodeErrorKind::Truncated);
}
