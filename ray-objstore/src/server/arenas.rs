//! Arenas: memory leased to clients, in which they create and seal small objects on their own (see
//! [`publish`](crate::publish)), and the taking over of what they publish.
//!
//! - AR-1: an object that was taken over owns its range, as any other; the arena owns the rest. So `used` does not
//!   change by taking over, and an arena that dissolves gives back exactly what no object owns.
//! - AR-2: an arena dissolves only when its lease is recalled, no claim lies in it, and what is sealed in it was taken
//!   over; or when its client is dead.
//! - AR-3: everything sealed before a question was asked is taken over before it is answered; of two seals of one key
//!   the later one stays.

use std::collections::BTreeMap;
use std::ops;

use super::state::{Object, PeerId, Stage, State};
use crate::alloc::{Range, rounded};
use crate::guard;
use crate::ids::Key;
use crate::publish::{ARENA, GENERATIONS, Record};
use crate::wire::Answer;

/// The share of the capacity that may be leased: one part in so many.
const SHARE: u64 = 16;
/// How often one taking over looks again for what was published meanwhile.
const ROUNDS: usize = 8;

/// One lease.
#[derive(Debug)]
pub(super) struct Arena {
    range: Range,
    generations: ops::Range<u64>,
    /// Bytes that no object owns.
    pub(super) remaining: u64,
    /// Ranges that objects own or owned: offset to length.
    taken: BTreeMap<u64, u64>,
    recalled: bool,
    /// The client's claims at `seen_at`.
    claims: u64,
    seen_at: u64,
}

impl Arena {
    fn contains(&self, offset: u64) -> bool {
        (self.range.offset..self.range.offset + self.range.len).contains(&offset)
    }

    /// The range of a publication, if it can be one of this arena.
    fn range_of(&self, generation: u64, record: &Record) -> Option<Range> {
        let len = rounded(record.size.min(ARENA));
        let inside = self.contains(record.offset) && record.offset + len <= self.range.offset + self.range.len;
        let before = self.taken.range(..record.offset + len).next_back();
        let apart = before.is_none_or(|(offset, len)| offset + len <= record.offset);
        (inside && apart && record.size <= ARENA && self.generations.contains(&generation)).then_some(Range {
            offset: record.offset,
            len,
            backed: true,
        })
    }

    /// What no object owns.
    fn gaps(&self) -> Vec<Range> {
        let mut gaps = Vec::new();
        let mut at = self.range.offset;
        let end = (self.range.offset + self.range.len, 0);
        for (offset, len) in self.taken.iter().map(|(offset, len)| (*offset, *len)).chain([end]) {
            if at < offset {
                gaps.push(Range {
                    offset: at,
                    len: offset - at,
                    backed: false,
                });
            }
            at = offset + len;
        }
        gaps
    }
}

struct Found {
    peer: PeerId,
    slot: u32,
    generation: u64,
    record: Record,
}

impl State {
    fn peers_of(&self, job: u32) -> Vec<PeerId> {
        let of_job = self.peers.iter().filter(|(_, peer)| peer.job == job);
        of_job.map(|(id, _)| *id).collect()
    }

    /// An arena for a client that has used up its last one, if there is memory to spare.
    pub(super) fn lease(&mut self, peer: PeerId) -> Option<Answer> {
        let job_id = self.peers.get(&peer)?.job;
        self.recall_of(peer);
        self.dissolve(job_id);
        let spare = self.used + ARENA <= self.limits.spill_above && self.waiting.is_empty();
        if !spare || self.leased + ARENA > self.limits.capacity / SHARE {
            return None;
        }
        let range = self.allocate(job_id, ARENA)?;
        let generation = self.next_generations(GENERATIONS);
        let now = self.now;
        let holder = self.peers.get_mut(&peer)?;
        holder.leases += 1;
        holder.arenas.push(Arena {
            range,
            generations: generation..generation + GENERATIONS,
            remaining: range.len,
            taken: BTreeMap::new(),
            recalled: false,
            claims: holder.published.claimed(),
            seen_at: now,
        });
        self.leased += range.len;
        Some(Answer::Leased {
            lease: holder.leases,
            generation,
            offset: range.offset,
            backed: range.backed,
        })
    }

