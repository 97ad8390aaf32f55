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
    entry_slot: u32,
    generation: u64,
}

impl Pin {
    pub(super) fn take(shared: &Arc<Shared>, entry_slot: u32, generation: u64) -> Result<Self, Error> {
        let pin_slot = shared.pin_slot()?;
        Ok(Self {
            shared: Arc::clone(shared),
            pin_slot,
            entry_slot,
            generation,
        })
    }

    pub(super) fn word(&self) -> Result<&AtomicU64, Error> {
        self.shared
            .pins
            .word(self.pin_slot)
            .ok_or_else(|| Error::corrupt("a pin outside its table"))
    }

    /// The entry is known only after the server has published it.
    pub(super) fn set_entry(&mut self, entry_slot: u32) {
        self.entry_slot = entry_slot;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let (Some(word), Some(entry)) = (
            shared.pins.word(self.pin_slot),
            shared.index.entry_word(self.entry_slot),
        ) && guard::unpin(word, entry, self.generation)
        {
            shared.ring();
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
