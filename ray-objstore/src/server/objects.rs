//! The life of an object: created, sealed, got, freed, dying, gone.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::disk::DiskTask;
use super::state::{Effect, Object, PeerId, Stage, State, Waiting};
use crate::error::Error;
use crate::guard;
use crate::ids::Key;
use crate::wire::Answer;

impl State {
    pub(super) fn create(&mut self, peer: PeerId, id: u64, key: Key, size: u64) {
        let capacity = self.limits.capacity;
        if size > capacity || crate::alloc::rounded(size) > capacity {
            return self.reply(
                peer,
                id,
                Err(Error::TooLarge {
                    requested: size,
                    capacity,
                }),
            );
        }
        if self.used + crate::alloc::rounded(size) > capacity {
            // What was freed a moment ago, or is leased, makes room before anything is spilled.
            self.settle();
            self.relieve();
        }
        self.waiting.push_back(Waiting::Create {
            peer,
            id,
            key,
            size,
            since: self.now,
        });
        self.serve_waiting();
    }

    /// Seals what a client created. It has pinned it before it asked, so that its view is safe at once.
    pub(super) fn seal(&mut self, peer: PeerId, id: u64, generation: u64, sealed_at: u64) {
        let creating = Some(Stage::Creating { by: peer });
        if self.objects.get(&generation).map(|object| object.stage.clone()) != creating {
            let error = Error::corrupt("a seal of what this client does not create");
            return self.reply(peer, id, Err(error));
        }
        match self.enter(generation, sealed_at) {
            Some(slot) => self.reply(peer, id, Ok(Answer::Sealed { slot })),
            None => {
                let slots = self.jobs.values().map(|job| job.index.geometry().slots).max();
                let limit = u64::from(slots.unwrap_or_default());
                self.drop_object(generation);
                self.reply(peer, id, Err(Error::TooManyObjects { limit }));
            }
        }
        self.spill_above_threshold();
    }

    /// Makes an object visible, and retires the one that it replaces, or itself if it was freed or replaced already.
    pub(super) fn enter(&mut self, generation: u64, sealed_at: u64) -> Option<u32> {
        let last_use = self.next_use();
        let object = self.objects.get(&generation)?;
        let (key, job_id, size, range) = (object.key, object.job, object.size, object.range?);
        let newest = self.find(job_id, key).and_then(|other| self.objects.get(&other));
        let over = object.doomed || newest.is_some_and(|newest| newest.sealed_at > sealed_at);
        let job = self.jobs.get_mut(&job_id)?;
        let slot = job.index.publish(key, generation, range.offset, size)?;
        job.alloc.confirm(range);
        forget_creation(&mut job.creating, key, generation);
        let object = self.objects.get_mut(&generation)?;
        (object.slot, object.stage) = (Some(slot), Stage::Sealed);
        (object.last_use, object.sealed_at) = (last_use, sealed_at);
        self.recency.insert((last_use, generation));
        let retired = if over {
            Some(generation)
        } else {
            job.by_key.insert(key, generation)
        };
        self.retire(retired.as_slice());
        Some(slot)
    }

    pub(super) fn abort(&mut self, peer: PeerId, generation: u64) {
        if self
            .objects
            .get(&generation)
            .is_some_and(|object| object.stage == Stage::Creating { by: peer })
        {
            self.drop_object(generation);
        }
    }

    pub(super) fn get(&mut self, peer: PeerId, job: u32, id: u64, key: Key) {
        self.take_over(job);
        let Some(generation) = self.find(job, key) else {
            return self.reply(peer, id, Err(Error::NotFound { key }));
        };
        let now = self.now;
        let Some(object) = self.objects.get_mut(&generation) else {
            return;
        };
        match &object.stage {
            Stage::Sealed => self.answer_found(peer, id, generation),
            Stage::Restoring => object.waiters.push((peer, id)),
            Stage::Spilled => {
                object.stage = Stage::Restoring;
                object.waiters.push((peer, id));
                // Before those who create: what is read can then be let go.
                let first_create = self.waiting.iter().position(|w| matches!(w, Waiting::Create { .. }));
                let place = first_create.unwrap_or(self.waiting.len());
                self.waiting.insert(place, Waiting::Restore { generation, since: now });
                self.serve_waiting();
            }
            Stage::Lost(reason) => {
                let reason = reason.clone();
                self.reply(peer, id, Err(Error::Lost { key, reason }));
            }
            Stage::Creating { .. } | Stage::Dying => self.reply(peer, id, Err(Error::NotFound { key })),
        }
    }

