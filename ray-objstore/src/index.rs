//! The index of one job's objects in shared memory: written by the server only, read by every process of the job.
//!
//! Word 0 is the *epoch*: odd while an entry is being unlinked or replaced. Word 1 counts the objects that the server
//! knows and the index does not name: unsealed, spilled, lost. Then come the buckets, each the number of its first
//! entry plus one, then entries of eight words: entry word (see [`guard`]), offset, size, three words of
//! key, number of the next entry plus one.
//!
//! - IN-1: a hit is proven by the pin protocol, not by the epoch: the entry word read after the pin is the one read
//!   before the other words.
//! - IN-2: a miss is proven by the epoch: it was even, and the same before and after the walk.
//! - IN-3: readers check every number they follow against the bounds, and walk at most [`MAX_CHAIN`] entries.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::guard::{self, EntryState};
use crate::ids::Key;
use crate::memory::{WordsReader, WordsWriter, words_file};
use crate::sync::{AtomicU64, Ordering, fence};

const ABSENT: usize = 1;
const HEADER: usize = 8;
const ENTRY: usize = 8;
const OFFSET: usize = 1;
const SIZE: usize = 2;
const KEY: usize = 3;
const NEXT: usize = 6;
const MAX_CHAIN: usize = 4096;
/// How often a reader repeats a walk that the server disturbed before it calls the result unknown.
const MAX_WALKS: usize = 256;

/// The sizes of an index. It is sparse: only what is used takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) buckets: u32,
    pub(crate) slots: u32,
}

impl Geometry {
    /// One slot for each KiB of the store, within bounds: smaller objects travel in messages, not here.
    pub(crate) fn for_capacity(capacity: u64) -> Self {
        let slots = (capacity / 1024).clamp(1 << 16, 1 << 22).next_power_of_two() as u32;
        Self {
            buckets: slots / 4,
            slots,
        }
    }

    fn words(self) -> usize {
        HEADER + self.buckets as usize + self.slots as usize * ENTRY
    }

    fn bucket(self, key: Key) -> usize {
        HEADER + (key.hash64() % u64::from(self.buckets)) as usize
    }

    fn entry(self, slot: u32) -> usize {
        HEADER + self.buckets as usize + slot as usize * ENTRY
    }

    /// What a link says: the slot it names, if it lies inside.
    fn follow(self, link: u64) -> Option<u32> {
        let slot = u32::try_from(link.checked_sub(1)?).ok()?;
        (slot < self.slots).then_some(slot)
    }
}

/// Where a sealed object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct IndexWriter {
    words: WordsWriter,
    file: OwnedFd,
    geometry: Geometry,
    vacant: Vec<u32>,
    /// Slots from here on were never used.
    unused: u32,
}

