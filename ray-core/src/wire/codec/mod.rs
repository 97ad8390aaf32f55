//! How frames become bytes: explicit-width little-endian fields, in declaration order, nothing implied by memory layout.
//!
//! - here: a value that travels ([`Wire`]), and the input that it is read from;
//! - `fields`: numbers, ids, text, bytes and collections of them;
//! - `declare`: structs and enums of such fields, each declared once.
//!
//! Every length that is read is checked against what is left of the input before anything is allocated.

mod declare;
mod fields;

use bytes::{Buf, Bytes};

pub(crate) use declare::{wire_type, wire_types};

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
