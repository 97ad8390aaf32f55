//! Reading an object's header: what it says of the parts, checked against the bytes that are there (OB-1, OB-2).

use std::ops::Range;

use smallvec::SmallVec;

use super::{CODEC, LONG, LONG_HEADER, MAGIC, SHORT_HEADER, VERSION};
use crate::value::buffer::BUFFER_ALIGNMENT;
use crate::value::error::{DecodeError, DecodeErrorKind};
use crate::value::refs::{RefToken, TOKEN_LEN};

/// Where the parts of an object are, checked (OB-1).
pub(in crate::value) struct Parsed {
    pub(in crate::value) in_band: Range<usize>,
    pub(in crate::value) refs: Range<usize>,
    pub(in crate::value) buffers: SmallVec<[Range<usize>; 4]>,
}

/// Reads the header of an object.
pub(in crate::value) fn parse(object: &[u8]) -> Result<Parsed, DecodeError> {
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
pub(in crate::value) fn read_refs(entries: &[u8]) -> Result<Vec<RefToken>, DecodeError> {
    entries.as_chunks::<TOKEN_LEN>().0.iter().map(read_ref).collect()
}

/// One entry of the list of references.
pub(in crate::value) fn read_ref(entry: &[u8; TOKEN_LEN]) -> Result<RefToken, DecodeError> {
    RefToken::from_bytes(entry).ok_or_else(|| {
        DecodeErrorKind::Malformed {
            at: 0,
            what: "a reference of a kind unknown to this program",
        }
        .into()
    })
}
