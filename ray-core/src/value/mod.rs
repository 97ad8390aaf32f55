//! Values as bytes.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that cannot be written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write the value: {0}")]
pub struct EncodeError(String);

/// A value that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the value: {0}")]
pub struct DecodeError(String);

/// A value as bytes.
#[derive(Debug, Clone)]
pub struct Encoded(Bytes);

impl Encoded {
    /// The whole object.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// What [`encode_into`] did not write.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Buffers.
    pub buffers: Vec<Bytes>,
    /// References.
    pub refs: Vec<Bytes>,
}

/// Writes a value.
///
/// # Errors
///
/// What its `Serialize` says.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, EncodeError> {
    let bytes = serde_json::to_vec(value).map_err(|error| EncodeError(error.to_string()))?;
    Ok(Encoded(bytes.into()))
}

/// Appends a value.
///
/// # Errors
///
/// What its `Serialize` says.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<Parts, EncodeError> {
    serde_json::to_writer(out, value).map_err(|error| EncodeError(error.to_string()))?;
    Ok(Parts::default())
}

/// Reads a value.
///
/// # Errors
///
/// What its `Deserialize` says.
pub fn decode<T: DeserializeOwned>(object: &Bytes) -> Result<T, DecodeError> {
    serde_json::from_slice(object).map_err(|error| DecodeError(error.to_string()))
}
