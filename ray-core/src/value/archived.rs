//! [`Archived`]: a whole structure that is used in place, never deserialized.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use rkyv::Archive;
use rkyv::api::high::{HighSerializer, HighValidator, to_bytes_in};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::{Positional, Writer};
use rkyv::util::AlignedVec;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::buffer::{BUFFER_ALIGNMENT, Buffer};
use super::validated::{Proof, Subject};

/// The longest archive: its pointers are relative and have 32 bits.
pub const MAX_ARCHIVE: usize = i32::MAX as usize;

/// A structure in the form that [`rkyv`] gives it: written once, then read in place by any process, whatever its size.
///
/// It derefs to `T::Archived`, the form of `T` in which pointers are relative. Reading it out of an object costs no copy
/// and no deserialization; the bytes are validated when the first holder in a process reads them, and not again while any
/// holder is left.
///
/// ```
/// use ray_core::value::{self, Archived};
///
/// #[derive(rkyv::Archive, rkyv::Serialize)]
/// struct Graph {
///     names: Vec<String>,
///     edges: Vec<(u32, u32)>,
/// }
///
/// let graph = Archived::new(&Graph { names: vec!["a".into(), "b".into()], edges: vec![(0, 1)] })?;
/// let object = value::encode(&graph)?.to_bytes();
/// let read: Archived<Graph> = value::decode(&object)?;
/// assert_eq!(read.names[1], "b");
/// assert_eq!(read.edges[0].1, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Archived<T: Archive> {
    /// None if this process wrote the archive itself.
    _proof: Option<Arc<Proof>>,
    /// Holds a valid `T::Archived` at the end, aligned to [`BUFFER_ALIGNMENT`].
    buffer: Buffer,
    of: PhantomData<fn() -> T>,
}

/// Why a value cannot be archived, or bytes are no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive is longer than its 32-bit pointers reach.
    #[error("an archive holds at most {limit} bytes (its pointers have 32 bits); split the structure into several")]
    TooLarge {
        /// How long an archive may be.
        limit: usize,
    },
    /// The structure refused to be written.
    #[error("cannot archive `{of}`: {why}")]
    Write {
        /// The type.
        of: &'static str,
        /// What it said.
        why: String,
    },
    /// The bytes are not an archive of this type.
    #[error("the bytes are not an archived `{of}`: {why}")]
    Invalid {
        /// The type.
        of: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Where an archive is written: aligned memory that refuses to grow beyond [`MAX_ARCHIVE`].
#[derive(Debug)]
pub struct ArchiveWriter {
    bytes: AlignedVec<BUFFER_ALIGNMENT>,
    limit: usize,
}

/// What the machinery of [`rkyv`] says when it fails; it reaches a user as an [`ArchiveError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArchiveFailure(FailureKind);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum FailureKind {
    #[error("longer than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Other(String),
}

impl rancor::Trace for ArchiveFailure {
    fn trace<R: fmt::Debug + fmt::Display + Send + Sync + 'static>(mut self, trace: R) -> Self {
        if let FailureKind::Other(why) = &mut self.0 {
            why.push_str(&format!(", {trace}"));
        }
        self
    }
}

impl rancor::Source for ArchiveFailure {
    fn new<E: std::error::Error + Send + Sync + 'static>(source: E) -> Self {
        let kind = (&source as &dyn std::any::Any).downcast_ref::<FailureKind>();
        Self(kind.cloned().unwrap_or_else(|| FailureKind::Other(source.to_string())))
    }
}

impl Positional for ArchiveWriter {
    fn pos(&self) -> usize {
        self.bytes.len()
    }
}

