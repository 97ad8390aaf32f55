//! The codec against serde's whole data model and against hostile bytes.

#[cfg(feature = "arrow")]
mod arrow;
mod attributes;
mod foreign;
mod hostile;
mod model;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{decode, encode, encode_into};

/// Writes `value`, reads it back, and checks that both ways of writing give the same object.
#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let encoded = encode(value).unwrap();
    let object = encoded.to_bytes();
    assert_eq!(object.len(), encoded.object_len());

    let mut written = vec![0xaa; object.len()];
    encoded.write_object(&mut written).unwrap();
    assert_eq!(written, object);

    let mut frame = b"before".to_vec();
    let parts = encode_into(value, &mut frame).unwrap();
    assert_eq!(parts.object_len, object.len());
    assert_eq!(frame[6..], object[..parts.head_len]);
    assert_eq!(parts.is_complete(), parts.head_len == parts.object_len);

    assert_eq!(&decode::<T>(&object).unwrap(), value);
    // Inline in a frame an object lies at any address.
    let mut shifted = vec![0];
    shifted.extend_from_slice(&object);
    assert_eq!(&decode::<T>(&bytes::Bytes::from(shifted).slice(1..)).unwrap(), value);
}
