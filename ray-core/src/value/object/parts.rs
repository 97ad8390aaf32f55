//! An object that is written at once but for its buffers: the way for values that have none.

use smallvec::SmallVec;

use super::SHORT_HEADER;
use super::layout::{ObjectLayout, layout, offsets, push_header, short_header};
use crate::value::buffer::Buffer;
use crate::value::refs::RefToken;

/// What [`encode_into`](crate::value::encode_into) did not write: the buffers.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Length of the whole object.
    pub object_len: usize,
    /// Length of what was written: the object without its buffers.
    pub head_len: usize,
    /// The buffers, still to be copied; empty if the object is complete.
    pub buffers: SmallVec<[Buffer; 2]>,
    /// The references in the value, which are already written.
    pub refs: Vec<RefToken>,
}

impl Parts {
    /// An object that was written whole, without buffers or references.
    pub fn whole(len: usize) -> Self {
        Self {
            object_len: len,
            head_len: len,
            ..Self::default()
        }
    }

    /// Whether all of the object was written.
    pub fn is_complete(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Each buffer with its offset in the object.
    pub fn segments(&self) -> impl Iterator<Item = (usize, &Buffer)> {
        offsets(self.head_len, self.buffers.iter().map(|buffer| buffer.len())).zip(&self.buffers)
    }
}

/// Turns in-band bytes, written after room for a short header at `start`, into the head of an object.
pub(in crate::value) fn finish_head(
    out: &mut Vec<u8>,
    start: usize,
    buffers: SmallVec<[Buffer; 2]>,
    refs: Vec<RefToken>,
) -> Parts {
    let in_band_len = out.len() - start - SHORT_HEADER;
    if buffers.is_empty()
        && refs.is_empty()
        && let Ok(short_len) = u32::try_from(in_band_len)
    {
        out[start..start + SHORT_HEADER].copy_from_slice(&short_header(short_len));
        let object_len = out.len() - start;
        return Parts {
            object_len,
            head_len: object_len,
            buffers,
            refs,
        };
    }
    let mut header = SmallVec::<[u8; 64]>::new();
    push_header(&mut header, in_band_len, &buffers, &refs);
    let moved_to = start + header.len();
    out.resize(moved_to + in_band_len, 0);
    out.copy_within(start + SHORT_HEADER..start + SHORT_HEADER + in_band_len, moved_to);
    out[start..moved_to].copy_from_slice(&header);
    for token in &refs {
        out.extend_from_slice(&token.to_bytes());
    }
    let ObjectLayout {
        len: object_len,
        head_len,
        ..
    } = layout(in_band_len, &buffers, &refs);
    Parts {
        object_len,
        head_len,
        buffers,
        refs,
    }
}
