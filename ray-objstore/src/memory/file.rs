//! Memory files: made here, sealed against shrinking and growing, so that no mapping of one can fault past its end
//! (for the exception see [`huge`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use super::{PAGE, huge};
use crate::error::Error;

/// A sparse memory file of `len` bytes that can neither shrink nor grow.
pub(super) fn sealed_file(name: &str, len: u64) -> Result<OwnedFd, Error> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(Error::os("creating shared memory"))?;
    rustix::fs::ftruncate(&file, len).map_err(Error::os("sizing shared memory"))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(Error::os("sealing shared memory"))?;
    Ok(file)
}

/// The smallest run of whole pages that contains the bytes.
pub(crate) fn page_hull(offset: u64, len: u64) -> (u64, u64) {
    let start = offset - offset % PAGE;
    let end = (offset + len).next_multiple_of(PAGE);
    (start, end - start)
}

/// Backs a range with memory now, so that touching it later cannot fail with a signal.
pub(crate) fn reserve(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Error> {
    let (start, whole) = page_hull(offset, len);
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), start, whole) {
            Ok(()) => return Ok(()),
            // A signal interrupted it: what was reserved is undone, so it starts over.
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let reason = std::io::Error::from(error).to_string();
                return Err(Error::NoMemory { requested: len, reason });
            }
        }
    }
}

/// One job's object memory, as the server sees it: it reads and writes by `pread` and `pwrite`, never by a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    file: Arc<OwnedFd>,
    len: u64,
    huge: bool,
}

impl Segment {
    /// `len` bytes of addresses for a store of `capacity` bytes.
    pub(crate) fn new(capacity: u64, len: u64) -> Result<Self, Error> {
        let huge_file = huge::file_for(capacity, len);
        let huge = huge_file.is_some();
        let file = Arc::new(huge_file.map_or_else(|| sealed_file("ray-objects", len), Ok)?);
        Ok(Self { file, len, huge })
    }

    /// Its memory comes in huge pages.
    pub(crate) fn is_huge(&self) -> bool {
        self.huge
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives whole pages back to the kernel; they read as zero afterwards.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> rustix::io::Result<()> {
        rustix::fs::fallocate(
            &self.file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            len,
        )
    }

    pub(crate) fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> std::io::Result<()> {
        while !into.is_empty() {
            match rustix::io::pread(&self.file, &mut *into, offset) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    into = &mut into[read..];
                    offset += read as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn write_at(&self, offset: u64, from: &[u8]) -> std::io::Result<()> {
        write_all_at(self.file.as_fd(), offset, from)
    }
}

/// Writes all bytes at a place; a lack of memory is an error here, where a store through a mapping would be a signal.
pub(crate) fn write_all_at(file: BorrowedFd<'_>, mut offset: u64, mut from: &[u8]) -> std::io::Result<()> {
    while !from.is_empty() {
        match rustix::io::pwrite(file, from, offset) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                from = &from[written..];
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
