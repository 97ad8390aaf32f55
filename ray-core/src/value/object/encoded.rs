//! A value as bytes whose buffers lie elsewhere still, and how that is written as an object.

use bytes::Bytes;
use rkyv::util::AlignedVec;
use smallvec::SmallVec;

use super::layout::{ObjectLayout, layout, push_header};
use crate::value::buffer::{BUFFER_ALIGNMENT, Buffer};
use crate::value::refs::{RefToken, TOKEN_LEN};

/// A value as bytes, its buffers still where the value had them.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// Everything but buffers and references.
    pub in_band: Vec<u8>,
    /// The buffers, in the order of their places in the value.
    pub buffers: SmallVec<[Buffer; 2]>,
    /// The references, in the order of their places in the value; one may stand here more than once.
    pub refs: Vec<RefToken>,
}

/// Output of a length other than the object's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object of {expected} bytes cannot be written into {found} bytes")]
pub struct WrongOutputLength {
    /// What the object needs.
    pub expected: usize,
    /// What was given.
    pub found: usize,
}

impl Encoded {
    /// Length of the object that this value becomes.
    pub fn object_len(&self) -> usize {
        layout(self.in_band.len(), &self.buffers, &self.refs).len
    }

    /// Where everything goes, for a caller that copies the buffers itself.
    pub fn layout(&self) -> ObjectLayout<'_> {
        layout(self.in_band.len(), &self.buffers, &self.refs)
    }

    /// Writes everything but the buffers: the head, and zeros between the buffers.
    ///
    /// # Errors
    ///
    /// If `object` has not exactly [`object_len`](Self::object_len) bytes.
    pub fn write_head(&self, object: &mut [u8]) -> Result<(), WrongOutputLength> {
        self.write_around(&self.layout(), object)
    }

    /// Writes the whole object.
    ///
    /// # Errors
    ///
    /// If `object` has not exactly [`object_len`](Self::object_len) bytes.
    pub fn write_object(&self, object: &mut [u8]) -> Result<(), WrongOutputLength> {
        let layout = self.layout();
        self.write_around(&layout, object)?;
        for (offset, bytes) in layout.segments {
            object[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The whole object in memory of its own, aligned so that it can be read without a copy.
    pub fn to_bytes(&self) -> Bytes {
        let layout = self.layout();
        let mut object = AlignedVec::<BUFFER_ALIGNMENT>::with_capacity(layout.len);
        let mut head = SmallVec::<[u8; 64]>::new();
        push_header(&mut head, self.in_band.len(), &self.buffers, &self.refs);
        object.extend_from_slice(&head);
        object.extend_from_slice(&self.in_band);
        for token in &self.refs {
            object.extend_from_slice(&token.to_bytes());
        }
        for (offset, bytes) in layout.segments {
            object.resize(offset, 0);
            object.extend_from_slice(bytes);
        }
        Bytes::from_owner(object)
    }

    fn write_around(&self, layout: &ObjectLayout<'_>, object: &mut [u8]) -> Result<(), WrongOutputLength> {
        if object.len() != layout.len {
            return Err(WrongOutputLength {
                expected: layout.len,
                found: object.len(),
            });
        }
        let mut header = SmallVec::<[u8; 64]>::new();
        push_header(&mut header, self.in_band.len(), &self.buffers, &self.refs);
        let (header_out, rest) = object.split_at_mut(header.len());
        header_out.copy_from_slice(&header);
        let (in_band, rest) = rest.split_at_mut(self.in_band.len());
        in_band.copy_from_slice(&self.in_band);
        for (entry, token) in rest.chunks_exact_mut(TOKEN_LEN).zip(&self.refs) {
            entry.copy_from_slice(&token.to_bytes());
        }
        let mut written = layout.head_len;
        for (offset, bytes) in &layout.segments {
            object[written..*offset].fill(0);
            written = offset + bytes.len();
        }
        Ok(())
    }
}
