//! A client's publication table in shared memory: what it created and sealed in its own arenas, and the server has not
//! taken over yet.
//!
//! Words 0 to 2 are the client's: the high-water mark of slots, how many claims it has made, how many of those it has
//! closed (sealed, or given up). Word 3 is the server's: the last lease called back. Then come the slot words (see
//! [`handover`]), then a record of eight words for each slot, the client's while the slot is vacant or creating.
//!
//! - PU-1: mark and record are written before the slot word that makes them known; `closed` after it.
//! - PU-2: a seal that has returned is counted in `closed`, so an unchanged count proves that nothing is new.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::guard;
use crate::handover::{self, SlotState};
use crate::ids::Key;
use crate::memory::{WordsWriter, words_file};
use crate::sync::{AtomicU64, Ordering};

const MARK: usize = 0;
const CLAIMED: usize = 1;
const CLOSED: usize = 2;
const RECALLED: usize = 3;
const HEADER: usize = 8;
/// Publications that the server has not taken over, at most.
pub(crate) const SLOTS: u32 = 4096;
const RECORD: usize = 8;
const WORDS: usize = HEADER + SLOTS as usize * (1 + RECORD);

/// An arena: small objects are bump-allocated inside. One lease each.
pub(crate) const ARENA: u64 = 1 << 20;
/// Larger objects are granted one by one.
pub(crate) const SMALL: usize = 128 << 10;
/// Generations that come with a lease.
pub(crate) const GENERATIONS: u64 = 1 << 20;

/// The file of a new, empty table.
pub(crate) fn table_file() -> Result<OwnedFd, Error> {
    words_file("ray-published", WORDS)
}

/// What a client says about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) key: Key,
    /// When it was begun or, once sealed, sealed: orders seals and frees of one key, over all processes of the node.
    pub(crate) at: u64,
    /// Freed before it was sealed.
    pub(crate) doomed: bool,
}

/// A table, mapped by its client or by the server.
#[derive(Debug)]
pub(crate) struct PublishTable(WordsWriter);

impl PublishTable {
    pub(crate) fn new(file: BorrowedFd<'_>) -> Result<Self, Error> {
        Ok(Self(WordsWriter::new(file, WORDS)?))
    }

    fn slot_word(&self, slot: u32) -> Option<&AtomicU64> {
        (slot < SLOTS).then(|| self.0.word(HEADER + slot as usize)).flatten()
    }

    fn header(&self, index: usize) -> u64 {
        self.0.word(index).map_or(0, guard::read)
    }

