//! The in-band bytes, read from the front: single bytes, counts, text.
//!
//! DE-1 begins here: whatever is asked for is there, or the bytes are refused.

use crate::value::error::{DecodeError, DecodeErrorKind};
use crate::value::tag;

/// In-band bytes, and how far they have been read.
pub(super) struct Input<'de> {
    bytes: &'de [u8],
    pub(super) at: usize,
}

impl<'de> Input<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[cold]
    pub(super) fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeErrorKind::Malformed { at: self.at, what }.into()
    }

    #[inline]
    pub(super) fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| DecodeErrorKind::Truncated.into())
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let array = self.bytes[self.at..]
            .first_chunk::<N>()
            .ok_or(DecodeErrorKind::Truncated)?;
        self.at += N;
        Ok(*array)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], DecodeError> {
        let bytes = self.bytes[self.at..].get(..len).ok_or(DecodeErrorKind::Truncated)?;
        self.at += len;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, DecodeError> {
        let mut count = 0usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = usize::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            count |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(count);
            }
        }
        Err(self.malformed("a count beyond 64 bits"))
    }

    #[inline]
    pub(super) fn text(&mut self, len: usize) -> Result<&'de str, DecodeError> {
        let bytes = self.take(len)?;
        str::from_utf8(bytes).map_err(|_| self.malformed("text that is not UTF-8"))
    }

    /// The name of a variant.
    pub(super) fn name(&mut self) -> Result<&'de str, DecodeError> {
        match self.byte()? {
            opening @ tag::SHORT_STR..=tag::MAX_SHORT_STR => self.text(usize::from(opening - tag::SHORT_STR)),
            tag::STR => {
                let len = self.count()?;
                self.text(len)
            }
            _ => Err(self.malformed("a variant without a name")),
        }
    }

    /// The byte after the next one.
    #[inline]
    pub(super) fn peek_second(&self) -> Option<u8> {
        self.bytes.get(self.at + 1).copied()
    }
}
