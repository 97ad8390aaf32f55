//! A client's pin table in shared memory: written by that client only, read by the server.
//!
//! Word 0 is the high-water mark: pins lie below it. From word [`HEADER`] on, each word is a pin (see
//! [`guard`](crate::guard)).
//!
//! - PI-1: the mark is raised before the first pin above the old one is written.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64 as PrivateU64};

use crate::error::Error;
use crate::guard;
use crate::memory::{WordsReader, WordsWriter, words_file};
use crate::sync::{AtomicU64, Ordering};

const HEADER: usize = 8;
/// Views that one client can hold at a time.
pub(crate) const LIMIT: u32 = 1 << 20;
const WORDS: usize = HEADER + LIMIT as usize;
/// Slots whose private links are allocated together.
const PIECE: usize = 4096;

/// The file of a new, empty table.
pub(crate) fn pins_file() -> Result<OwnedFd, Error> {
    words_file("ray-pins", WORDS)
}

/// The client's side. Free slots form a stack without locks, in memory of its own.
#[derive(Debug)]
pub(crate) struct PinTable {
    words: WordsWriter,
    /// Top of the stack: a tag that changes with each take, and the slot plus one.
    top: PrivateU64,
    /// For each slot the one below it, plus one; in pieces, so that a client with few views takes little memory.
    below: Box<[OnceLock<Box<[AtomicU32]>>]>,
    /// Slots from here on were never used.
    unused: AtomicU32,
}

impl PinTable {
    pub(crate) fn new(file: BorrowedFd<'_>) -> Result<Self, Error> {
        let below = std::iter::repeat_with(OnceLock::new)
            .take(LIMIT as usize / PIECE)
            .collect();
        let words = WordsWriter::new(file, WORDS)?;
        Ok(Self {
            words,
            top: PrivateU64::new(0),
            below,
            unused: AtomicU32::new(0),
        })
    }

    /// A free slot, with the mark raised above it. `None` when all are taken.
    pub(crate) fn take(&self) -> Option<u32> {
        let mut top = self.top.load(Ordering::Acquire);
        while let Some(slot) = (top as u32).checked_sub(1) {
            let below = self.below(slot)?.load(Ordering::Relaxed);
            let next = (top >> 32).wrapping_add(1) << 32 | u64::from(below);
            match self
                .top
                .compare_exchange_weak(top, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(slot),
                Err(current) => top = current,
            }
        }
        let slot = self.unused.fetch_add(1, Ordering::Relaxed);
        if slot >= LIMIT {
            self.unused.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if let Some(mark) = self.words.word(0) {
            mark.fetch_max(u64::from(slot) + 1, Ordering::SeqCst);
        }
        Some(slot)
    }

    /// Gives a slot back, its pin removed.
    pub(crate) fn give_back(&self, slot: u32) {
        let Some(below) = self.below(slot) else { return };
        let mut top = self.top.load(Ordering::Acquire);
        loop {
            below.store(top as u32, Ordering::Relaxed);
            let next = (top >> 32).wrapping_add(1) << 32 | (u64::from(slot) + 1);
            match self
                .top
                .compare_exchange_weak(top, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(current) => top = current,
            }
        }
    }

    fn below(&self, slot: u32) -> Option<&AtomicU32> {
        let piece = self.below.get(slot as usize / PIECE)?;
        let piece = piece.get_or_init(|| std::iter::repeat_with(|| AtomicU32::new(0)).take(PIECE).collect());
        piece.get(slot as usize % PIECE)
    }

    /// The pin word of a slot that was taken.
    pub(crate) fn word(&self, slot: u32) -> Option<&AtomicU64> {
        self.words.word(HEADER + slot as usize)
    }
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct PinsReader(WordsReader);

impl PinsReader {
    pub(crate) fn new(file: BorrowedFd<'_>) -> Result<Self, Error> {
        Ok(Self(WordsReader::new(file, WORDS)?))
    }

    /// The generations pinned now. [`guard::settle`] must have gone before.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = u64> {
        let mark = self.0.read(0).unwrap_or(0).min(u64::from(LIMIT)) as usize;
        (0..mark).filter_map(|slot| self.0.word(HEADER + slot).and_then(guard::pinned))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::fd::AsFd;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn pi1_a_pin_is_seen_by_the_server_and_gone_after_removal() {
        let file = pins_file().unwrap();
        let (table, reader) = (
            PinTable::new(file.as_fd()).unwrap(),
            PinsReader::new(file.as_fd()).unwrap(),
        );
        let slots: Vec<u32> = (0..3).map(|_| table.take().unwrap()).collect();
        for (slot, generation) in slots.iter().zip([5, 6, 7]) {
            table.word(*slot).unwrap().store(generation, Ordering::SeqCst);
        }
        table.word(slots[1]).unwrap().store(0, Ordering::SeqCst);
        table.give_back(slots[1]);
        assert_eq!(reader.pinned().collect::<Vec<_>>(), vec![5, 7]);
        assert_eq!(table.take(), Some(slots[1]));
    }

    #[test]
    fn no_slot_is_given_to_two_threads() {
        let file = pins_file().unwrap();
        let table = PinTable::new(file.as_fd()).unwrap();
        let taken = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let slot = table.take().unwrap();
                        assert!(taken.lock().unwrap().insert(slot));
                        assert!(taken.lock().unwrap().remove(&slot));
                        table.give_back(slot);
                    }
                });
            }
        });
    }
}
