//! `wire_types!` declares a type once and derives from that one text its encoding, its decoding and its line in the
//! layout fingerprint, so that the three cannot drift apart.

/// Declares structs and enums that travel in frames, with their encoding.
///
/// Enum variants carry their tag (`3 => Name { .. }`), which never changes meaning: a removed variant's tag is not used
/// again. The texts of all declarations are collected in a constant with the given name, for the layout fingerprint.
macro_rules! wire_types {
    (
        layouts $visibility:vis $layouts:ident;
        $(
            $(#[$meta:meta])*
            $kind:ident $name:ident { $($body:tt)* }
        )*
    ) => {
        /// The declarations of this module's wire types, as text.
        $visibility const $layouts: &[&str] = &[$(stringify!($kind $name { $($body)* })),*];
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
    use std::collections::BTreeMap;
    use std::time::Duration;

    use bytes::Bytes;

    use crate::wire::{from_bytes, to_bytes};

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

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _outcome = from_bytes::<Choice>(Bytes::from(bytes));
        }
    }
}
