//! A hasher for ids. They are random or counters, so two multiplications spread them well enough; and they come from
//! processes of the same job, which trust each other, so no key is needed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by ids.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A set of ids.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Hashes the bytes of an id, eight at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

/// 2^64 divided by the golden ratio: odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl IdHasher {
    fn mix(&mut self, word: u64) {
        // The high half of the product depends on all bits of both: folded, the low bits are as good as the high ones.
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            self.mix(u64::from_le_bytes(eight));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(eight));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    /// The length of a fixed-size id says nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
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
        let hasher = BuildHasherDefault::<IdHasher>::default();
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
}
