//! Where the in-band bytes go: tags, counts, text, and integers in their smallest form.

use crate::value::tag;

/// In-band bytes that are being written.
pub(super) struct Output<'o> {
    bytes: &'o mut Vec<u8>,
}

impl<'o> Output<'o> {
    pub(super) fn new(bytes: &'o mut Vec<u8>) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Writes one byte several times.
    #[inline]
    pub(super) fn repeat(&mut self, byte: u8, times: usize) {
        self.bytes.resize(self.bytes.len() + times, byte);
    }

    /// Bytes as a value: as many as there are, and they themselves.
    #[inline]
    pub(super) fn plain(&mut self, bytes: &[u8]) {
        self.counted(tag::BYTES, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        // One write instead of two: most of the cost of a number is the check for room.
        let mut both = [0; 17];
        both[0] = tag;
        both[1..=N].copy_from_slice(&bytes);
        self.bytes.extend_from_slice(&both[..=N]);
    }

    #[inline]
    pub(super) fn counted(&mut self, tag: u8, count: usize) {
        if count < 0x80 {
            return self.bytes.extend_from_slice(&[tag, count as u8]);
        }
        self.bytes.push(tag);
        self.count(count);
    }

    fn count(&mut self, mut count: usize) {
        while count >= 0x80 {
            self.bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        self.bytes.push(count as u8);
    }

    #[inline]
    pub(super) fn unsigned(&mut self, number: u64) {
        if number <= u64::from(tag::MAX_SMALL) {
            self.bytes.push(number as u8);
        } else if let Ok(number) = u8::try_from(number) {
            self.tagged(tag::U8, [number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.tagged(tag::U16, number.to_le_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.tagged(tag::U32, number.to_le_bytes());
        } else {
            self.tagged(tag::U64, number.to_le_bytes());
        }
    }

    #[inline]
    pub(super) fn signed(&mut self, number: i64) {
        if let Ok(number) = u64::try_from(number) {
            self.unsigned(number);
        } else if number >= i64::from(tag::MIN_NEGATIVE as i8) {
            self.bytes.push(number as i8 as u8);
        } else if let Ok(number) = i8::try_from(number) {
            self.tagged(tag::I8, number.to_le_bytes());
        } else if let Ok(number) = i16::try_from(number) {
            self.tagged(tag::I16, number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.tagged(tag::I32, number.to_le_bytes());
        } else {
            self.tagged(tag::I64, number.to_le_bytes());
        }
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        if text.len() <= tag::MAX_SHORT_STR_LEN {
            self.bytes.push(tag::SHORT_STR + text.len() as u8);
        } else {
            self.counted(tag::STR, text.len());
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }
}
