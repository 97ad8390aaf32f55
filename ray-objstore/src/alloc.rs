//! Where in a segment an object lies: a pure allocator of byte ranges. It touches no memory, reads no clock.
//!
//! Best fit by size, lowest offset among equals, so that low and already backed memory is used again first. Free ranges
//! coalesce. Beside the free ranges it knows which whole pages are *idle*: free, but still backed by memory.
//!
//! - AL-1: ranges handed out never overlap, and each has the alignment asked for.
//! - AL-2: when everything is released, one free range of the whole segment remains.
//! - AL-3: a page is idle only if it lies in free ranges completely.
//! - AL-4: [`Range::backed`] is true only if every page of the range was confirmed and not punched since.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{PAGE, page_hull};

/// Objects from this size on start at a page.
const PAGE_ALIGNED_FROM: u64 = 1 << 20;
const ALIGN: u64 = 64;

/// The bytes that an object of `size` takes.
pub(crate) fn rounded(size: u64) -> u64 {
    if size >= PAGE_ALIGNED_FROM {
        size.next_multiple_of(PAGE)
    } else {
        size.max(1).next_multiple_of(ALIGN)
    }
}

/// A range handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// All its pages have memory already.
    pub(crate) backed: bool,
}

/// The allocator of one segment.
#[derive(Debug)]
pub(crate) struct RangeAllocator {
    /// The unit in which memory is mapped best: larger objects start at a multiple.
    block: u64,
    /// Offset to length.
    free: BTreeMap<u64, u64>,
    /// Length and offset.
    by_len: BTreeSet<(u64, u64)>,
    /// Idle pages: start to end and the time of their release.
    idle: BTreeMap<u64, (u64, u64)>,
    /// The same by time of release.
    idle_by_age: BTreeSet<(u64, u64)>,
    idle_bytes: u64,
    /// Pages that have memory for certain: start to end.
    backed: BTreeMap<u64, u64>,
}

impl RangeAllocator {
    pub(crate) fn new(len: u64, block: u64) -> Self {
        let mut allocator = Self {
            block,
            free: BTreeMap::new(),
            by_len: BTreeSet::new(),
            idle: BTreeMap::new(),
            idle_by_age: BTreeSet::new(),
            idle_bytes: 0,
            backed: BTreeMap::new(),
        };
        allocator.insert_free(0, len);
        allocator
    }

    fn alignment(&self, size: u64) -> u64 {
        if size >= self.block.max(PAGE_ALIGNED_FROM) {
            self.block
        } else if size >= PAGE_ALIGNED_FROM {
            PAGE
        } else {
            ALIGN
        }
    }

    /// A range for an object of `size`, or `None` if no free range is long enough.
    pub(crate) fn allocate(&mut self, size: u64) -> Option<Range> {
        let (len, align) = (rounded(size), self.alignment(size));
        let (free_len, free_offset) = self
            .by_len
            .range((len, 0)..)
            .find(|(free_len, offset)| offset.next_multiple_of(align) + len <= offset + free_len)
            .copied()?;
        let offset = free_offset.next_multiple_of(align);
        self.remove_free(free_offset, free_len);
        self.insert_free(free_offset, offset - free_offset);
        self.insert_free(offset + len, free_offset + free_len - offset - len);
        let (first, whole) = page_hull(offset, len);
        self.cut_idle(first, first + whole);
        let backed = self
            .backed
            .range(..=first)
            .next_back()
            .is_some_and(|(_, end)| *end >= first + whole);
        Some(Range { offset, len, backed })
    }

