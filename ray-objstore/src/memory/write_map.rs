//! The writable mapping of a job's segment: the one place that hands out `&mut [u8]` into shared memory.
//!
//! - WM-1: bytes are handed out only for a grant of the server, and each grant once; until it is sealed nobody else
//!   may read or write them.

use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Mapping, PAGE, page_hull};
use crate::error::Error;

/// The unit in which the map remembers what is in the page table.
const BLOCK: u64 = 2 << 20;

/// A process's writable mapping of its job's segment, made at its first creation.
#[derive(Debug)]
pub(crate) struct WriteMap {
    mapping: Mapping,
    /// Blocks whose pages were entered into the page table. A hint: where it is out of date, pages fault one by one.
    populated: Box<[AtomicBool]>,
}

impl WriteMap {
    pub(crate) fn new(segment: BorrowedFd<'_>, len: usize) -> Result<Arc<Self>, Error> {
        let blocks = (len as u64).div_ceil(BLOCK);
        let populated = (0..blocks).map(|_| AtomicBool::new(false)).collect();
        Ok(Arc::new(Self {
            mapping: Mapping::read_write(segment, len)?,
            populated,
        }))
    }

    /// Enters the pages of a range that the server leased into the page table.
    pub(crate) fn populate(&self, offset: u64, len: u64) {
        let (start, whole) = page_hull(offset, len);
        if let Some(address) = self.mapping.address(start, whole) {
            populate(address, whole as usize);
        }
    }

    /// The bytes of a grant. Callers pass what the server granted to them, once (WM-1).
    pub(crate) fn granted(self: &Arc<Self>, offset: u64, len: u64) -> Option<GrantedBytes> {
        let address = self.mapping.address(offset, len)?;
        Some(GrantedBytes {
            map: Arc::clone(self),
            offset,
            address,
            len: len as usize,
        })
    }
}

/// Exclusive bytes of one grant.
#[derive(Debug)]
pub(crate) struct GrantedBytes {
    map: Arc<WriteMap>,
    offset: u64,
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its bytes as a `Box<[u8]>` does (WM-1).
unsafe impl Send for GrantedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for GrantedBytes {}

impl GrantedBytes {
    /// A range of the bytes in steps of at most one block, each with what it needs to be populated.
    pub(crate) fn steps(&mut self, at: usize, len: usize) -> Option<impl Iterator<Item = Step<'_>>> {
        let map = Arc::clone(&self.map);
        let mut offset = self.offset + at as u64;
        let mut rest = self.get_mut(at..at.checked_add(len)?)?;
        Some(std::iter::from_fn(move || {
            let until_block_ends = (BLOCK - offset % BLOCK) as usize;
            let len = until_block_ends.min(rest.len());
            let (bytes, after) = std::mem::take(&mut rest).split_at_mut_checked(len)?;
            rest = after;
            if bytes.is_empty() {
                return None;
            }
            let step = Step {
                map: Arc::clone(&map),
                offset,
                bytes,
            };
            offset += step.bytes.len() as u64;
            Some(step)
        }))
    }

    /// The pages of this grant are new, so they are in no page table.
    pub(crate) fn forget_populated(&self) {
        let blocks = self.offset / BLOCK..(self.offset + self.len as u64).div_ceil(BLOCK);
        for block in blocks {
            if let Some(populated) = self.map.populated.get(block as usize) {
                populated.store(false, Ordering::Relaxed);
            }
        }
    }
}

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

/// Bytes of a grant that lie in one block.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    map: Arc<WriteMap>,
    offset: u64,
    pub(crate) bytes: &'a mut [u8],
}

impl Step<'_> {
    /// Enters the pages into the page table in one call, where a fault each costs five times that. Skipped for blocks
    /// that are known to be there: looking at their pages again would cost as much as copying to them.
    pub(crate) fn populate(&mut self) {
        let Some(known) = self.map.populated.get((self.offset / BLOCK) as usize) else {
            return;
        };
        if known.load(Ordering::Relaxed) {
            return;
        }
        // Only pages inside the bytes: a neighbour's are the neighbour's.
        let skipped = (self.offset.next_multiple_of(PAGE) - self.offset) as usize;
        let len = self.bytes.len().saturating_sub(skipped) / PAGE as usize * PAGE as usize;
        let Some(pages) = self
            .bytes
            .get_mut(skipped..skipped + len)
            .filter(|pages| !pages.is_empty())
        else {
            return;
        };
        let whole_block = pages.len() as u64 == BLOCK;
        let populated = populate(NonNull::from_mut(pages).cast(), pages.len());
        known.store(populated && whole_block, Ordering::Relaxed);
    }
}

fn populate(pages: NonNull<u8>, len: usize) -> bool {
    let advice = rustix::mm::Advice::LinuxPopulateWrite;
    // SAFETY: the callers' pages are mapped writable, and populating changes no byte of them.
    match unsafe { rustix::mm::madvise(pages.as_ptr().cast(), len, advice) } {
        Ok(()) => true,
        // Kernels before 5.14 do not know the call; then the pages fault one by one.
        Err(error) => {
            tracing::trace!(%error, "pages not populated ahead");
            false
        }
    }
}
