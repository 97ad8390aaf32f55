//! [`Buffer`]: immutable bytes that travel beside a value instead of inside it.

use std::fmt;
use std::ops::Deref;

use bytemuck::Pod;
use bytes::Bytes;
use rkyv::util::AlignedVec;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::foreign::{self, Handle};

/// Every buffer in an object begins at a multiple of this, so typed and vectorised reads need no copy.
pub const BUFFER_ALIGNMENT: usize = 64;

/// Immutable bytes, cheap to clone, that are never copied through serde.
///
/// Anywhere inside an argument, a result or a value that is `put`, a `Buffer` hands over its memory as it is, and whoever
/// reads the value gets a view of the object in shared memory. The view keeps the object in place until its last clone
/// drops. In an object every buffer is aligned to [`BUFFER_ALIGNMENT`] bytes; a buffer made from a `Vec` keeps the
/// alignment of the `Vec`.
///
/// ```
/// use ray_core::value::Buffer;
///
/// let samples = Buffer::from_vec(vec![1.5f32, 2.5]);
/// assert_eq!(samples.len(), 8);
/// assert_eq!(samples.typed::<f32>()?, [1.5, 2.5]);
/// assert_eq!(Buffer::from(b"abc".to_vec()).as_slice(), b"abc");
/// # Ok::<(), ray_core::value::ViewError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buffer(Bytes);

/// Why a [`Buffer`] cannot be seen as a slice of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The length is no multiple of the element's size.
    #[error("{len} bytes are not a whole number of `{element}`, which has {size} bytes")]
    Length {
        /// Of the buffer.
        len: usize,
        /// Of one element.
        size: usize,
        /// The element's type.
        element: &'static str,
    },
    /// The memory is not aligned for the element.
    #[error(
        "the buffer is not aligned to {required} bytes as `{element}` needs; `Buffer::to_aligned` makes a copy that is"
    )]
    Alignment {
        /// What the element needs.
        required: usize,
        /// The element's type.
        element: &'static str,
    },
}

/// Lets a `Vec` of numbers own the memory of a [`Bytes`].
struct Numbers<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Numbers<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Buffer {
    /// A buffer that takes over the memory of a `Vec` of plain numbers; nothing is copied.
    pub fn from_vec<T: Pod + Send + Sync>(vec: Vec<T>) -> Self {
        Self(Bytes::from_owner(Numbers(vec)))
    }

    /// A copy of `bytes`, aligned to [`BUFFER_ALIGNMENT`].
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        let mut aligned = AlignedVec::<BUFFER_ALIGNMENT>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        Self(Bytes::from_owner(aligned))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A part of this buffer, without a copy; `None` if the range does not lie within it.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Option<Self> {
        (range.start <= range.end && range.end <= self.len()).then(|| Self(self.0.slice(range)))
    }

    /// The bytes as a slice of plain numbers, in place.
    ///
    /// # Errors
    ///
    /// If the length does not divide, or if the memory is not aligned for `T` (never for a whole buffer read from an
    /// object).
    pub fn typed<T: Pod>(&self) -> Result<&[T], ViewError> {
        let element = std::any::type_name::<T>();
        bytemuck::try_cast_slice(&self.0).map_err(|error| match error {
            bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned => ViewError::Alignment {
                required: align_of::<T>(),
                element,
            },
            _ => ViewError::Length {
                len: self.len(),
                size: size_of::<T>(),
                element,
            },
        })
    }

    /// Whether the memory is aligned to [`BUFFER_ALIGNMENT`].
    pub fn is_aligned(&self) -> bool {
        self.0.as_ptr().addr().is_multiple_of(BUFFER_ALIGNMENT)
    }

    /// This buffer, or an aligned copy if its memory is not aligned.
    #[must_use]
    pub fn to_aligned(&self) -> Self {
        if self.is_aligned() {
            self.clone()
        } else {
            Self::copy_from_slice(&self.0)
        }
    }

    /// The bytes as [`Bytes`], without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Buffer {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from_slice(bytes)
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        buffer.0
    }
}

impl From<Buffer> for Vec<u8> {
    fn from(buffer: Buffer) -> Self {
        buffer.0.into()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        f.write_str("Buffer(")?;
        self.0.iter().take(SHOWN).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if self.len() > SHOWN {
            write!(f, "..., {} bytes", self.len())?;
        }
        f.write_str(")")
    }
}

impl Serialize for Buffer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// What every serializer but ours writes.
        struct Inline<'a>(&'a [u8]);

        impl Serialize for Inline<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }

        foreign::offer(Handle::Buffer(self.clone()), || {
            serializer.serialize_newtype_struct(foreign::BUFFER_NAME, &Inline(&self.0))
        })
    }
}

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(foreign::BUFFER_NAME, BufferVisitor)
    }
}

struct BufferVisitor;

impl<'de> Visitor<'de> for BufferVisitor {
    type Value = Buffer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a buffer or bytes")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Buffer, D::Error> {
        match foreign::take() {
            Some(Handle::Buffer(buffer)) => Ok(buffer),
            Some(Handle::Ref(_)) => Err(de::Error::invalid_type(de::Unexpected::Other("a reference"), &self)),
            None => deserializer.deserialize_byte_buf(self),
        }
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Buffer, E> {
        Ok(foreign::buffer_at(bytes).unwrap_or_else(|| Buffer::copy_from_slice(bytes)))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Buffer, E> {
        Ok(Buffer::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Buffer, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Buffer, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Buffer, A::Error> {
        let mut bytes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1 << 16));
        while let Some(byte) = seq.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}
