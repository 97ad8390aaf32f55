//! Shared memory of this process, for the floors that copy into it.

use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::slice;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A new memfd, mapped for reading and writing; no page of it exists before the first write.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    length: usize,
    // Never handed out: that nobody else can map or shrink the memory is what makes the slice below sound.
    _file: OwnedFd,
}

impl SharedMemory {
    /// `length` bytes of zeros.
    pub(crate) fn new(length: usize) -> Result<Self> {
        ensure!(
            0 < length && length <= isize::MAX as usize,
            "shared memory of {length} bytes"
        );
        let file = memfd_create("ray-bench", MemfdFlags::CLOEXEC).context("making a memfd")?;
        ftruncate(&file, length as u64).context("sizing a memfd")?;
        // SAFETY: a new mapping at an address that the kernel chooses replaces no memory of this program.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .context("mapping a memfd")?;
        let start = NonNull::new(start.cast()).context("a mapping at address zero")?;
        Ok(Self {
            start,
            length,
            _file: file,
        })
    }

    /// The memory.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start` is a mapping of `length` initialised (zero) bytes that lives as long as `self`; the file is
        // private to `self`, so `&mut self` is the only access to it.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no slice of it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "unmapping our own mapping: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_shared_memory_is_zero_and_keeps_what_is_written() {
        let mut memory = SharedMemory::new(10_000).unwrap();
        assert!(memory.bytes_mut().iter().all(|&byte| byte == 0));
        memory.bytes_mut()[9_999] = 7;
        assert_eq!(memory.bytes_mut()[9_999], 7);
        assert!(SharedMemory::new(0).is_err());
    }
}