    /// Takes over what the clients of a job have published (AR-3).
    pub(super) fn take_over(&mut self, job: u32) {
        let peers = self.peers_of(job);
        for _ in 0..ROUNDS {
            let mut found = Vec::new();
            for peer in &peers {
                self.collect(*peer, false, &mut found);
            }
            if !self.adopt_all(found) {
                return;
            }
            // Who published meanwhile under a key that the index names now has seen that, or is seen in the next round.
            guard::settle();
        }
    }

    pub(super) fn take_over_all(&mut self) {
        let jobs: Vec<u32> = self.jobs.keys().copied().collect();
        jobs.into_iter().for_each(|job| self.take_over(job));
    }

    fn collect(&mut self, peer: PeerId, always: bool, found: &mut Vec<Found>) {
        let Some(holder) = self.peers.get_mut(&peer) else {
            return;
        };
        let closed = holder.published.closed();
        if !always && holder.taken_over == Some(closed) {
            return;
        }
        holder.taken_over = Some(closed);
        found.extend(holder.published.sealed().map(|(slot, generation, record)| Found {
            peer,
            slot,
            generation,
            record,
        }));
    }

    /// True if there was one at least.
    fn adopt_all(&mut self, mut found: Vec<Found>) -> bool {
        found.sort_by_key(|found| found.record.at);
        let adopted = found.iter().filter(|found| self.adopt(found)).count();
        adopted > 0
    }

