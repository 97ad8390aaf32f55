//! A shared mapping of a memory file, unmapped when dropped.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use crate::error::Error;

/// `len` bytes of a memory file, mapped shared.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range, valid in every thread; what is done through it is guarded by its users.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods here only hand out addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn read_only(file: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        Self::new(file, len, ProtFlags::READ)
    }

    pub(super) fn read_write(file: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        Self::new(file, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn new(file: BorrowedFd<'_>, len: usize, protection: ProtFlags) -> Result<Self, Error> {
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED | MapFlags::NORESERVE,
                file,
                0,
            )
        };
        let base = base.map_err(Error::os("mapping shared memory"))?;
        let base = NonNull::new(base.cast()).ok_or_else(|| Error::corrupt("a mapping at address zero"))?;
        Ok(Self { base, len })
    }

    /// The address of a range, if the range lies inside.
    pub(crate) fn address(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        if end > self.len as u64 {
            return None;
        }
        // SAFETY: `offset` is at most `self.len`, so the address stays inside the mapping or one past its end.
        Some(unsafe { self.base.add(offset as usize) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped in `new`, and whoever took an address from it keeps the mapping alive.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}