    /// Tells a peer where an object lies, and holds it until the peer says it has pinned it.
    pub(super) fn answer_found(&mut self, peer: PeerId, id: u64, generation: u64) {
        let now_used = self.next_use();
        let Some(object) = self.objects.get_mut(&generation) else {
            return;
        };
        let (Some(range), Some(slot), Some(holder)) = (object.range, object.slot, self.peers.get_mut(&peer)) else {
            return;
        };
        *holder.holds.entry(generation).or_default() += 1;
        self.recency.remove(&(object.last_use, generation));
        object.last_use = now_used;
        self.recency.insert((now_used, generation));
        let found = Answer::Found {
            generation,
            slot,
            offset: range.offset,
            size: object.size,
        };
        self.reply(peer, id, Ok(found));
    }

    pub(super) fn unhold(&mut self, peer: PeerId, generation: u64) {
        let Some(holder) = self.peers.get_mut(&peer) else {
            return;
        };
        let job = holder.job;
        if let Some(count) = holder.holds.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                holder.holds.remove(&generation);
            }
        }
        if self
            .objects
            .get(&generation)
            .is_some_and(|object| object.stage == Stage::Dying)
        {
            self.unsettled.insert(job);
        }
    }

    /// Frees what was sealed or begun under these keys up to `freed_at`: a client's free may come after its next seal.
    pub(super) fn free_in(&mut self, job: u32, keys: &[Key], freed_at: u64) {
        self.doom_claims(job, keys, freed_at);
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        for generation in keys.iter().filter_map(|key| entry.creating.get(key)).flatten() {
            if let Some(object) = self.objects.get_mut(generation) {
                object.doomed = true;
            }
        }
        let mut generations = Vec::new();
        for key in keys {
            if let Entry::Occupied(named) = entry.by_key.entry(*key)
                && (self.objects.get(named.get())).is_none_or(|object| object.sealed_at <= freed_at)
            {
                generations.push(named.remove());
            }
        }
        self.retire(&generations);
    }

    pub(super) fn free_where(&mut self, which: impl Fn(u32, &Key) -> bool) {
        let mut by_job = HashMap::<u32, HashSet<Key>>::new();
        self.take_over_all();
        for job in self.jobs.keys() {
            let claimed = self.claimed_keys(*job);
            let keys = by_job.entry(*job).or_default();
            keys.extend(claimed.into_iter().filter(|key| which(*job, key)));
        }
        for object in self.objects.values().filter(|object| which(object.job, &object.key)) {
            by_job.entry(object.job).or_default().insert(object.key);
        }
        for (job, keys) in by_job {
            let keys: Vec<Key> = keys.into_iter().collect();
            self.free_in(job, &keys, u64::MAX);
        }
    }

    /// Starts the end of objects that no key names any more.
    fn retire(&mut self, generations: &[u64]) {
        for generation in generations {
            let Some(object) = self.objects.get_mut(generation) else {
                continue;
            };
            match object.stage {
                Stage::Sealed => {
                    object.stage = Stage::Dying;
                    self.recency.remove(&(object.last_use, *generation));
                    let (Some(slot), Some(job)) = (object.slot, self.jobs.get_mut(&object.job)) else {
                        continue;
                    };
                    job.index.begin_dying(slot, *generation);
                    job.dying.insert(*generation);
                    self.unsettled.insert(object.job);
                }
                Stage::Restoring | Stage::Creating { .. } => object.doomed = true,
                Stage::Spilled | Stage::Lost(_) => self.drop_object(*generation),
                Stage::Dying => {}
            }
        }
    }

    /// Reclaims what a batch of requests left dying: one look at the pins for all of them.
    pub(super) fn settle(&mut self) {
        for job in std::mem::take(&mut self.unsettled) {
            self.reclaim_dying(job);
            self.dissolve(job);
        }
        for job in self.jobs.values_mut() {
            job.index.set_absent(job.objects.saturating_sub(job.index.len()));
        }
    }

    /// Reclaims what is dying and neither pinned nor held.
    fn reclaim_dying(&mut self, job: u32) {
        let Some(entry) = self.jobs.get(&job).filter(|entry| !entry.dying.is_empty()) else {
            return;
        };
        let dying: Vec<u64> = entry.dying.iter().copied().collect();
        let pinned = self.pinned(job);
        for generation in dying.into_iter().filter(|generation| !pinned.contains(generation)) {
            self.unpublish(generation);
            self.drop_object(generation);
        }
    }

    /// All generations that some peer of the job pins or holds. Passes the fence of the pin protocol first.
    pub(super) fn pinned(&self, job: u32) -> HashSet<u64> {
        guard::settle();
        let peers = self.peers.values().filter(|peer| peer.job == job);
        peers
            .flat_map(|peer| peer.pins.pinned().chain(peer.holds.keys().copied()))
            .collect()
    }

    /// Takes an unpinned, dying object out of the index.
    pub(super) fn unpublish(&mut self, generation: u64) {
        let Some(object) = self.objects.get_mut(&generation) else {
            return;
        };
        if let (Some(slot), Some(job)) = (object.slot.take(), self.jobs.get_mut(&object.job)) {
            job.index.remove(slot, object.key);
        }
    }

    /// Forgets an object that nobody can see: its memory, its copy on disk, its record.
    pub(super) fn drop_object(&mut self, generation: u64) {
        self.release_range(generation);
        let Some(object) = self.objects.remove(&generation) else {
            return;
        };
        self.recency.remove(&(object.last_use, generation));
        if let Some(copy) = object.disk {
            self.release_file(copy.file);
        }
        if let Some(job) = self.jobs.get_mut(&object.job) {
            job.dying.remove(&generation);
            forget_creation(&mut job.creating, object.key, generation);
            job.objects -= 1;
            if job.by_key.get(&object.key) == Some(&generation) {
                job.by_key.remove(&object.key);
            }
        }
        self.serve_waiting();
        self.drop_job_if_over(object.job);
    }

    /// One object less in a spill file; the last one takes the file with it.
    pub(super) fn release_file(&mut self, file: u64) {
        let Some(count) = self.files.get_mut(&file) else { return };
        *count -= 1;
        if *count == 0 {
            self.files.remove(&file);
            self.effects.push(Effect::Disk(DiskTask::Remove {
                path: self.file_path(file),
            }));
        }
    }

    /// Registers an object that has memory, in `Creating`.
    pub(super) fn add_created(&mut self, peer: PeerId, key: Key, size: u64, range: crate::alloc::Range) -> Option<u64> {
        let job_id = self.peers.get(&peer)?.job;
        let generation = self.next_generations(1);
        let job = self.jobs.get_mut(&job_id)?;
        job.objects += 1;
        job.creating.entry(key).or_default().push(generation);
        let object = Object {
            key,
            job: job_id,
            size,
            stage: Stage::Creating { by: peer },
            range: Some(range),
            slot: None,
            disk: None,
            spilling: false,
            doomed: false,
            last_use: 0,
            sealed_at: 0,
            waiters: Vec::new(),
        };
        self.objects.insert(generation, object);
        Some(generation)
    }
}

fn forget_creation(creating: &mut HashMap<Key, Vec<u64>>, key: Key, generation: u64) {
    if let Entry::Occupied(mut of_key) = creating.entry(key) {
        of_key.get_mut().retain(|other| *other != generation);
        if of_key.get().is_empty() {
            of_key.remove();
        }
    }
}
