//! Writing: exclusive bytes of a grant, until they are sealed.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::view::{Pin, View};
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

/// An object that is being written: a `&mut [u8]` in shared memory. Its bytes start out with no particular value.
/// Dropping it unsealed gives the memory back.
pub struct Writer {
    open: Open,
    bytes: GrantedBytes,
}

/// A creation that ends unsealed unless `sealed` is set.
struct Open {
    shared: Arc<Shared>,
    grant: Grant,
    sealed: bool,
}

impl Writer {
    pub(super) fn new(shared: &Arc<Shared>, grant: Grant) -> Result<Self, Error> {
        let open = Open {
            shared: Arc::clone(shared),
            grant,
            sealed: false,
        };
        if !grant.backed {
            // Memory that is missing is an error here, where a later touch would be a signal.
            reserve(shared.segment.as_fd(), grant.offset, grant.size.max(1) as u64)?;
        }
        let bytes = shared.writable()?.granted(grant.offset, grant.size as u64);
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("a grant at {}", grant.offset)))?;
        if !grant.backed {
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
        let Grant { offset, backed, .. } = self.open.grant;
        if backed {
            copy::into_backed(self.bytes.steps(at, data.len()).ok_or_else(outside)?, data);
            return Ok(());
        }
        let end = at.checked_add(data.len()).ok_or_else(outside)?;
        let target = self.bytes.get_mut(at..end).ok_or_else(outside)?;
        copy::into_fresh(self.open.shared.segment.as_fd(), offset + at as u64, target, data)
    }

    /// Publishes the object; its bytes never change again.
    pub fn seal(self) -> Result<View, Error> {
        let Self { mut open, bytes } = self;
        // The only `&mut` ends before anyone can read.
        drop(bytes);
        let Grant {
            generation,
            offset,
            size,
            ..
        } = open.grant;
        // Pinned before it is visible, so that a free cannot come between seal and view.
        let mut pin = Pin::take(&open.shared, 0, generation)?;
        pin.word()?.store(generation, Ordering::SeqCst);
        let answer = open.shared.calls.call(|id| Request::Seal { id, generation });
        // Sealed or refused, the server has no creation left to abort.
        open.sealed = true;
        match answer? {
            Answer::Sealed { slot } => {
                pin.set_entry(slot);
                View::new(pin, offset, size as u64)
            }
            other => Err(Error::corrupt(format!("{other:?} for a seal"))),
        }
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
        if let Err(error) = self.shared.calls.send(&Request::Abort {
            generation: self.grant.generation,
        }) {
            tracing::debug!(%error, "an unsealed creation was not given back");
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