    /// The pages of a range have memory now.
    pub(crate) fn confirm(&mut self, range: Range) {
        let (mut start, whole) = page_hull(range.offset, range.len);
        let mut end = start + whole;
        while let Some((&other, &other_end)) = self.backed.range(..=end).next_back().filter(|(_, e)| **e >= start) {
            self.backed.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        self.backed.insert(start, end);
    }

    /// Takes a range back at time `now`. Its pages count as idle from now on, as far as they are free as a whole.
    pub(crate) fn release(&mut self, range: Range, now: u64) {
        let (start, len) = self.coalesce(range.offset, range.len);
        // The touched pages are those of the range's hull, less what a neighbour still uses.
        let (hull, whole) = page_hull(range.offset, range.len);
        let first = hull.max(start.next_multiple_of(PAGE));
        let last = (hull + whole).min((start + len) / PAGE * PAGE);
        if first < last {
            self.cut_idle(first, last);
            self.insert_idle(first, last, now);
        }
    }

    /// Takes idle pages released at or before `until` out of the allocator, at most `limit` bytes or one range more,
    /// the longest idle first. They are neither free nor idle until [`Self::punched`].
    pub(crate) fn take_idle(&mut self, until: u64, limit: u64) -> Vec<Range> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < limit
            && let Some(&(released, start)) = self.idle_by_age.first()
            && released <= until
            && let Some(&(end, _)) = self.idle.get(&start)
        {
            bytes += end - start;
            self.cut_idle(start, end);
            self.cut_backed(start, end);
            self.cut_free(start, end);
            taken.push(Range {
                offset: start,
                len: end - start,
                backed: false,
            });
        }
        taken
    }

    /// Pages of [`Self::take_idle`] have no memory any more and may be used again.
    pub(crate) fn punched(&mut self, range: Range) {
        self.coalesce(range.offset, range.len);
    }

    /// When the longest idle pages were released.
    pub(crate) fn oldest_idle(&self) -> Option<u64> {
        self.idle_by_age.first().map(|(released, _)| *released)
    }

    pub(crate) fn idle_bytes(&self) -> u64 {
        self.idle_bytes
    }

    fn insert_idle(&mut self, start: u64, end: u64, released: u64) {
        self.idle.insert(start, (end, released));
        self.idle_by_age.insert((released, start));
        self.idle_bytes += end - start;
    }

    fn insert_free(&mut self, offset: u64, len: u64) {
        if len > 0 {
            self.free.insert(offset, len);
            self.by_len.insert((len, offset));
        }
    }

    fn remove_free(&mut self, offset: u64, len: u64) {
        self.free.remove(&offset);
        self.by_len.remove(&(len, offset));
    }

    /// Adds a free range, merged with its neighbours; gives the merged range.
    fn coalesce(&mut self, mut offset: u64, mut len: u64) -> (u64, u64) {
        if let Some((&before, &before_len)) = self.free.range(..offset).next_back()
            && before + before_len == offset
        {
            self.remove_free(before, before_len);
            offset = before;
            len += before_len;
        }
        if let Some(&after_len) = self.free.get(&(offset + len)) {
            self.remove_free(offset + len, after_len);
            len += after_len;
        }
        self.insert_free(offset, len);
        (offset, len)
    }

    /// Removes `start..end`, which lies in one free range, from the free ranges.
    fn cut_free(&mut self, start: u64, end: u64) {
        if let Some((&offset, &len)) = self.free.range(..=start).next_back() {
            self.remove_free(offset, len);
            self.insert_free(offset, start - offset);
            self.insert_free(end, offset + len - end);
        }
    }

    fn cut_idle(&mut self, start: u64, end: u64) {
        while let Some((&from, &(to, released))) = self.idle.range(..end).next_back().filter(|(_, (to, _))| *to > start)
        {
            self.idle.remove(&from);
            self.idle_by_age.remove(&(released, from));
            self.idle_bytes -= to - from;
            for (piece, piece_end) in [(from, start.min(to)), (end.max(from), to)] {
                if piece < piece_end {
                    self.insert_idle(piece, piece_end, released);
                }
            }
        }
    }

    fn cut_backed(&mut self, start: u64, end: u64) {
        while let Some((&from, &to)) = self.backed.range(..end).next_back().filter(|(_, to)| **to > start) {
            self.backed.remove(&from);
            if from < start {
                self.backed.insert(from, start);
            }
            if to > end {
                self.backed.insert(end, to);
            }
        }
    }
}

#[cfg(test)]
#[path = "alloc_tests.rs"]
mod tests;
