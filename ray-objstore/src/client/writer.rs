//! Writing: exclusive bytes of a grant, until they are sealed.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::arena::{self, Claim};
use super::view::{Pin, Place, View};
use super::{Shared, copy};
use crate::error::Error;
use crate::memory::{GrantedBytes, reserve};
use crate::sync::Ordering;
use crate::wire::{Answer, Request};

/// What the server granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) generation: u64,
    pub(super) offset: u64,
    pub(super) size: usize,
    pub(super) backed: bool,
}

/// Where an object is being created.
#[derive(Debug, Clone, Copy)]
pub(super) enum Creation {
    /// By a grant of its own.
    Granted(Grant),
    /// In an arena of this client.
    Claimed(Claim),
}

/// An object that is being written: a `&mut [u8]` in shared memory. Its bytes start out with no particular value.
/// Dropping it unsealed gives the memory back.
pub struct Writer {
    open: Open,
    bytes: GrantedBytes,
}

/// A creation that ends unsealed unless `sealed` is set.
struct Open {
    shared: Arc<Shared>,
    creation: Creation,
    sealed: bool,
}

impl Writer {
    pub(super) fn new(shared: &Arc<Shared>, creation: Creation) -> Result<Self, Error> {
        let open = Open {
            shared: Arc::clone(shared),
            creation,
            sealed: false,
        };
        let (offset, size, backed) = match creation {
            Creation::Granted(grant) => (grant.offset, grant.size, grant.backed),
            Creation::Claimed(claim) => (claim.offset, claim.size, true),
        };
        if !backed {
            // Memory that is missing is an error here, where a later touch would be a signal.
            reserve(shared.segment.as_fd(), offset, size.max(1) as u64)?;
        }
        let bytes = shared.writable()?.granted(offset, size as u64);
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("a grant at {offset}")))?;
        if !backed {
            bytes.forget_populated();
        }
        Ok(Self { open, bytes })
    }

    /// Copies `data` to `at`, the fastest way there is: with two threads from 16 MiB on, and past the page tables
    /// where memory was never touched.
    ///
    /// # Errors
    /// [`Error::Io`] if the range does not lie inside the object, or if the kernel refuses.
    pub fn write_parallel(&mut self, at: usize, data: &[u8]) -> Result<(), Error> {
        let outside = || Error::Io {
            what: "writing an object",
            reason: format!("{} bytes at {at} are outside", data.len()),
        };
        let end = at.checked_add(data.len()).ok_or_else(outside)?;
        match self.open.creation {
            Creation::Claimed(_) => {
                let target = self.bytes.get_mut(at..end).ok_or_else(outside)?;
                target.copy_from_slice(data);
                Ok(())
            }
            Creation::Granted(Grant { backed, .. }) if backed || self.open.shared.huge => {
                copy::into_backed(self.bytes.steps(at, data.len()).ok_or_else(outside)?, data);
                Ok(())
            }
            Creation::Granted(Grant { offset, .. }) => {
                let target = self.bytes.get_mut(at..end).ok_or_else(outside)?;
                copy::into_fresh(self.open.shared.segment.as_fd(), offset + at as u64, target, data)
            }
        }
    }

    /// Publishes the object; its bytes never change again.
    pub fn seal(self) -> Result<View, Error> {
        let Self { mut open, bytes } = self;
        // The only `&mut` ends before anyone can read.
        drop(bytes);
        match open.creation {
            Creation::Granted(grant) => open.seal_granted(grant),
            Creation::Claimed(claim) => open.seal_claimed(claim),
        }
    }
}

impl Open {
    fn seal_granted(&mut self, grant: Grant) -> Result<View, Error> {
        let Grant {
            generation,
            offset,
            size,
            ..
        } = grant;
        // Pinned before it is visible, so that a free cannot come between seal and view.
        let mut pin = Pin::take(&self.shared, Place::Entry(0), generation)?;
        pin.word()?.store(generation, Ordering::SeqCst);
        let answer = self.shared.calls.call(|id| Request::Seal {
            id,
            generation,
            sealed_at: arena::clock(),
        });
        // Sealed or refused, the server has no creation left to abort.
        self.sealed = true;
        match answer? {
            Answer::Sealed { slot } => {
                pin.set_entry(slot);
                View::new(pin, offset, size as u64)
            }
            other => Err(Error::corrupt(format!("{other:?} for a seal"))),
        }
    }

    fn seal_claimed(&mut self, claim: Claim) -> Result<View, Error> {
        let shared = &self.shared;
        let Claim {
            slot,
            generation,
            offset,
            size,
        } = claim;
        let pin = Pin::take(shared, Place::Publication(slot), generation)?;
        pin.word()?.store(generation, Ordering::SeqCst);
        self.sealed = true;
        let sealed = shared.arenas.seal(claim)?;
        if sealed.ring {
            shared.ring();
        }
        // What it replaces for other processes must not be found any more.
        let replaces = || {
            shared
                .index
                .find(sealed.key)
                .is_some_and(|old| old.generation != generation)
        };
        if sealed.doomed || replaces() {
            shared.sync()?;
        }
        View::new(pin, offset, size as u64)
    }
}

impl Deref for Writer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.sealed {
            return;
        }
        match self.creation {
            Creation::Claimed(claim) => {
                if self.shared.arenas.abort(claim) {
                    self.shared.ring();
                }
            }
            Creation::Granted(Grant { generation, .. }) => {
                if let Err(error) = self.shared.calls.send(&Request::Abort { generation }) {
                    tracing::debug!(%error, "an unsealed creation was not given back");
                }
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