impl<E: rancor::Source> Writer<E> for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(E::new(FailureKind::TooLarge(self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl<T: Archive> Archived<T> {
    /// Archives a value.
    ///
    /// # Errors
    ///
    /// If the archive would be longer than [`MAX_ARCHIVE`], or a type in the value refuses.
    pub fn new(value: &T) -> Result<Self, ArchiveError>
    where
        T: for<'a> rkyv::Serialize<HighSerializer<ArchiveWriter, ArenaHandle<'a>, ArchiveFailure>>,
    {
        Self::within(value, MAX_ARCHIVE)
    }

    fn within(value: &T, limit: usize) -> Result<Self, ArchiveError>
    where
        T: for<'a> rkyv::Serialize<HighSerializer<ArchiveWriter, ArenaHandle<'a>, ArchiveFailure>>,
    {
        const {
            assert!(
                align_of::<T::Archived>() <= BUFFER_ALIGNMENT,
                "an archive is aligned to 64 bytes at most"
            )
        };
        let writer = ArchiveWriter {
            bytes: AlignedVec::new(),
            limit,
        };
        let writer = to_bytes_in::<_, ArchiveFailure>(value, writer).map_err(|failure| match failure.0 {
            FailureKind::TooLarge(limit) => ArchiveError::TooLarge { limit },
            FailureKind::Other(why) => ArchiveError::Write {
                of: type_name::<T>(),
                why,
            },
        })?;
        let buffer = Buffer::from(bytes::Bytes::from_owner(writer.bytes));
        Ok(Self {
            _proof: None,
            buffer,
            of: PhantomData,
        })
    }

    /// The bytes of an archive as the structure in them, after validation. Unaligned bytes are copied.
    ///
    /// # Errors
    ///
    /// If the bytes are not an archive of a `T`.
    pub fn from_buffer(buffer: Buffer) -> Result<Self, ArchiveError>
    where
        T: 'static,
        T::Archived: for<'a> CheckBytes<HighValidator<'a, ArchiveFailure>>,
    {
        if buffer.len() > MAX_ARCHIVE {
            return Err(ArchiveError::TooLarge { limit: MAX_ARCHIVE });
        }
        let buffer = buffer.to_aligned();
        let subject = Subject::new::<T>(Vec::new(), std::slice::from_ref(&buffer));
        let proof = match Proof::find(&subject) {
            Some(proof) => proof,
            None => {
                rkyv::access::<T::Archived, ArchiveFailure>(&buffer).map_err(|failure| ArchiveError::Invalid {
                    of: type_name::<T>(),
                    why: failure.to_string(),
                })?;
                Proof::record(subject, vec![buffer.clone()])
            }
        };
        Ok(Self {
            _proof: Some(proof),
            buffer,
            of: PhantomData,
        })
    }

    /// The bytes of the archive.
    pub fn as_buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl<T: Archive> Deref for Archived<T> {
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        // SAFETY: `buffer` is immutable, aligned, and holds a valid `T::Archived` with its root at the end: either `within`
        // wrote it from a `T`, or `from_buffer` checked these very bytes or found the proof that they were (VD-1).
        unsafe { rkyv::access_unchecked::<T::Archived>(&self.buffer) }
    }
}

impl<T: Archive> AsRef<T::Archived> for Archived<T> {
    fn as_ref(&self) -> &T::Archived {
        self
    }
}

impl<T: Archive> Clone for Archived<T> {
    fn clone(&self) -> Self {
        Self {
            _proof: self._proof.clone(),
            buffer: self.buffer.clone(),
            of: PhantomData,
        }
    }
}

impl<T: Archive> fmt::Debug for Archived<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archived<{}>({} bytes)", type_name::<T>(), self.buffer.len())
    }
}

impl<T: Archive> From<Archived<T>> for Buffer {
    fn from(archived: Archived<T>) -> Self {
        archived.buffer
    }
}

impl<T> TryFrom<Buffer> for Archived<T>
where
    T: Archive + 'static,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, ArchiveFailure>>,
{
    type Error = ArchiveError;

    fn try_from(buffer: Buffer) -> Result<Self, ArchiveError> {
        Self::from_buffer(buffer)
    }
}

impl<T: Archive> Serialize for Archived<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.buffer.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Archived<T>
where
    T: Archive + 'static,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, ArchiveFailure>>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_buffer(Buffer::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{decode, encode};
    use super::*;

    #[derive(Debug, PartialEq, Archive, rkyv::Serialize, rkyv::Deserialize)]
    struct Graph {
        names: Vec<String>,
        edges: std::collections::BTreeMap<u32, Vec<Edge>>,
    }

    type Edge = (u64, Option<Box<str>>);

    fn graph() -> Graph {
        let names: Vec<_> = (0..100).map(|index| format!("node number {index}")).collect();
        let edges = (0..100)
            .map(|index| (index, vec![(u64::MAX, Some("edge".into())), (1, None)]))
            .collect();
        Graph { names, edges }
    }

    fn read_all(graph: &Archived<Graph>) -> Graph {
        rkyv::deserialize::<Graph, rancor::Error>(&**graph).unwrap()
    }

    #[test]
    fn a_graph_is_read_in_place() {
        let archived = Archived::new(&graph()).unwrap();
        let object = encode(&(1, &archived)).unwrap().to_bytes();
        let (_, read): (i32, Archived<Graph>) = decode(&object).unwrap();
        assert!(object.as_ptr_range().contains(&read.as_buffer().as_ptr()));
        assert_eq!(read_all(&read), graph());
        assert_eq!(read_all(&archived.clone()), graph());
    }

    #[test]
    fn the_same_memory_is_validated_once_while_it_is_held() {
        let object = encode(&Archived::new(&graph()).unwrap()).unwrap().to_bytes();
        let first: Archived<Graph> = decode(&object).unwrap();
        let second: Archived<Graph> = decode(&object).unwrap();
        assert!(Arc::ptr_eq(
            first._proof.as_ref().unwrap(),
            second._proof.as_ref().unwrap()
        ));
        let proof = Arc::downgrade(first._proof.as_ref().unwrap());
        drop((first, second));
        assert!(proof.upgrade().is_none());
    }

    #[test]
    fn an_archive_beyond_its_limit_is_a_typed_error() {
        assert_eq!(
            Archived::within(&graph(), 1000).unwrap_err(),
            ArchiveError::TooLarge { limit: 1000 }
        );
    }

    #[test]
    fn bytes_of_another_type_are_refused() {
        let number = encode(&Archived::new(&[u64::MAX; 20]).unwrap()).unwrap().to_bytes();
        let error = decode::<Archived<Graph>>(&number).unwrap_err();
        assert!(error.to_string().contains("are not an archived"), "{error}");
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused_or_read_safely(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = Archived::new(&graph()).unwrap().as_buffer().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Archived::<Graph>::from_buffer(Buffer::copy_from_slice(&bytes)) {
                _ = format!("{:?}", read_all(&read));
            }
        }
    }
}
