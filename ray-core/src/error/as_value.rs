//! An error as a value: it travels in the form that it has in frames, so that a task may return the error of another as
//! its own.

use std::fmt;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RayError;
use crate::wire;

impl Serialize for RayError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&wire::to_bytes(self))
    }
}

impl<'de> Deserialize<'de> for RayError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded;

        impl Visitor<'_> for Encoded {
            type Value = RayError;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a RayError")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RayError, E> {
                wire::from_bytes(Bytes::copy_from_slice(bytes)).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Encoded)
    }
}
