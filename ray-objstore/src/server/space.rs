//! Space: who gets it, who waits for it, and what is moved to disk to make it.

use super::disk::{DiskDone, DiskTask, RestoreError, SpillItem};
use super::state::{DiskCopy, Effect, PeerId, Stage, State, Waiting};
use crate::alloc::{Range, rounded};
use crate::error::Error;
use crate::ids::Key;
use crate::wire::Answer;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Objects are fused into spill files up to this size.
const FUSE: u64 = 100 << 20;
/// After a failed spill, the next one is tried this many milliseconds later.
const SPILL_RETRY: u64 = 1_000;

impl State {
    pub(super) fn allocate(&mut self, job: u32, size: u64) -> Option<Range> {
        if self.used + rounded(size) > self.limits.capacity {
            return None;
        }
        let range = self.jobs.get_mut(&job)?.alloc.allocate(size)?;
        self.used += range.len;
        let idle: u64 = self.jobs.values().map(|job| job.alloc.idle_bytes()).sum();
        let excess = (self.used + idle).saturating_sub(self.limits.capacity);
        self.punch(u64::MAX, excess);
        Some(range)
    }

    pub(super) fn release_range(&mut self, generation: u64) {
        let Some(object) = self.objects.get_mut(&generation) else {
            return;
        };
        let Some(range) = object.range.take() else { return };
        self.used -= range.len;
        if let Some(job) = self.jobs.get_mut(&object.job) {
            job.alloc.release(range, self.now);
        }
    }

    /// Gives idle pages released at or before `until` back to the kernel, `limit` bytes at most.
    fn punch(&mut self, until: u64, limit: u64) {
        if limit == 0 {
            return;
        }
        for (&job, entry) in &mut self.jobs {
            let ranges = entry.alloc.take_idle(until, limit);
            if !ranges.is_empty() {
                self.effects.push(Effect::Disk(DiskTask::Punch {
                    job,
                    segment: entry.segment.clone(),
                    ranges,
                }));
            }
        }
    }

    /// What the passing of time brings: expired waits, idle pages, another try at spilling.
    pub(super) fn tick(&mut self) {
        if let Some(until) = self.now.checked_sub(self.limits.reuse) {
            self.punch(until, u64::MAX);
        }
        self.recall_idle();
        let (now, wait) = (self.now, self.limits.wait);
        let (expired, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|w| w.since() + wait <= now);
        self.waiting = waiting;
        for waiting in Vec::from(expired) {
            self.give_up(waiting);
        }
        self.serve_waiting();
    }

    /// When [`Self::tick`] is needed next.
    pub(super) fn next_tick(&self) -> Option<u64> {
        let waits = self.waiting.iter().map(|waiting| waiting.since() + self.limits.wait);
        let idle = self
            .jobs
            .values()
            .filter_map(|job| job.alloc.oldest_idle())
            .map(|at| at + self.limits.reuse);
        let spill = (!self.waiting.is_empty() && self.spill_again_at > self.now).then_some(self.spill_again_at);
        waits.chain(idle).chain(spill).chain(self.next_recall()).min()
    }

    fn give_up(&mut self, waiting: Waiting) {
        let (requested, callers) = match waiting {
            Waiting::Create { peer, id, size, .. } => (size, vec![(peer, id)]),
            Waiting::Restore { generation, .. } => {
                let Some(object) = self.objects.get_mut(&generation) else {
                    return;
                };
                object.stage = Stage::Spilled;
                let callers = std::mem::take(&mut object.waiters);
                let (size, doomed) = (object.size, object.doomed);
                if doomed {
                    self.drop_object(generation);
                }
                (size, callers)
            }
        };
        let error = Error::Full {
            requested,
            waited: Duration::from_millis(self.limits.wait),
            usage: self.usage(),
            spill_error: self.spill_error.clone(),
        };
        for (peer, id) in callers {
            self.reply(peer, id, Err(error.clone()));
        }
    }

    /// Serves those who wait, in order, as far as there is space, and makes space for the next.
    pub(super) fn serve_waiting(&mut self) {
        while let Some(first) = self.waiting.pop_front() {
            let Some((job, size)) = self.wants(&first) else {
                continue;
            };
            if let Some(range) = self.allocate(job, size) {
                self.grant(first, range);
                continue;
            }
            self.waiting.push_front(first);
            let missing = rounded(size).saturating_sub(self.limits.capacity - self.used);
            if !self.make_room(if missing == 0 { rounded(size) } else { missing }) {
                return;
            }
        }
    }

