//! A record: one frame in the ring. Its first word says which record it is and how far it has come.
//!
//! REC-1: a state word is `position * 8 + state`; positions never repeat, so a word left from an earlier lap is never mistaken
//! for a record, and no compare-and-swap on it succeeds.
//! REC-2: `READY -> TAKEN` (receiver) and `READY -> REVOKED` (sender) are compare-and-swaps: exactly one happens.
//! REC-3: only the receiver writes `DONE`, after the frame has been dealt with.

use crate::sync::{AtomicU64, Ordering};

pub(crate) const READY: u64 = 1;
pub(crate) const TAKEN: u64 = 2;
pub(crate) const DONE: u64 = 3;
pub(crate) const REVOKED: u64 = 4;

const STATE_BITS: u32 = 3;

/// The state word of the record at `position`.
#[inline]
pub(crate) fn word(position: u64, state: u64) -> u64 {
    position << STATE_BITS | state
}

/// Splits a state word into position and state.
#[inline]
pub(crate) fn split(word: u64) -> (u64, u64) {
    (word >> STATE_BITS, word & ((1 << STATE_BITS) - 1))
}

/// How far a pushed frame has come, as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// The receiver has not touched it and can still lose it to [`Sender::revoke`](crate::Sender::revoke).
    Waiting,
    /// The receiver has taken it: what it asks for may have begun.
    Taken,
    /// The receiver has finished it, or passed it after [`Sender::revoke`](crate::Sender::revoke) had said `true`.
    Finished,
    /// The sender has taken it back; the receiver has not passed it yet.
    Revoked,
}

impl RecordState {
    pub(crate) fn from_bits(state: u64) -> Option<RecordState> {
        match state {
            READY => Some(RecordState::Waiting),
            TAKEN => Some(RecordState::Taken),
            DONE => Some(RecordState::Finished),
            REVOKED => Some(RecordState::Revoked),
            _ => None,
        }
    }
}

/// Writes the bytes of `parts`, one after another, into `first` and then `second`, which together are just long enough.
pub(crate) fn copy_in(parts: &[&[u8]], first: &[AtomicU64], second: &[AtomicU64]) {
    let mut words = first.iter().chain(second);
    let mut put = |bytes: [u8; 8]| {
        if let Some(word) = words.next() {
            // Relaxed: the state word, stored after it with Release, publishes the whole record.
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    };
    let mut partial = [0_u8; 8];
    let mut filled = 0;
    for part in parts {
        let mut rest = *part;
        if filled > 0 {
            let (head, tail) = rest.split_at(rest.len().min(8 - filled));
            partial[filled..filled + head.len()].copy_from_slice(head);
            filled += head.len();
            rest = tail;
            if filled < 8 {
                continue;
            }
            put(partial);
        }
        let (chunks, remainder) = rest.as_chunks::<8>();
        for chunk in chunks {
            put(*chunk);
        }
        partial = [0; 8];
        partial[..remainder.len()].copy_from_slice(remainder);
        filled = remainder.len();
    }
    if filled > 0 {
        put(partial);
    }
}

#[cfg(all(test, not(ray_loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_of_any_length_are_joined_without_gaps() {
        let parts: [&[u8]; 6] = [b"a", b"", b"bcdefg", b"hijklmnopqrstuvwx", b"yz0", b"12345"];
        let expected: Vec<u8> = parts.concat();
        let words: Vec<AtomicU64> = (0..expected.len().div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        for split in 0..=words.len() {
            copy_in(&parts, &words[..split], &words[split..]);
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
                .collect();
            assert_eq!(&bytes[..expected.len()], expected);
        }
    }

    #[test]
    fn a_state_word_names_its_record() {
        assert_eq!(split(word(77, TAKEN)), (77, TAKEN));
        assert_eq!(RecordState::from_bits(0), None);
    }
}
