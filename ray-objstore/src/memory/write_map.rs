//! The writable mapping of a job's segment: the one place that hands out `&mut [u8]` into shared memory.
//!
//! - WM-1: bytes are handed out only for a grant of the server, and each grant once; until it is sealed nobody else
//!   may read or write them.

use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Mapping;
use crate::error::Error;

/// A process's writable mapping of its job's segment, made at its first creation.
#[derive(Debug)]
pub(crate) struct WriteMap(Mapping);

impl WriteMap {
    pub(crate) fn new(segment: BorrowedFd<'_>, len: usize) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(Mapping::read_write(segment, len)?)))
    }

    /// The bytes of a grant. Callers pass what the server granted to them, once (WM-1).
    pub(crate) fn granted(self: &Arc<Self>, offset: u64, len: u64) -> Option<GrantedBytes> {
        let address = self.0.address(offset, len)?;
        Some(GrantedBytes {
            map: Arc::clone(self),
            address,
            len: len as usize,
        })
    }
}

/// Exclusive bytes of one grant.
#[derive(Debug)]
pub(crate) struct GrantedBytes {
    #[expect(dead_code, reason = "keeps the mapping alive")]
    map: Arc<WriteMap>,
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its bytes as a `Box<[u8]>` does (WM-1).
unsafe impl Send for GrantedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for GrantedBytes {}

impl Deref for GrantedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: in bounds of a live mapping, and exclusive by WM-1.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl DerefMut for GrantedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: in bounds of a live mapping, and exclusive by WM-1.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }
}

/// Enters existing pages into the page table in one call instead of one fault each. Best effort: kernels before 5.14
/// do not know it, and then the faults come one by one.
pub(crate) fn populate(bytes: &mut [u8]) {
    const PAGE: usize = super::PAGE as usize;
    let start = bytes.as_mut_ptr() as usize;
    let first = start.next_multiple_of(PAGE);
    let len = (start + bytes.len()).saturating_sub(first) / PAGE * PAGE;
    if len == 0 {
        return;
    }
    let address = bytes[first - start..].as_mut_ptr();
    // SAFETY: the pages lie inside `bytes`; populating writes no byte.
    let populated = unsafe { rustix::mm::madvise(address.cast(), len, rustix::mm::Advice::LinuxPopulateWrite) };
    if let Err(error) = populated {
        tracing::trace!(%error, "pages not populated ahead");
    }
}
