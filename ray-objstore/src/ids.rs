//! The names the store knows things by: a [`Key`] for an object, a [`ClientId`] for a process.

use std::fmt;

/// The 20 bytes that name an object. The store gives them no meaning beyond the owner prefix of the first eight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 20]);

impl Key {
    /// Length of a key in bytes.
    pub const LEN: usize = 20;

    /// The first eight bytes, which [`Store::free_owned_by`](crate::Store::free_owned_by) compares.
    pub fn owner_prefix(&self) -> [u8; 8] {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        prefix
    }

    /// The key as three words, the last one half empty: the form it has in shared memory.
    pub(crate) fn to_words(self) -> [u64; 3] {
        let mut padded = [0; 24];
        padded[..Self::LEN].copy_from_slice(&self.0);
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(padded.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    /// The key of [`Self::to_words`].
    pub(crate) fn from_words(words: [u64; 3]) -> Self {
        let mut key = [0; Self::LEN];
        for (byte, of_word) in key.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes())) {
            *byte = of_word;
        }
        Self(key)
    }

    /// Spreads the key over all 64 bits, for the shared index.
    pub(crate) fn hash64(self) -> u64 {
        self.to_words().into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash, word| {
            let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
            mixed ^ (mixed >> 32)
        })
    }
}

/// The 16 bytes that name a client, one process or one handle inside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub [u8; 16]);

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}
