//! How frames become bytes: explicit-width little-endian fields, in declaration order, nothing implied by memory layout.
//!
//! [`wire_types!`](crate::wire::wire_types) declares a type once and derives from that one text its encoding, its
//! decoding and its line in the layout fingerprint, so that the three cannot drift apart. Every length that is read is
//! checked against what is left of the input before anything is allocated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::ids::{ActorId, JobId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId};

/// Bytes that are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ended inside a field.
    #[error("a frame ends inside a field of {needed} bytes: {left} bytes are left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A tag that names no variant.
    #[error("tag {tag} names no variant of {kind}")]
    UnknownTag {
        /// The enum that was being read.
        kind: &'static str,
        /// The tag found.
        tag: u16,
    },
    /// A text field that is not UTF-8.
    #[error("a text field is not UTF-8")]
    NotUtf8,
    /// Bytes after the end of the frame.
    #[error("{left} bytes follow the end of a frame")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// A frame longer than the limit.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

/// What is left of a frame that is being read. Payloads are taken out of it without a copy.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `len` bytes out, sharing their memory.
    pub fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        self.need(len)?;
        Ok(self.bytes.split_to(len))
    }

    /// Takes an array out.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.need(N)?;
        let mut array = [0; N];
        self.bytes.copy_to_slice(&mut array);
        Ok(array)
    }

    fn need(&self, needed: usize) -> Result<(), WireError> {
        let left = self.bytes.len();
        if needed > left {
            Err(WireError::Truncated { needed, left })
        } else {
            Ok(())
        }
    }
}

/// A value that travels in frames.
pub trait Wire: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads the value from the front of the input.
    fn decode(input: &mut Reader) -> Result<Self, WireError>;
}

/// Encodes one value on its own.
pub fn to_bytes<T: Wire>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(128);
    value.encode(&mut out);
    Bytes::from(out)
}

/// Decodes one value that fills `bytes` to the last byte.
pub fn from_bytes<T: Wire>(bytes: Bytes) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes);
    let value = T::decode(&mut reader)?;
    match reader.left() {
        0 => Ok(value),
        left => Err(WireError::TrailingBytes { left }),
    }
}

macro_rules! wire_numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                input.array().map(<$number>::from_le_bytes)
            }
        }
    )*};
}
wire_numbers!(u8, u16, u32, u64, i32, i64, f64);

macro_rules! wire_ids {
    ($($id:ident),*) => {$(
        impl Wire for $id {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }

            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                input.array().map(Self)
            }
        }
    )*};
}
wire_ids!(NodeId, WorkerId, ActorId, PlacementGroupId, TaskId, ObjectId);

impl Wire for JobId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        u32::decode(input).map(Self)
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::UnknownTag {
                kind: "bool",
                tag: u16::from(tag),
            }),
        }
    }
}

impl Wire for Duration {
    fn encode(&self, out: &mut Vec<u8>) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        u64::decode(input).map(Duration::from_nanos)
    }
}

fn encode_len(len: usize, out: &mut Vec<u8>) {
    // A frame is far smaller than 4 GiB (`wire::stream::MAX_FRAME`), so that its parts are too.
    u32::try_from(len).unwrap_or(u32::MAX).encode(out);
}

fn decode_len(input: &mut Reader) -> Result<usize, WireError> {
    u32::decode(input).map(|len| len as usize)
}

impl Wire for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        out.extend_from_slice(self);
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let len = decode_len(input)?;
        input.take(len)
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let len = decode_len(input)?;
        let bytes = input.take(len)?;
        std::str::from_utf8(&bytes)
            .map(str::to_owned)
            .map_err(|_| WireError::NotUtf8)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(if bool::decode(input)? {
            Some(T::decode(input)?)
        } else {
            None
        })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        self.iter().for_each(|item| item.encode(out));
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let len = decode_len(input)?;
        // Each item takes a byte at least, so the input bounds what a forged length can make us reserve.
        let mut items = Vec::with_capacity(len.min(input.left()).min(1 << 16));
        for _ in 0..len {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let len = decode_len(input)?;
        let mut map = BTreeMap::new();
        for _ in 0..len {
            let key = K::decode(input)?;
            map.insert(key, V::decode(input)?);
        }
        Ok(map)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

macro_rules! wire_pointers {
    ($($pointer:ident),*) => {$(
        impl<T: Wire> Wire for $pointer<T> {
            fn encode(&self, out: &mut Vec<u8>) {
                (**self).encode(out);
            }

            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                T::decode(input).map($pointer::new)
            }
        }
    )*};
}
wire_pointers!(Arc, Box);

