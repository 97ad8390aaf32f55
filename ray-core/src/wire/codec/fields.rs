//! What a declared type may be made of: numbers, ids, text, bytes, options, lists, maps, pairs and pointers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Reader, Wire, WireError};
use crate::ids::{ActorId, JobId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId};

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
    // A frame is far smaller than 4 GiB (`wire::socket::MAX_FRAME`), so that its parts are too.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::from_bytes;

    #[test]
    fn a_forged_length_is_refused_before_it_is_allocated() {
        assert!(matches!(
            from_bytes::<Vec<u64>>(Bytes::from_static(&[255, 255, 255, 255, 0])),
            Err(WireError::Truncated { .. })
        ));
    }
}