    /// Makes a publication an object like others.
    fn adopt(&mut self, found: &Found) -> bool {
        let &Found {
            peer,
            slot,
            generation,
            record,
        } = found;
        let Some(holder) = self.peers.get_mut(&peer) else {
            return false;
        };
        let job_id = holder.job;
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return false;
        };
        if job.index.is_full() {
            // It stays where it is, and is looked for again.
            holder.taken_over = None;
            return false;
        }
        if !holder.published.take(slot, generation) {
            return false;
        }
        let mut arenas = holder.arenas.iter_mut();
        let Some((range, arena)) = arenas.find_map(|arena| Some((arena.range_of(generation, &record)?, arena))) else {
            tracing::error!(?record, "a client published what lies in no arena of its own");
            holder.published.taken(slot, generation);
            return false;
        };
        if arena.taken.is_empty() {
            // The client had memory for the arena before it wrote there.
            job.alloc.confirm(arena.range);
        }
        arena.taken.insert(range.offset, range.len);
        arena.remaining -= range.len;
        job.objects += 1;
        let object = Object {
            key: record.key,
            job: job_id,
            size: record.size,
            stage: Stage::Creating { by: peer },
            range: Some(range),
            slot: None,
            disk: None,
            spilling: false,
            doomed: record.doomed,
            last_use: 0,
            sealed_at: record.at,
            waiters: Vec::new(),
        };
        self.objects.insert(generation, object);
        self.enter(generation, record.at);
        if let Some(holder) = self.peers.get(&peer) {
            holder.published.taken(slot, generation);
        }
        true
    }

    /// Keys of small objects that are being written.
    pub(super) fn claimed_keys(&self, job: u32) -> Vec<Key> {
        let peers = self.peers.values().filter(|peer| peer.job == job);
        let keys = peers.flat_map(|peer| peer.published.creating().map(|(.., record)| record.key));
        keys.collect()
    }

    /// Takes over what is published, and dooms what is being written under these keys.
    pub(super) fn doom_claims(&mut self, job: u32, keys: &[Key], freed_at: u64) {
        loop {
            self.take_over(job);
            let busy = self.peers.values().filter(|peer| peer.job == job);
            let busy = busy.filter(|peer| peer.published.claimed() != peer.published.closed());
            let mut sealed_meanwhile = false;
            for peer in busy {
                let claims = peer.published.creating();
                let claims = claims.filter(|(.., record)| record.at <= freed_at && keys.contains(&record.key));
                for (slot, generation, _) in claims {
                    // Doomed before counts as done.
                    let done = peer.published.doom(slot, generation)
                        || peer
                            .published
                            .creating()
                            .any(|(of, claimed, _)| (of, claimed) == (slot, generation));
                    sealed_meanwhile |= !done;
                }
            }
            if !sealed_meanwhile {
                return;
            }
        }
    }

    fn recall_of(&mut self, peer: PeerId) {
        let Some(holder) = self.peers.get_mut(&peer) else {
            return;
        };
        holder.published.recall(holder.leases);
        holder.arenas.iter_mut().for_each(|arena| arena.recalled = true);
        self.unsettled.insert(holder.job);
    }

    /// Memory is short: all arenas are called back, and what is in them becomes objects that can be spilled.
    pub(super) fn relieve(&mut self) {
        let holders: Vec<PeerId> = self.peers.keys().copied().collect();
        holders.into_iter().for_each(|peer| self.recall_of(peer));
        self.take_over_all();
        let jobs: Vec<u32> = self.jobs.keys().copied().collect();
        jobs.into_iter().for_each(|job| self.dissolve(job));
    }

    /// Calls arenas back that were not used for a while.
    pub(super) fn recall_idle(&mut self) {
        let Some(until) = self.now.checked_sub(self.limits.reuse) else {
            return;
        };
        let mut idle = Vec::new();
        for (id, peer) in &mut self.peers {
            let claims = peer.published.claimed();
            for arena in peer.arenas.iter_mut().filter(|arena| !arena.recalled) {
                if arena.claims != claims {
                    (arena.claims, arena.seen_at) = (claims, self.now);
                } else if arena.seen_at <= until {
                    idle.push(*id);
                }
            }
        }
        idle.into_iter().for_each(|peer| self.recall_of(peer));
    }

    /// When [`Self::recall_idle`] is needed next.
    pub(super) fn next_recall(&self) -> Option<u64> {
        let arenas = self.peers.values().flat_map(|peer| &peer.arenas);
        let seen = arenas.filter(|arena| !arena.recalled).map(|arena| arena.seen_at);
        seen.min().map(|at| at + self.limits.reuse)
    }

    /// The store ends: no client may create any more.
    pub(super) fn recall_for_ever(&mut self) {
        for peer in self.peers.values() {
            peer.published.recall(u64::MAX);
        }
    }

    /// Gives back the arenas that are recalled and that nobody writes in (AR-2).
    pub(super) fn dissolve(&mut self, job: u32) {
        let recalled = |peer: &PeerId| {
            let arenas = self.peers.get(peer).map(|peer| peer.arenas.as_slice());
            arenas.unwrap_or_default().iter().any(|arena| arena.recalled)
        };
        let peers: Vec<PeerId> = self.peers_of(job).into_iter().filter(recalled).collect();
        if peers.is_empty() {
            return;
        }
        guard::settle();
        for peer in peers {
            let Some(holder) = self.peers.get(&peer) else { continue };
            // Read before what is sealed is looked for: a claim is one or the other.
            let claims: Vec<u64> = holder.published.creating().map(|(.., record)| record.offset).collect();
            let mut found = Vec::new();
            self.collect(peer, true, &mut found);
            self.adopt_all(found);
            let Some(holder) = self.peers.get_mut(&peer) else {
                continue;
            };
            let sealed: Vec<u64> = holder.published.sealed().map(|(.., record)| record.offset).collect();
            let empty = |arena: &mut Arena| {
                arena.recalled && !claims.iter().chain(&sealed).any(|offset| arena.contains(*offset))
            };
            let over: Vec<Arena> = holder.arenas.extract_if(.., empty).collect();
            self.give_back(job, over);
        }
    }

    /// Takes over what a client has published that ended or died, and gives back its arenas.
    pub(super) fn inherit(&mut self, peer: PeerId) {
        let mut found = Vec::new();
        self.collect(peer, true, &mut found);
        self.adopt_all(found);
        let Some(holder) = self.peers.get_mut(&peer) else {
            return;
        };
        let (job, arenas) = (holder.job, std::mem::take(&mut holder.arenas));
        self.give_back(job, arenas);
    }

    fn give_back(&mut self, job: u32, arenas: Vec<Arena>) {
        let Some(entry) = self.jobs.get_mut(&job).filter(|_| !arenas.is_empty()) else {
            return;
        };
        for arena in arenas {
            self.used -= arena.remaining;
            self.leased -= arena.range.len;
            for gap in arena.gaps() {
                entry.alloc.release(gap, self.now);
            }
        }
        self.serve_waiting();
    }
}