    /// Job and size of what is waited for; `None` if nobody waits for it any more.
    fn wants(&self, waiting: &Waiting) -> Option<(u32, u64)> {
        match waiting {
            Waiting::Create { peer, size, .. } => Some((self.peers.get(peer)?.job, *size)),
            Waiting::Restore { generation, .. } => {
                let object = self.objects.get(generation)?;
                Some((object.job, object.size))
            }
        }
    }

    fn grant(&mut self, waiting: Waiting, range: Range) {
        match waiting {
            Waiting::Create {
                peer, id, key, size, ..
            } => self.grant_creation(peer, id, key, size, range),
            Waiting::Restore { generation, .. } => {
                let Some(object) = self.objects.get_mut(&generation) else {
                    return;
                };
                object.range = Some(range);
                let (Some(copy), Some(job)) = (object.disk, self.jobs.get(&object.job)) else {
                    return;
                };
                let (key, size, segment) = (object.key, object.size, job.segment.clone());
                let item = SpillItem {
                    generation,
                    key,
                    offset: range.offset,
                    size,
                    segment,
                };
                let path = self.file_path(copy.file);
                self.effects.push(Effect::Disk(DiskTask::Restore {
                    path,
                    position: copy.position,
                    item,
                }));
            }
        }
    }

    fn grant_creation(&mut self, peer: PeerId, id: u64, key: Key, size: u64, range: Range) {
        if let Some(generation) = self.add_created(peer, key, size, range) {
            let granted = Answer::Granted {
                generation,
                offset: range.offset,
                backed: range.backed,
            };
            self.reply(peer, id, Ok(granted));
        }
    }

    pub(super) fn spill_above_threshold(&mut self) {
        if self.used > self.limits.spill_above {
            self.settle();
            self.relieve();
        }
        let above = self.used.saturating_sub(self.limits.spill_above);
        if above > 0 {
            self.make_room(above);
        }
    }

    /// Frees `bytes` of sealed, unpinned objects, the least recently used first: at once those that have a copy on
    /// disk, the others when they are written. True if something was freed at once.
    fn make_room(&mut self, bytes: u64) -> bool {
        if self.spilling_bytes >= bytes {
            return false;
        }
        let pinned: HashSet<u64> = self.jobs.keys().flat_map(|job| self.pinned(*job)).collect();
        let may_spill = self.now >= self.spill_again_at;
        let mut on_the_way = self.spilling_bytes;
        let (mut clean, mut dirty) = (Vec::new(), Vec::new());
        for (_, generation) in &self.recency {
            if on_the_way >= bytes {
                break;
            }
            let Some(object) = self.objects.get(generation) else {
                continue;
            };
            if pinned.contains(generation) || object.spilling {
                continue;
            }
            if object.disk.is_some() {
                clean.push(*generation);
            } else if may_spill {
                dirty.push(*generation);
            } else {
                continue;
            }
            on_the_way += rounded(object.size);
        }
        self.spill(&dirty);
        self.evict(&clean)
    }

    /// Sends objects to the disk threads, fused into files.
    fn spill(&mut self, generations: &[u64]) {
        let mut items = Vec::new();
        let mut bytes = 0;
        for (index, generation) in generations.iter().enumerate() {
            let Some(object) = self.objects.get_mut(generation) else {
                continue;
            };
            let (Some(range), Some(job)) = (object.range, self.jobs.get(&object.job)) else {
                continue;
            };
            object.spilling = true;
            self.spilling_bytes += range.len;
            bytes += object.size;
            let (key, offset, size, segment) = (object.key, range.offset, object.size, job.segment.clone());
            items.push(SpillItem {
                generation: *generation,
                key,
                offset,
                size,
                segment,
            });
            if bytes >= FUSE || index + 1 == generations.len() {
                let file = self.next_file();
                let path = self.file_path(file);
                self.files.insert(file, items.len());
                self.effects.push(Effect::Disk(DiskTask::Spill {
                    file,
                    path,
                    items: std::mem::take(&mut items),
                }));
                bytes = 0;
            }
        }
    }

