//! Shared control words: a memory file that is an array of 64-bit atomics, written by one side, read by the other.
//!
//! - WO-1: a [`WordsReader`] has no way to write, and its mapping is read-only.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::SealFlags;

use super::Mapping;
use super::file::sealed_file;
use crate::error::Error;
use crate::guard;
use crate::sync::AtomicU64;

/// A memory file of `words` zero words.
pub(crate) fn words_file(name: &str, words: usize) -> Result<OwnedFd, Error> {
    sealed_file(name, words as u64 * 8)
}

fn word(mapping: &Mapping, index: usize) -> Option<&AtomicU64> {
    let address = mapping.address(index as u64 * 8, 8)?;
    // SAFETY: the address is in bounds, aligned (mappings start at a page, and it is a multiple of 8), lives as long
    // as `mapping`, and all processes access it only as this atomic.
    Some(unsafe { address.cast::<AtomicU64>().as_ref() })
}

/// The writing side.
#[derive(Debug)]
pub(crate) struct WordsWriter(Mapping);

impl WordsWriter {
    pub(crate) fn new(file: BorrowedFd<'_>, words: usize) -> Result<Self, Error> {
        Ok(Self(Mapping::read_write(file, words * 8)?))
    }

    /// Forbids every later writable mapping of the file, in any process; this one stays.
    pub(crate) fn seal_others(file: BorrowedFd<'_>) -> Result<(), Error> {
        rustix::fs::fcntl_add_seals(file, SealFlags::FUTURE_WRITE).map_err(Error::os("sealing shared memory"))
    }

    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        word(&self.0, index)
    }
}

/// The reading side.
#[derive(Debug)]
pub(crate) struct WordsReader(Mapping);

impl WordsReader {
    pub(crate) fn new(file: BorrowedFd<'_>, words: usize) -> Result<Self, Error> {
        Ok(Self(Mapping::read_only(file, words * 8)?))
    }

    /// Reads a word, with acquire ordering.
    pub(crate) fn read(&self, index: usize) -> Option<u64> {
        word(&self.0, index).map(guard::read)
    }

    /// The word itself, for [`guard`], which only loads from it.
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        word(&self.0, index)
    }
}
