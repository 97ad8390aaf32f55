//! Values and their bytes.
//!
//! Any type that is `Serialize + DeserializeOwned` is a value. It becomes an *object*: one run of bytes that holds a
//! header, the value's in-band bytes, the references in it, and its buffers, aligned and untouched by serde. Reading is
//! O(1) in the size of the buffers: they become views of the object's memory.
//!
//! # Why a codec of our own
//!
//! A value may use every attribute of serde, so the format describes itself. The kept formats of that kind were
//! weighed first: MessagePack (`rmp-serde`) and CBOR (`ciborium`) write `Some(None)` as `None`, MessagePack has no 128-bit
//! integers, and neither lets a type announce that its memory goes elsewhere: an adapter around the serializer, each
//! compound of it, and each value inside would be as large as this codec and slower than it. The bytes are small
//! integers and strings behind one tag byte each (`tag`), names of fields and variants in full, so that types may grow.
//! The header's codec tag allows another.
//!
//! # What holds
//!
//! - VA-1: what is written is read back equal, whatever serde attributes its types use. `is_human_readable()` is false.
//!   The limits are serde's own: its buffering (`flatten`, `untagged`, internal tags) knows no 128-bit integers, and
//!   reports itself as human-readable, so a type with two forms must accept either there (`uuid` does, `IpAddr` does not).
//! - VA-2: a value that can be written can be read: both sides allow the same depth ([`MAX_DEPTH`]).
//! - VA-3: bytes from anywhere give a value or a [`DecodeError`], never a panic.

mod advice;
mod archived;
#[cfg(feature = "arrow")]
mod arrow;
mod buffer;
mod de;
mod error;
mod foreign;
mod object;
pub mod refs;
mod ser;
#[cfg(feature = "arrow")]
mod table;
mod tag;
mod tensor;
#[cfg(test)]
mod tests;
mod validated;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use archived::{ArchiveError, ArchiveFailure, ArchiveWriter, Archived, MAX_ARCHIVE};
pub use buffer::{BUFFER_ALIGNMENT, Buffer, ViewError};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use object::{Encoded, ObjectLayout, Parts, WrongOutputLength};
pub use refs::RefToken;
#[cfg(feature = "arrow")]
pub use table::{Array, Table};
pub use tensor::{DType, Element, Tensor, TensorError};

/// How deeply a value may be nested.
pub const MAX_DEPTH: usize = 256;

/// Room for the in-band bytes of most values, so that they are written without growing.
const SMALL_VALUE: usize = 64;

/// Turns a value into bytes, its buffers left where they are.
///
/// ```
/// let encoded = ray_core::value::encode(&(7u64, "seven"))?;
/// let (number, name): (u64, String) = ray_core::value::decode(&encoded.to_bytes())?;
/// assert_eq!((number, name.as_str()), (7, "seven"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If a `Serialize` impl refuses, or the value is nested deeper than [`MAX_DEPTH`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, EncodeError> {
    let mut in_band = Vec::with_capacity(SMALL_VALUE);
    let mut encoder = ser::Encoder::new(&mut in_band);
    value.serialize(&mut encoder)?;
    let (buffers, refs) = (encoder.buffers, encoder.refs);
    object::check_counts(buffers.len(), refs.len())?;
    advice::on_large_value::<T>(in_band.len(), buffers.len());
    Ok(Encoded { in_band, buffers, refs })
}

/// Appends the object of a value to `out`, but for its buffers: the way for values that have none.
///
/// On an error `out` is as before.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<Parts, EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; object::SHORT_HEADER]);
    let mut encoder = ser::Encoder::new(out);
    let written = value.serialize(&mut encoder);
    let (buffers, refs) = (encoder.buffers, encoder.refs);
    match written.and_then(|()| object::check_counts(buffers.len(), refs.len())) {
        Ok(()) => {
            advice::on_large_value::<T>(out.len() - start, buffers.len());
            Ok(object::finish_head(out, start, buffers, refs))
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Reads the value of an object.
///
/// Buffers become views that keep `object` alive. Where the object's memory is not aligned (inline in a frame), a buffer
/// is an aligned copy.
///
/// # Errors
///
/// If the bytes are not a whole object, or hold no `T`.
pub fn decode<T: DeserializeOwned>(object: &Bytes) -> Result<T, DecodeError> {
    let parsed = object::parse(object)?;
    let read = || {
        let mut decoder = de::Decoder::new(object, &parsed);
        let value = T::deserialize(&mut decoder)?;
        decoder.end()?;
        Ok(value)
    };
    if parsed.buffers.is_empty() && parsed.refs.is_empty() {
        read()
    } else {
        foreign::reading(object, parsed.refs.clone(), read)
    }
}

/// The references in an object, without decoding it. One that stands in the value twice is here twice.
///
/// # Errors
///
/// If the bytes are not a whole object.
pub fn refs_of(object: &Bytes) -> Result<Vec<RefToken>, DecodeError> {
    object::read_refs(&object[object::parse(object)?.refs])
}
