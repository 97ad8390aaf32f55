//! A hasher for ids. They are random or counters, so a multiplication a word spreads them well enough; and they come from
//! processes of the same job, which trust each other, so no key is needed.
//!
//! Ids that count up come and go in about their order. So [`BLOCK`] of them in a row get buckets in a row, and a block's
//! entries share cache lines and pages: the tables of a million tasks are walked along, not hopped about in.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// What maps keyed by ids are built with.
pub(crate) type IdHasher = BuildHasherDefault<IdHash>;
/// A map keyed by ids.
pub(crate) type IdMap<K, V> = HashMap<K, V, IdHasher>;
/// A set of ids.
pub(crate) type IdSet<K> = HashSet<K, IdHasher>;

/// How many ids in a row are neighbours: what a table looks at in one step.
const BLOCK: u64 = 16;
/// 2^64 divided by the golden ratio: odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The bits that a table compares before it looks at the key.
const TAG: u64 = 0x7f << 57;

/// The hasher of [`IdHasher`]: takes the bytes of an id, eight at a time. Of sixteen bytes or more, the second eight are
/// taken for the counter that they are in ids of tasks and objects.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IdHash {
    mixed: u64,
    in_block: u64,
}

impl IdHash {
    fn mix(&mut self, word: u64) {
        // The high half of the product depends on all bits of both: folded, the low bits are as good as the high ones.
        let product = u128::from(self.mixed ^ word) * u128::from(FACTOR);
        self.mixed = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for IdHash {
    fn write(&mut self, bytes: &[u8]) {
        let counted = bytes.len() >= 16;
        for (place, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word);
            if counted && place == 1 {
                self.in_block = word % BLOCK;
                self.mix(word / BLOCK);
            } else {
                self.mix(word);
            }
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    /// The length of a fixed-size id says nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let bucket = self.mixed.wrapping_mul(BLOCK) | self.in_block;
        bucket ^ (self.in_block.wrapping_mul(FACTOR) & TAG)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::ids::{TaskId, WorkerId};

    #[test]
    fn ids_that_count_up_spread_over_all_buckets_in_their_low_and_high_bits() {
        let owner = WorkerId::random();
        let hasher = IdHasher::default();
        let (mut low, mut high) = (vec![0; 256], vec![0; 128]);
        let count = 25_600;
        for counter in 0..count {
            let hash = hasher.hash_one(TaskId::new(owner, counter).object(1));
            low[(hash & 255) as usize] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        assert!(low.iter().all(|bucket| (30..300).contains(bucket)), "{low:?}");
        assert!(high.iter().all(|bucket| (60..600).contains(bucket)), "{high:?}");
    }

    #[test]
    fn ids_in_a_row_are_neighbours() {
        let owner = WorkerId::random();
        let hash = |counter| IdHasher::default().hash_one(TaskId::new(owner, counter).object(1)) % (1 << 20);
        for first in (0..160).step_by(16) {
            assert!((1..16).all(|place| hash(first + place) == hash(first) + place));
        }
    }
}