    fn advance(&self, index: usize) {
        if let Some(word) = self.0.word(index) {
            word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    fn record_words(&self, slot: u32) -> impl Iterator<Item = &AtomicU64> {
        let first = HEADER + SLOTS as usize + slot as usize * RECORD;
        (first..first + RECORD).filter_map(|index| self.0.word(index))
    }

    fn record(&self, slot: u32) -> Record {
        let mut words = [0; RECORD];
        for (value, word) in words.iter_mut().zip(self.record_words(slot)) {
            *value = guard::read(word);
        }
        let [offset, size, first, second, third, at, doomed, _] = words;
        Record {
            offset,
            size,
            key: Key::from_words([first, second, third]),
            at,
            doomed: doomed != 0,
        }
    }

    fn write_record(&self, slot: u32, record: &Record) {
        let [first, second, third] = record.key.to_words();
        let doomed = u64::from(record.doomed);
        let words = [record.offset, record.size, first, second, third, record.at, doomed];
        for (word, value) in self.record_words(slot).zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    // The client's side. Its callers exclude each other.

    /// Begins an object in a vacant slot. False if the lease is called back; the slot is vacant again then.
    pub(crate) fn claim(&self, slot: u32, generation: u64, lease: u64, record: &Record) -> bool {
        let (Some(word), Some(recalled), Some(mark)) = (self.slot_word(slot), self.0.word(RECALLED), self.0.word(MARK))
        else {
            return false;
        };
        if mark.load(Ordering::Relaxed) <= u64::from(slot) {
            mark.store(u64::from(slot) + 1, Ordering::Release);
        }
        self.write_record(slot, record);
        self.advance(CLAIMED);
        let claimed = handover::claim(word, generation, recalled, lease);
        if !claimed {
            self.give_up(slot, generation);
        }
        claimed
    }

    /// Ends a claim unsealed.
    pub(crate) fn give_up(&self, slot: u32, generation: u64) {
        if let Some(word) = self.slot_word(slot) {
            handover::vacate(word, generation);
        }
        self.advance(CLOSED);
    }

    /// Publishes a claim, with its record complete now. False if the object was freed before.
    pub(crate) fn seal(&self, slot: u32, generation: u64, record: &Record) -> bool {
        let Some(word) = self.slot_word(slot) else { return false };
        self.write_record(slot, record);
        let alive = !record.doomed && handover::seal(word, generation);
        if !alive {
            self.write_record(
                slot,
                &Record {
                    doomed: true,
                    ..*record
                },
            );
            handover::seal_doomed(word, generation);
        }
        self.advance(CLOSED);
        alive
    }

    /// Takes a sealed object back, unless the server was first.
    pub(crate) fn take_back(&self, slot: u32, generation: u64) -> bool {
        self.slot_word(slot)
            .is_some_and(|word| handover::take_back(word, generation))
    }

    /// Whether the server is done with the publication of `generation`.
    pub(crate) fn state(&self, slot: u32, generation: u64) -> SlotState {
        match self.slot_word(slot).map(|word| handover::unpack(guard::read(word))) {
            Some((found, state)) if found == generation => state,
            _ => SlotState::Vacant,
        }
    }

    pub(crate) fn pin(&self, pin: &AtomicU64, slot: u32, generation: u64) -> bool {
        self.slot_word(slot)
            .is_some_and(|word| handover::pin(pin, word, generation))
    }

    pub(crate) fn unpin(&self, pin: &AtomicU64, slot: u32, generation: u64) -> bool {
        self.slot_word(slot)
            .is_some_and(|word| handover::unpin(pin, word, generation))
    }

    pub(crate) fn is_recalled(&self, lease: u64) -> bool {
        self.0
            .word(RECALLED)
            .is_none_or(|recalled| handover::is_recalled(recalled, lease))
    }

    // The server's side.

    /// How many claims there were: unchanged while the client does not use its arena.
    pub(crate) fn claimed(&self) -> u64 {
        self.header(CLAIMED)
    }

    /// How many claims were closed (PU-2).
    pub(crate) fn closed(&self) -> u64 {
        self.header(CLOSED)
    }

    pub(crate) fn recall(&self, lease: u64) {
        if let Some(recalled) = self.0.word(RECALLED) {
            handover::recall(recalled, lease);
        }
    }

    fn slots(&self, wanted: fn(SlotState) -> bool) -> impl Iterator<Item = (u32, u64, Record)> {
        let mark = self.header(MARK).min(u64::from(SLOTS)) as u32;
        (0..mark).filter_map(move |slot| {
            let (generation, state) = handover::unpack(guard::read(self.slot_word(slot)?));
            wanted(state).then(|| (slot, generation, self.record(slot)))
        })
    }

    /// Slots, generations and records of what is sealed.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (u32, u64, Record)> {
        self.slots(|state| state == SlotState::Sealed)
    }

    /// The same of what is being written.
    pub(crate) fn creating(&self) -> impl Iterator<Item = (u32, u64, Record)> {
        self.slots(|state| matches!(state, SlotState::Creating | SlotState::Doomed))
    }

    /// Takes a sealed object over, unless the client was first; [`Self::taken`] must follow.
    pub(crate) fn take(&self, slot: u32, generation: u64) -> bool {
        self.slot_word(slot)
            .is_some_and(|word| handover::take(word, generation))
    }

    /// The object is in the index, or gone.
    pub(crate) fn taken(&self, slot: u32, generation: u64) {
        if let Some(word) = self.slot_word(slot) {
            handover::vacate(word, generation);
        }
    }

    /// Frees what is not sealed yet; false if it is by now.
    pub(crate) fn doom(&self, slot: u32, generation: u64) -> bool {
        self.slot_word(slot)
            .is_some_and(|word| handover::doom(word, generation))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (PublishTable, PublishTable) {
        let file = table_file().unwrap();
        let table = || PublishTable::new(file.as_fd()).unwrap();
        (table(), table())
    }

    fn record(size: u64) -> Record {
        Record {
            offset: 64,
            size,
            key: Key([5; 20]),
            at: 0,
            doomed: false,
        }
    }

    #[test]
    fn a_publication_is_seen_from_claim_to_handover_by_the_other_side() {
        let (client, server) = pair();
        assert!(client.claim(3, 9, 1, &record(7)));
        assert_eq!(server.creating().collect::<Vec<_>>(), [(3, 9, record(7))]);
        assert!(client.seal(3, 9, &record(7)));
        assert_eq!((server.claimed(), server.closed()), (1, 1));
        assert_eq!(server.sealed().collect::<Vec<_>>(), [(3, 9, record(7))]);
        assert!(server.take(3, 9) && !client.take_back(3, 9));
        assert_eq!(client.state(3, 9), SlotState::Taking);
        server.taken(3, 9);
        assert_eq!((client.state(3, 9), server.sealed().count()), (SlotState::Vacant, 0));
    }

    #[test]
    fn a_creation_freed_by_the_server_is_published_as_doomed() {
        let (client, server) = pair();
        assert!(client.claim(0, 9, 1, &record(7)));
        assert!(server.doom(0, 9));
        assert!(!client.seal(0, 9, &record(7)));
        assert!(server.sealed().all(|(.., record)| record.doomed));
    }

    #[test]
    fn ho3_a_claim_under_a_recalled_lease_is_refused_and_leaves_nothing() {
        let (client, server) = pair();
        server.recall(4);
        assert!(!client.claim(0, 9, 4, &record(7)));
        assert_eq!((server.creating().count(), server.closed()), (0, 1));
        assert!(client.claim(0, 10, 5, &record(7)));
    }
}
