//! The layout of an object: what lies in shared memory, in a spill file, or inline in a frame.
//!
//! ```text
//! short  b"RV"  version u8  codec u8        in-band length u32
//! long   b"RV"  version u8  codec u8 | 80h  references u32  buffers u32  0u32  in-band length u64  [buffer length u64]
//! then   in-band bytes, references, and each buffer at the next multiple of 64
//! ```
//!
//! All numbers are little-endian. The short form serves values without buffers and references, so that an integer costs
//! about ten bytes.
//!
//! - OB-1: nothing read from an object is believed: every length is checked against the bytes that are there before
//!   anything is read or allocated by it.
//! - OB-2: an object's length is exactly what its header says, so a truncated one is never read as a shorter one.

use std::ops::Range;

use bytes::Bytes;
use rkyv::util::AlignedVec;
use smallvec::SmallVec;

use super::buffer::{BUFFER_ALIGNMENT, Buffer};
use super::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use super::refs::{RefToken, TOKEN_LEN};

const MAGIC: [u8; 2] = *b"RV";
const VERSION: u8 = 1;
/// The self-describing codec of this module's siblings.
const CODEC: u8 = 1;
const LONG: u8 = 0x80;
pub(super) const SHORT_HEADER: usize = 8;
const LONG_HEADER: usize = 24;

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

/// Where everything of an object goes.
#[derive(Debug, Clone)]
pub struct ObjectLayout<'a> {
    /// Length of the object.
    pub len: usize,
    /// Length of the part before the first buffer, which [`Encoded::write_head`] writes.
    pub head_len: usize,
    /// Each buffer with its offset: what to copy where. Large ones may be copied in parallel.
    pub segments: SmallVec<[(usize, &'a [u8]); 2]>,
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

/// What [`encode_into`](super::encode_into) did not write: the buffers.
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
pub(super) fn finish_head(
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

/// Refuses what the header cannot count.
pub(super) fn check_counts(buffers: usize, refs: usize) -> Result<(), EncodeError> {
    let limit = u32::MAX;
    if buffers.max(refs) as u64 > u64::from(limit) {
        return Err(EncodeErrorKind::TooMany { limit }.into());
    }
    Ok(())
}

fn short_header(in_band_len: u32) -> [u8; SHORT_HEADER] {
    let [a, b, c, d] = in_band_len.to_le_bytes();
    [MAGIC[0], MAGIC[1], VERSION, CODEC, a, b, c, d]
}

fn is_short(in_band_len: usize, buffers: usize, refs: usize) -> bool {
    buffers == 0 && refs == 0 && u32::try_from(in_band_len).is_ok()
}

fn push_header(out: &mut SmallVec<[u8; 64]>, in_band_len: usize, buffers: &[Buffer], refs: &[RefToken]) {
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

fn layout<'a>(in_band_len: usize, buffers: &'a [Buffer], refs: &[RefToken]) -> ObjectLayout<'a> {
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
fn offsets(mut end: usize, lens: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    lens.map(move |len| {
        let offset = end.next_multiple_of(BUFFER_ALIGNMENT);
        end = offset + len;
        offset
    })
}

/// Where the parts of an object are, checked (OB-1).
pub(super) struct Parsed {
    pub(super) in_band: Range<usize>,
    pub(super) refs: Range<usize>,
    pub(super) buffers: SmallVec<[Range<usize>; 4]>,
}

/// Reads the header of an object.
pub(super) fn parse(object: &[u8]) -> Result<Parsed, DecodeError> {
    let Some((&[m0, m1, version, codec, a, b, c, d], _)) = object.split_first_chunk::<SHORT_HEADER>() else {
        return Err(DecodeErrorKind::NotAnObject.into());
    };
    if [m0, m1] != MAGIC {
        return Err(DecodeErrorKind::NotAnObject.into());
    }
    if version != VERSION {
        return Err(DecodeErrorKind::Version {
            found: version,
            expected: VERSION,
        }
        .into());
    }
    if codec & !LONG != CODEC {
        return Err(DecodeErrorKind::Codec { found: codec & !LONG }.into());
    }
    let first = u32::from_le_bytes([a, b, c, d]);
    if codec & LONG != 0 {
        return parse_long(object, first);
    }
    let end = SHORT_HEADER as u64 + u64::from(first);
    check_len(object, end)?;
    Ok(Parsed {
        in_band: SHORT_HEADER..object.len(),
        refs: 0..0,
        buffers: SmallVec::new(),
    })
}

fn parse_long(object: &[u8], refs: u32) -> Result<Parsed, DecodeError> {
    let truncated = |expected: u64| DecodeErrorKind::Length {
        expected,
        found: object.len() as u64,
    };
    let fields = object
        .get(SHORT_HEADER..LONG_HEADER)
        .ok_or_else(|| truncated(LONG_HEADER as u64))?;
    let buffers = u64::from(little_endian_u32(&fields[..4]));
    let in_band_len = little_endian_u64(&fields[8..]);

    // Sums of attacker's choice: 128 bits cannot overflow here, and each is compared before it is narrowed.
    let header_end = LONG_HEADER as u64 + 8 * buffers;
    let in_band_end = u128::from(header_end) + u128::from(in_band_len);
    let head_end = in_band_end + (TOKEN_LEN as u128) * u128::from(refs);
    if head_end > object.len() as u128 {
        return Err(truncated(u64::try_from(head_end).unwrap_or(u64::MAX)).into());
    }
    let (header_end, in_band_end, head_end) = (header_end as usize, in_band_end as usize, head_end as usize);

    let mut ranges = SmallVec::with_capacity(buffers as usize);
    let mut end = head_end;
    for len in object[LONG_HEADER..header_end].chunks_exact(8) {
        let len = little_endian_u64(len);
        let offset = end.next_multiple_of(BUFFER_ALIGNMENT) as u64;
        let buffer_end = offset.saturating_add(len);
        if buffer_end > object.len() as u64 {
            return Err(truncated(buffer_end).into());
        }
        end = buffer_end as usize;
        ranges.push(offset as usize..end);
    }
    check_len(object, end as u64)?;
    Ok(Parsed {
        in_band: header_end..in_band_end,
        refs: in_band_end..head_end,
        buffers: ranges,
    })
}

/// OB-2.
fn check_len(object: &[u8], expected: u64) -> Result<(), DecodeError> {
    let found = object.len() as u64;
    if expected == found {
        Ok(())
    } else {
        Err(DecodeErrorKind::Length { expected, found }.into())
    }
}

fn little_endian_u32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn little_endian_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The references in this list of entries.
pub(super) fn read_refs(entries: &[u8]) -> Result<Vec<RefToken>, DecodeError> {
    entries.as_chunks::<TOKEN_LEN>().0.iter().map(read_ref).collect()
}

/// One entry of the list of references.
pub(super) fn read_ref(entry: &[u8; TOKEN_LEN]) -> Result<RefToken, DecodeError> {
    RefToken::from_bytes(entry).ok_or_else(|| {
        DecodeErrorKind::Malformed {
            at: 0,
            what: "a reference of a kind unknown to this program",
        }
        .into()
    })
}
