//! The receiver's copy of a frame.

use crate::layout::LINE_WORDS;
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([u64; LINE_WORDS]);

/// A buffer that keeps its memory from frame to frame and aligns each to 64 bytes, so that archived structures can be read in place.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    lines: Vec<Line>,
    len: usize,
}

impl Frame {
    /// Copies `len` bytes out of `first` and then `second`.
    pub(crate) fn copy_from(&mut self, len: usize, first: &[AtomicU64], second: &[AtomicU64]) {
        let lines = len.div_ceil(size_of::<Line>());
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::default());
        }
        self.len = len;
        let targets = self.lines.iter_mut().flat_map(|line| &mut line.0);
        for (target, word) in targets.zip(first.iter().chain(second)) {
            *target = word.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let bytes = self.lines.len() * size_of::<Line>();
        // SAFETY: the vector holds `lines.len()` initialised lines without padding (64 bytes of u64 at alignment 64), and any
        // byte is a valid u8. It is private memory.
        let all = unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>(), bytes) };
        &all[..self.len]
    }
}
