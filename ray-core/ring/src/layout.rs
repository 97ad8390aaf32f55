//! Where everything lies: a header page, then one area of 64-byte lines for each direction.
//!
//! LAY-1: each header word stands on a cache line pair of its own and has one writer, named here; `STARVED` is a swap word.

use crate::sync::{AtomicU64, Ordering};

/// "RayRing" and the version of this layout: a changed layout takes a new number.
pub(crate) const MAGIC: u64 = 0x5261_7952_696e_6701;
/// Words of 8 bytes in a line.
pub(crate) const LINE_WORDS: usize = 8;
/// Words before the payload of a record: its state, then its length.
pub(crate) const RECORD_WORDS: usize = 2;
/// The least number of lines.
pub(crate) const MIN_LINES: usize = 16;
/// The most: 64 MiB a direction.
pub(crate) const MAX_LINES: usize = 1 << 20;
/// Loom explores every access, so its rings are as small as can be.
#[cfg(all(test, ray_loom))]
pub(crate) const TINY_LINES: usize = 4;

/// Word 0 of the header: [`MAGIC`]. Word 1: the number of lines. Written once by the creator.
const MAGIC_WORD: usize = 0;
const LINES_WORD: usize = 1;
/// Two cache lines, since processors fetch them in pairs.
#[cfg(not(ray_loom))]
const STRIDE: usize = 16;
#[cfg(not(ray_loom))]
const HEADER_WORDS: usize = 512;
#[cfg(ray_loom)]
const STRIDE: usize = 2;
#[cfg(ray_loom)]
const HEADER_WORDS: usize = 32;

/// The words of one direction's header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    /// Lines given back. Writer: the receiver.
    Head = 0,
    /// Not zero once the receiver has gone in good order. Writer: the receiver.
    ReceiverClosed = 1,
    /// Not zero once the sender has gone in good order. Writer: the sender.
    SenderClosed = 2,
    /// Not zero while the sender waits for room. Set by the sender, swapped to zero by the receiver.
    Starved = 3,
}

const LANE_WORDS: usize = 4 * STRIDE;

/// The number of words of a whole channel.
pub(crate) fn total_words(lines: usize) -> usize {
    HEADER_WORDS + 2 * lines * LINE_WORDS
}

/// Writes the header of new memory.
pub(crate) fn initialise(words: &[AtomicU64], lines: usize) {
    words[LINES_WORD].store(lines as u64, Ordering::Relaxed);
    words[MAGIC_WORD].store(MAGIC, Ordering::Release);
}

/// The magic and the number of lines that a peer's header claims.
pub(crate) fn claimed(words: &[AtomicU64]) -> (u64, u64) {
    let at = |index: usize| words.get(index).map_or(0, |word| word.load(Ordering::Acquire));
    (at(MAGIC_WORD), at(LINES_WORD))
}

/// One direction of a channel: arithmetic only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    header: usize,
    area: usize,
    /// A power of two.
    lines: usize,
}

impl Lane {
    /// Direction 0 runs from the creator to the opener, direction 1 back.
    pub(crate) fn new(direction: usize, lines: usize) -> Lane {
        Lane {
            header: STRIDE + direction * LANE_WORDS,
            area: HEADER_WORDS + direction * lines * LINE_WORDS,
            lines,
        }
    }

    #[inline]
    pub(crate) fn lines(self) -> u64 {
        self.lines as u64
    }

    /// The longest frame: a quarter of the area, so that one frame never blocks the ring for all others.
    #[inline]
    pub(crate) fn max_frame(self) -> usize {
        (self.lines / 4 * LINE_WORDS - RECORD_WORDS) * 8
    }

    /// The lines that a frame of `len` bytes takes.
    #[inline]
    pub(crate) fn lines_for(len: usize) -> u64 {
        (len + RECORD_WORDS * 8).div_ceil(LINE_WORDS * 8) as u64
    }

    #[inline]
    pub(crate) fn header(self, words: &[AtomicU64], word: Word) -> &AtomicU64 {
        &words[self.header + word as usize * STRIDE]
    }

    #[inline]
    fn line_index(self, position: u64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the mask leaves less than `lines`, a usize"
        )]
        let line = (position & (self.lines as u64 - 1)) as usize;
        self.area + line * LINE_WORDS
    }

    /// The first word of the line at `position`: the state of the record that begins there.
    #[inline]
    pub(crate) fn state(self, words: &[AtomicU64], position: u64) -> &AtomicU64 {
        &words[self.line_index(position)]
    }

    /// The second word: the record's length.
    #[inline]
    pub(crate) fn length(self, words: &[AtomicU64], position: u64) -> &AtomicU64 {
        &words[self.line_index(position) + 1]
    }

    /// The `count` payload words of the record at `position`: up to the end of the area, and from its start.
    #[inline]
    pub(crate) fn payload(self, words: &[AtomicU64], position: u64, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let start = self.line_index(position) + RECORD_WORDS;
        let end = self.area + self.lines * LINE_WORDS;
        let first = count.min(end - start);
        (
            &words[start..start + first],
            &words[self.area..self.area + count - first],
        )
    }
}
