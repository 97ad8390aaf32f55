//! Reading in place: a view holds a pin, and its last clone removes it.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Shared;
use crate::error::Error;
use crate::guard;
use crate::sync::AtomicU64;

/// An object's bytes in shared memory, 64-byte aligned. While a clone lives they neither move nor change.
#[derive(Clone)]
pub struct View {
    inner: Arc<Inner>,
}

struct Inner {
    /// Owns the right to read.
    _pin: Pin,
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are immutable while the pin lives, and an address is valid in every thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl View {
    /// The bytes that a pin protects: `pin` must have been confirmed, by [`guard::pin`] or by the server's answer to a
    /// seal.
    pub(super) fn new(pin: Pin, offset: u64, size: u64) -> Result<Self, Error> {
        let address = pin.shared.objects.address(offset, size);
        let address = address.ok_or_else(|| Error::corrupt(format!("an object at {offset} of {size} bytes")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                _pin: pin,
                address,
                len: size as usize,
            }),
        })
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range was checked against the mapping, which the pin keeps alive; sealed bytes do not change,
        // and the server does not reuse them before the pin is gone (GU-1).
        unsafe { std::slice::from_raw_parts(self.inner.address.as_ptr(), self.inner.len) }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A slot of the pin table, for one generation.
pub(super) struct Pin {
    shared: Arc<Shared>,
    pin_slot: u32,
    place: Place,
    generation: u64,
}

/// Where it is written what the server does to a pinned object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A slot of the index.
    Entry(u32),
    /// A slot of this client's publication table.
    Publication(u32),
}

impl Pin {
    pub(super) fn take(shared: &Arc<Shared>, place: Place, generation: u64) -> Result<Self, Error> {
        Ok(Self::taken(shared, shared.pin_slot()?, place, generation))
    }

    /// With a slot of the pin table that was taken already.
    pub(super) fn taken(shared: &Arc<Shared>, pin_slot: u32, place: Place, generation: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            pin_slot,
            place,
            generation,
        }
    }

    pub(super) fn word(&self) -> Result<&AtomicU64, Error> {
        self.shared
            .pins
            .word(self.pin_slot)
            .ok_or_else(|| Error::corrupt("a pin outside its table"))
    }

    /// The entry is known only after the server has published it.
    pub(super) fn set_entry(&mut self, entry_slot: u32) {
        self.place = Place::Entry(entry_slot);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(word) = shared.pins.word(self.pin_slot) {
            let awaited = match self.place {
                Place::Entry(slot) => {
                    (shared.index.entry_word(slot)).is_some_and(|entry| guard::unpin(word, entry, self.generation))
                }
                Place::Publication(slot) => !shared.arenas.unpin(word, slot, self.generation),
            };
            if awaited {
                shared.ring();
            }
        }
        shared.pins.give_back(self.pin_slot);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