/// Declares structs and enums that travel in frames, with their encoding.
///
/// Enum variants carry their tag (`3 => Name { .. }`), which never changes meaning: a removed variant's tag is not used
/// again. The texts of all declarations are collected in a constant with the given name, for the layout fingerprint.
macro_rules! wire_types {
    (
        layouts $layouts:ident;
        $(
            $(#[$meta:meta])*
            $kind:ident $name:ident { $($body:tt)* }
        )*
    ) => {
        /// The declarations of this module's wire types, as text.
        pub const $layouts: &[&str] = &[$(stringify!($kind $name { $($body)* })),*];
        $($crate::wire::wire_type! { $(#[$meta])* $kind $name { $($body)* } })*
    };
}

macro_rules! wire_type {
    (
        $(#[$meta:meta])*
        struct $name:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }
    ) => {
        $(#[$meta])*
        pub struct $name { $( $(#[$field_meta])* pub $field: $ty ),* }

        impl $crate::wire::Wire for $name {
            #[allow(unused_variables, reason = "a struct may have no field")]
            fn encode(&self, out: &mut Vec<u8>) {
                $( $crate::wire::Wire::encode(&self.$field, out); )*
            }

            #[allow(unused_variables, reason = "a struct may have no field")]
            fn decode(input: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $( $field: $crate::wire::Wire::decode(input)? ),* })
            }
        }
    };
    (
        $(#[$meta:meta])*
        enum $name:ident {
            $(
                $tag:literal =>
                $(#[$variant_meta:meta])*
                $variant:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        pub enum $name {
            $( $(#[$variant_meta])* $variant { $( $(#[$field_meta])* $field: $ty ),* } ),*
        }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$variant { $( $field ),* } => {
                        out.extend_from_slice(&u16::to_le_bytes($tag));
                        $( $crate::wire::Wire::encode($field, out); )*
                    } )*
                }
            }

            fn decode(input: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                let tag = <u16 as $crate::wire::Wire>::decode(input)?;
                match tag {
                    $( $tag => Ok(Self::$variant { $( $field: $crate::wire::Wire::decode(input)? ),* }), )*
                    tag => Err($crate::wire::WireError::UnknownTag { kind: stringify!($name), tag }),
                }
            }
        }
    };
}

pub(crate) use {wire_type, wire_types};

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro declares what is public elsewhere")]
mod tests {
    use super::*;

    wire_types! {
        layouts TEST_LAYOUTS;

        /// A struct.
        #[derive(Debug, Clone, PartialEq)]
        struct Sample { text: String, numbers: Vec<u32>, maybe: Option<Bytes>, map: BTreeMap<String, f64> }

        /// An enum.
        #[derive(Debug, Clone, PartialEq)]
        enum Choice { 1 => Empty {}, 7 => Full { sample: Box<Sample>, after: Duration } }
    }

    fn sample() -> Choice {
        Choice::Full {
            sample: Box::new(Sample {
                text: "grün".into(),
                numbers: vec![1, 2, u32::MAX],
                maybe: Some(Bytes::from_static(b"xyz")),
                map: BTreeMap::from([("CPU".into(), 0.5)]),
            }),
            after: Duration::from_millis(3),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for choice in [Choice::Empty {}, sample()] {
            assert_eq!(from_bytes::<Choice>(to_bytes(&choice)), Ok(choice));
        }
        assert_eq!(TEST_LAYOUTS.len(), 2);
    }

    #[test]
    fn every_truncation_is_an_error_and_none_panics() {
        let bytes = to_bytes(&sample());
        for len in 0..bytes.len() {
            assert!(from_bytes::<Choice>(bytes.slice(..len)).is_err());
        }
    }

    #[test]
    fn a_forged_length_is_refused_before_it_is_allocated() {
        assert!(matches!(
            from_bytes::<Vec<u64>>(Bytes::from_static(&[255, 255, 255, 255, 0])),
            Err(WireError::Truncated { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _outcome = from_bytes::<Choice>(Bytes::from(bytes));
        }
    }
}