impl IndexWriter {
    pub(crate) fn new(geometry: Geometry) -> Result<Self, Error> {
        let file = words_file("ray-index", geometry.words())?;
        let words = WordsWriter::new(std::os::fd::AsFd::as_fd(&file), geometry.words())?;
        WordsWriter::seal_others(std::os::fd::AsFd::as_fd(&file))?;
        Ok(Self {
            words,
            file,
            geometry,
            vacant: Vec::new(),
            unused: 0,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.file)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Makes an object visible. `None` when all slots are taken.
    pub(crate) fn publish(&mut self, key: Key, generation: u64, offset: u64, size: u64) -> Option<u32> {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None if self.unused < self.geometry.slots => {
                self.unused += 1;
                self.unused - 1
            }
            None => return None,
        };
        let (entry, bucket) = (self.geometry.entry(slot), self.geometry.bucket(key));
        self.set(entry + OFFSET, offset);
        self.set(entry + SIZE, size);
        for (index, word) in key.to_words().into_iter().enumerate() {
            self.set(entry + KEY + index, word);
        }
        self.set(entry + NEXT, self.get(bucket));
        self.release(entry, guard::pack(generation, EntryState::Sealed));
        self.release(bucket, u64::from(slot) + 1);
        Some(slot)
    }

    /// Forbids new pins; [`guard::settle`] must follow.
    pub(crate) fn begin_dying(&self, slot: u32, generation: u64) {
        if let Some(word) = self.words.word(self.geometry.entry(slot)) {
            guard::begin_dying(word, generation);
        }
    }

    /// Takes [`Self::begin_dying`] back: the object stays where it is.
    pub(crate) fn revive(&self, slot: u32, generation: u64) {
        self.release(self.geometry.entry(slot), guard::pack(generation, EntryState::Sealed));
    }

    /// Removes a dying entry that nobody pins.
    pub(crate) fn remove(&mut self, slot: u32, key: Key) {
        let entry = self.geometry.entry(slot);
        let epoch = self.get(0);
        self.set(0, epoch + 1);
        // What follows is not seen before the odd epoch.
        fence(Ordering::SeqCst);
        let mut link = self.geometry.bucket(key);
        while let Some(at) = self.geometry.follow(self.get(link)) {
            if at == slot {
                self.release(link, self.get(entry + NEXT));
                break;
            }
            link = self.geometry.entry(at) + NEXT;
        }
        self.release(entry, guard::pack(0, EntryState::Empty));
        self.release(0, epoch + 2);
        self.vacant.push(slot);
    }

    /// Whether an object more would find no slot.
    pub(crate) fn is_full(&self) -> bool {
        self.vacant.is_empty() && self.unused == self.geometry.slots
    }

    /// Objects that have an entry.
    pub(crate) fn len(&self) -> usize {
        self.unused as usize - self.vacant.len()
    }

    /// Says how many objects have none.
    pub(crate) fn set_absent(&self, count: usize) {
        self.release(ABSENT, count as u64);
    }

    fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.words.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn release(&self, index: usize, value: u64) {
        if let Some(word) = self.words.word(index) {
            word.store(value, Ordering::Release);
        }
    }

    fn get(&self, index: usize) -> u64 {
        self.words.word(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

/// A client's side.
#[derive(Debug)]
pub(crate) struct IndexReader {
    words: WordsReader,
    geometry: Geometry,
}

impl IndexReader {
    pub(crate) fn new(file: BorrowedFd<'_>, geometry: Geometry) -> Result<Self, Error> {
        Ok(Self {
            words: WordsReader::new(file, geometry.words())?,
            geometry,
        })
    }

    /// The entry word of a slot, for [`guard`].
    pub(crate) fn entry_word(&self, slot: u32) -> Option<&AtomicU64> {
        (slot < self.geometry.slots)
            .then(|| self.words.word(self.geometry.entry(slot)))
            .flatten()
    }

    /// Whether every object that the server knows has an entry.
    pub(crate) fn is_complete(&self) -> bool {
        self.words.read(ABSENT) == Some(0)
    }

    /// Looks a key up. What it finds holds only once it is pinned (IN-1).
    pub(crate) fn find(&self, key: Key) -> Option<Located> {
        let wanted = key.to_words();
        for _ in 0..MAX_WALKS {
            let before = self.words.read(0)?;
            if let Some(located) = self.walk(key, wanted) {
                return Some(located);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.words.read(0)? == before {
                return None;
            }
            std::hint::spin_loop();
        }
        None
    }

    fn walk(&self, key: Key, wanted: [u64; 3]) -> Option<Located> {
        let mut link = self.words.read(self.geometry.bucket(key))?;
        for _ in 0..MAX_CHAIN {
            let slot = self.geometry.follow(link)?;
            let entry = self.geometry.entry(slot);
            let (generation, state) = guard::unpack(self.words.read(entry)?);
            let offset = self.words.read(entry + OFFSET)?;
            let size = self.words.read(entry + SIZE)?;
            let mut words = [0; 3];
            for (index, word) in words.iter_mut().enumerate() {
                *word = self.words.read(entry + KEY + index)?;
            }
            if state == EntryState::Sealed && words == wanted {
                return Some(Located {
                    slot,
                    generation,
                    offset,
                    size,
                });
            }
            link = self.words.read(entry + NEXT)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut bytes = [7; 20];
        bytes[16..].copy_from_slice(&number.to_le_bytes());
        Key(bytes)
    }

    fn pair(slots: u32) -> (IndexWriter, IndexReader) {
        let writer = IndexWriter::new(Geometry { buckets: 2, slots }).unwrap();
        let reader = IndexReader::new(writer.fd(), writer.geometry()).unwrap();
        (writer, reader)
    }

    #[test]
    fn published_entries_are_found_and_removed_ones_are_not() {
        let (mut writer, reader) = pair(8);
        let slots: Vec<u32> = (0..8)
            .map(|n| writer.publish(key(n), u64::from(n) + 1, 64, 10).unwrap())
            .collect();
        assert_eq!(writer.publish(key(9), 9, 0, 0), None);
        for n in [3, 0, 7] {
            writer.begin_dying(slots[n as usize], u64::from(n) + 1);
            assert_eq!(reader.find(key(n)), None);
            writer.remove(slots[n as usize], key(n));
        }
        for n in [1, 2, 4, 5, 6] {
            let found = reader.find(key(n)).unwrap();
            assert_eq!((found.generation, found.offset, found.size), (u64::from(n) + 1, 64, 10));
        }
        assert!(writer.publish(key(9), 99, 0, 0).is_some());
        assert_eq!(reader.find(key(9)).unwrap().generation, 99);
    }

    #[test]
    fn wo1_another_process_could_not_map_the_index_writable() {
        let (writer, _) = pair(8);
        assert!(WordsWriter::new(writer.fd(), 8).is_err());
    }

    #[test]
    fn in2_a_standing_key_is_never_missed_while_others_come_and_go() {
        let (mut writer, reader) = pair(8);
        let _ = writer.publish(key(1), 1, 0, 1);
        std::thread::scope(|scope| {
            let churn = scope.spawn(move || {
                for generation in 2..20_000 {
                    let other = key(generation as u32 % 3 + 10);
                    let slot = writer.publish(other, generation, 0, 1).unwrap();
                    writer.begin_dying(slot, generation);
                    guard::settle();
                    writer.remove(slot, other);
                }
            });
            while !churn.is_finished() {
                assert!(reader.find(key(1)).is_some());
            }
        });
    }
}