    /// Takes objects that have a copy on disk out of memory, unless someone pins them by now.
    fn evict(&mut self, generations: &[u64]) -> bool {
        let mut jobs = HashSet::new();
        for generation in generations {
            if let Some(object) = self.objects.get(generation)
                && let (Some(slot), Some(job)) = (object.slot, self.jobs.get(&object.job))
            {
                job.index.begin_dying(slot, *generation);
                jobs.insert(object.job);
            }
        }
        let pinned: HashSet<u64> = jobs.into_iter().flat_map(|job| self.pinned(job)).collect();
        let mut freed = false;
        for generation in generations {
            let Some(object) = self.objects.get_mut(generation) else {
                continue;
            };
            if pinned.contains(generation) {
                if let (Some(slot), Some(job)) = (object.slot, self.jobs.get(&object.job)) {
                    job.index.revive(slot, *generation);
                }
                continue;
            }
            object.stage = Stage::Spilled;
            self.recency.remove(&(object.last_use, *generation));
            self.unpublish(*generation);
            self.release_range(*generation);
            freed = true;
        }
        freed
    }

    pub(super) fn disk_done(&mut self, done: DiskDone) {
        match done {
            DiskDone::Spilled { file, items, result } => self.spilled(file, &items, result),
            DiskDone::Restored { generation, result } => self.restored(generation, result),
            DiskDone::Punched { job, ranges } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    ranges.into_iter().for_each(|range| job.alloc.punched(range));
                }
            }
        }
        self.serve_waiting();
        self.spill_above_threshold();
    }

    fn spilled(&mut self, file: u64, items: &[SpillItem], result: Result<Vec<u64>, String>) {
        let mut written = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.spilling_bytes -= rounded(item.size);
            let position = result.as_ref().ok().and_then(|positions| positions.get(index)).copied();
            let Some(object) = self.objects.get_mut(&item.generation) else {
                self.release_file(file);
                continue;
            };
            object.spilling = false;
            let Some(position) = position else {
                self.release_file(file);
                continue;
            };
            object.disk = Some(DiskCopy { file, position });
            if object.stage == Stage::Sealed {
                written.push(item.generation);
            }
        }
        match result {
            Ok(_) => self.spill_error = None,
            Err(error) => {
                tracing::warn!(%error, "spilling failed");
                self.spill_error = Some(error);
                self.spill_again_at = self.now + SPILL_RETRY;
            }
        }
        self.evict(&written);
    }

    fn restored(&mut self, generation: u64, result: Result<(), RestoreError>) {
        let last_use = self.next_use();
        let Some(object) = self.objects.get_mut(&generation) else {
            return;
        };
        let waiters = std::mem::take(&mut object.waiters);
        let (key, size, job_id, range) = (object.key, object.size, object.job, object.range);
        if object.doomed {
            // Freed, or replaced by a newer generation, which those who wait may have.
            self.drop_object(generation);
            return waiters
                .into_iter()
                .for_each(|(peer, id)| self.get(peer, job_id, id, key));
        }
        let error = match (result, range, self.jobs.get_mut(&job_id)) {
            (Ok(()), Some(range), Some(job)) => match job.index.publish(key, generation, range.offset, size) {
                Some(slot) => {
                    job.alloc.confirm(range);
                    (object.slot, object.stage, object.last_use) = (Some(slot), Stage::Sealed, last_use);
                    self.recency.insert((last_use, generation));
                    waiters
                        .into_iter()
                        .for_each(|(peer, id)| self.answer_found(peer, id, generation));
                    return;
                }
                None => {
                    object.stage = Stage::Spilled;
                    Error::TooManyObjects {
                        limit: u64::from(job.index.geometry().slots),
                    }
                }
            },
            (Err(RestoreError::NoMemory(reason)), ..) => {
                object.stage = Stage::Spilled;
                Error::NoMemory {
                    requested: size,
                    reason,
                }
            }
            (Err(RestoreError::Lost(reason)), ..) => {
                object.stage = Stage::Lost(reason.clone());
                Error::Lost { key, reason }
            }
            (Ok(()), ..) => Error::StoreGone,
        };
        self.release_range(generation);
        waiters
            .into_iter()
            .for_each(|(peer, id)| self.reply(peer, id, Err(error.clone())));
    }

    pub(super) fn file_path(&self, file: u64) -> PathBuf {
        self.limits.spill_dir.join(format!("objects-{file:08}.spill"))
    }
}

impl Waiting {
    fn since(&self) -> u64 {
        match self {
            Self::Create { since, .. } | Self::Restore { since, .. } => *since,
        }
    }
}
