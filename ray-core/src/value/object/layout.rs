//! Which header an object has, and where each of its parts lies.

use smallvec::SmallVec;

use super::{CODEC, LONG, LONG_HEADER, MAGIC, SHORT_HEADER, VERSION};
use crate::value::buffer::{BUFFER_ALIGNMENT, Buffer};
use crate::value::error::{EncodeError, EncodeErrorKind};
use crate::value::refs::{RefToken, TOKEN_LEN};

/// Where everything of an object goes.
#[derive(Debug, Clone)]
pub struct ObjectLayout<'a> {
    /// Length of the object.
    pub len: usize,
    /// Length of the part before the first buffer, which [`Encoded::write_head`](super::Encoded::write_head) writes.
    pub head_len: usize,
    /// Each buffer with its offset: what to copy where. Large ones may be copied in parallel.
    pub segments: SmallVec<[(usize, &'a [u8]); 2]>,
}

pub(super) fn layout<'a>(in_band_len: usize, buffers: &'a [Buffer], refs: &[RefToken]) -> ObjectLayout<'a> {
    let header_len = match is_short(in_band_len, buffers.len(), refs.len()) {
        true => SHORT_HEADER,
        false => LONG_HEADER + 8 * buffers.len(),
    };
    let head_len = header_len + in_band_len + TOKEN_LEN * refs.len();
    let segments: SmallVec<[_; 2]> = offsets(head_len, buffers.iter().map(|buffer| buffer.len()))
        .zip(buffers)
        .map(|(offset, buffer)| (offset, buffer.as_slice()))
        .collect();
    let len = segments.last().map_or(head_len, |(offset, bytes)| offset + bytes.len());
    ObjectLayout {
        len,
        head_len,
        segments,
    }
}

/// The offset of each buffer, one after the other from `end` on.
pub(super) fn offsets(mut end: usize, lens: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    lens.map(move |len| {
        let offset = end.next_multiple_of(BUFFER_ALIGNMENT);
        end = offset + len;
        offset
    })
}

/// Refuses what the header cannot count.
pub(in crate::value) fn check_counts(buffers: usize, refs: usize) -> Result<(), EncodeError> {
    let limit = u32::MAX;
    if buffers.max(refs) as u64 > u64::from(limit) {
        return Err(EncodeErrorKind::TooMany { limit }.into());
    }
    Ok(())
}

pub(super) fn short_header(in_band_len: u32) -> [u8; SHORT_HEADER] {
    let [a, b, c, d] = in_band_len.to_le_bytes();
    [MAGIC[0], MAGIC[1], VERSION, CODEC, a, b, c, d]
}

fn is_short(in_band_len: usize, buffers: usize, refs: usize) -> bool {
    buffers == 0 && refs == 0 && u32::try_from(in_band_len).is_ok()
}

pub(super) fn push_header(out: &mut SmallVec<[u8; 64]>, in_band_len: usize, buffers: &[Buffer], refs: &[RefToken]) {
    if is_short(in_band_len, buffers.len(), refs.len()) {
        out.extend_from_slice(&short_header(in_band_len as u32));
        return;
    }
    out.extend_from_slice(&[MAGIC[0], MAGIC[1], VERSION, CODEC | LONG]);
    // `check_counts` has seen to it that the counts fit.
    out.extend_from_slice(&(refs.len() as u32).to_le_bytes());
    out.extend_from_slice(&(buffers.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(in_band_len as u64).to_le_bytes());
    for buffer in buffers {
        out.extend_from_slice(&(buffer.len() as u64).to_le_bytes());
    }
}
