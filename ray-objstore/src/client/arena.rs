//! Small objects without a message: a leased arena, bump allocation in it, and this client's publications.
//!
//! One lock guards it all; it is held for a few dozen instructions, never over a message. What the client has published
//! is its own until the server takes it over: till then the client itself finds it, pins it and frees it.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::alloc::rounded;
use crate::error::Error;
use crate::handover::SlotState;
use crate::ids::Key;
use crate::publish::{ARENA, GENERATIONS, PublishTable, Record, SLOTS};
use crate::sync::AtomicU64;

/// An arena as the server leased it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) generation: u64,
    pub(super) offset: u64,
}

/// A creation in an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) slot: u32,
    pub(super) generation: u64,
    pub(super) offset: u64,
    pub(super) size: usize,
}

/// What came of an attempt to create here.
#[derive(Debug)]
pub(super) enum Claimed {
    Made(Claim),
    NeedsLease,
    /// All slots are taken: the server must take over first.
    NeedsSync,
}

/// What follows a seal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed {
    pub(super) key: Key,
    /// Freed while it was written: the server must hear of it.
    pub(super) doomed: bool,
    /// The server waits for the end of this claim.
    pub(super) ring: bool,
}

/// Where a publication of this client lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) slot: u32,
    pub(super) generation: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a search among the own publications found. Where a publication is named, its pin was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Here(Published),
    /// The server took it just now: remove the pin again.
    Late(Published),
    /// The server has it: the index tells.
    Taken,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Arenas {
    table: PublishTable,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    lease: Option<Open>,
    /// Sealed ones, as far as this client knows.
    by_key: HashMap<Key, u32>,
    slots: Vec<Option<Publication>>,
    vacant: Vec<u32>,
    /// Slots of unsealed creations.
    writing: Vec<u32>,
}

/// The lease in use.
#[derive(Debug)]
struct Open {
    lease: Lease,
    /// Where the next object goes, from the arena's start.
    next: u64,
    generations: u64,
    /// Objects in the arena that may still be this client's.
    objects: u32,
    /// The server has taken objects over from it, so only what was never used is free.
    shared: bool,
}

#[derive(Debug, Clone, Copy)]
struct Publication {
    key: Key,
    lease: u64,
    generation: u64,
    offset: u64,
    size: usize,
    views: u32,
    doomed: bool,
}

/// Nanoseconds of the clock that all processes of the node share.
pub(super) fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Arenas {
    pub(super) fn new(table: BorrowedFd<'_>) -> Result<Self, Error> {
        Ok(Self {
            table: PublishTable::new(table)?,
            own: Mutex::default(),
        })
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lease takes the place of the last one, which the server has called back.
    pub(super) fn install(&self, lease: Lease) {
        let mut own = self.own();
        if own.lease.as_ref().is_none_or(|open| open.lease.number < lease.number) {
            own.lease = Some(Open {
                lease,
                next: 0,
                generations: 0,
                objects: 0,
                shared: false,
            });
        }
    }

    pub(super) fn claim(&self, key: Key, size: usize) -> Claimed {
        let own = &mut *self.own();
        let len = rounded(size as u64);
        let fits = |open: &&mut Open| open.next + len <= ARENA && open.generations < GENERATIONS;
        let Some(slot) = own.vacant_slot(&self.table) else {
            return Claimed::NeedsSync;
        };
        let Some(open) = own.lease.as_mut().filter(fits) else {
            own.vacant.push(slot);
            return Claimed::NeedsLease;
        };
        let Lease {
            number,
            generation,
            offset,
        } = open.lease;
        let (generation, offset) = (generation + open.generations, offset + open.next);
        open.generations += 1;
        let publication = Publication {
            key,
            lease: number,
            generation,
            offset,
            size,
            views: 0,
            doomed: false,
        };
        if !self.table.claim(slot, generation, number, &publication.record(clock())) {
            own.lease = None;
            own.vacant.push(slot);
            return Claimed::NeedsLease;
        }
        open.next += len;
        open.objects += 1;
        own.writing.push(slot);
        if let Some(place) = own.slots.get_mut(slot as usize) {
            *place = Some(publication);
        }
        Claimed::Made(Claim {
            slot,
            generation,
            offset,
            size,
        })
    }

    /// Publishes; the claim is pinned already, as one view.
    pub(super) fn seal(&self, claim: Claim) -> Result<Sealed, Error> {
        let own = &mut *self.own();
        let lost = || Error::corrupt("a seal of what this client does not create");
        let publication = own.get_mut(claim.slot, claim.generation).ok_or_else(lost)?;
        publication.views += 1;
        let sealed = *publication;
        own.writing.retain(|slot| *slot != claim.slot);
        let alive = self.table.seal(claim.slot, claim.generation, &sealed.record(clock()));
        if alive && let Some(old) = own.by_key.insert(sealed.key, claim.slot) {
            // Replaced; with a reader it waits for the server, which knows the order of seals.
            own.take_back(&self.table, old);
        }
        Ok(Sealed {
            key: sealed.key,
            doomed: !alive,
            ring: self.table.is_recalled(sealed.lease),
        })
    }

    /// Ends a creation unsealed. True if the server must be rung.
    pub(super) fn abort(&self, claim: Claim) -> bool {
        let own = &mut *self.own();
        let Some(lease) = own
            .get_mut(claim.slot, claim.generation)
            .map(|publication| publication.lease)
        else {
            return false;
        };
        own.writing.retain(|slot| *slot != claim.slot);
        self.table.give_up(claim.slot, claim.generation);
        own.forget(claim.slot, false);
        self.table.is_recalled(lease)
    }

    /// Finds a publication that nobody but this client knows, and pins it with `pin`.
    pub(super) fn find(&self, key: &Key, pin: &AtomicU64) -> Found {
        let own = &mut *self.own();
        let Some(slot) = own.by_key.get(key).copied() else {
            return Found::Nothing;
        };
        let Some(publication) = own.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Found::Nothing;
        };
        let published = Published {
            slot,
            generation: publication.generation,
            offset: publication.offset,
            size: publication.size as u64,
        };
        match self.table.state(slot, publication.generation) {
            SlotState::Sealed | SlotState::Taking => {
                publication.views += 1;
                if self.table.pin(pin, slot, published.generation) {
                    Found::Here(published)
                } else {
                    Found::Late(published)
                }
            }
            _ => {
                own.forget(slot, true);
                Found::Taken
            }
        }
    }

    /// Whether a publication of that key is this client's.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.own().by_key.contains_key(key)
    }

    /// The pin of a view is to be removed. False if the server has the object: ring it.
    pub(super) fn unpin(&self, pin: &AtomicU64, slot: u32, generation: u64) -> bool {
        let mut own = self.own();
        if let Some(publication) = own.get_mut(slot, generation) {
            publication.views -= 1;
        }
        self.table.unpin(pin, slot, generation)
    }

    /// Frees an object that nobody but this client knows and nobody reads. False if the server has to be told.
    pub(super) fn free(&self, key: &Key) -> bool {
        let own = &mut *self.own();
        let mut written = false;
        for slot in &own.writing {
            if let Some(Some(publication)) = own.slots.get_mut(*slot as usize)
                && publication.key == *key
            {
                (publication.doomed, written) = (true, true);
            }
        }
        let freed = (own.by_key.get(key).copied()).is_some_and(|slot| own.take_back(&self.table, slot));
        freed && !written
    }
}

impl Own {
    fn get_mut(&mut self, slot: u32, generation: u64) -> Option<&mut Publication> {
        let publication = self.slots.get_mut(slot as usize)?.as_mut()?;
        (publication.generation == generation).then_some(publication)
    }

    fn vacant_slot(&mut self, table: &PublishTable) -> Option<u32> {
        if self.vacant.is_empty() && self.slots.len() < SLOTS as usize {
            self.vacant.push(self.slots.len() as u32);
            self.slots.push(None);
        }
        if self.vacant.is_empty() {
            self.sweep(table);
        }
        self.vacant.pop()
    }

    /// Forgets what the server has taken over.
    fn sweep(&mut self, table: &PublishTable) {
        for slot in 0..self.slots.len() as u32 {
            if let Some(Some(publication)) = self.slots.get(slot as usize)
                && table.state(slot, publication.generation) == SlotState::Vacant
            {
                self.forget(slot, true);
            }
        }
    }

    fn take_back(&mut self, table: &PublishTable, slot: u32) -> bool {
        let Some(Some(publication)) = self.slots.get(slot as usize) else {
            return false;
        };
        let unread = publication.views == 0;
        let taken = unread && table.take_back(slot, publication.generation);
        if taken {
            self.forget(slot, false);
        }
        taken
    }

    /// Drops a publication that is over: `taken` over by the server, or with its memory free again.
    fn forget(&mut self, slot: u32, taken: bool) {
        let Some(gone) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.vacant.push(slot);
        if self.by_key.get(&gone.key) == Some(&slot) {
            self.by_key.remove(&gone.key);
        }
        let Some(open) = self.lease.as_mut().filter(|open| open.lease.number == gone.lease) else {
            return;
        };
        open.objects -= 1;
        open.shared |= taken;
        if taken {
            return;
        }
        let start = gone.offset - open.lease.offset;
        if open.objects == 0 && !open.shared {
            open.next = 0;
        } else if start + rounded(gone.size as u64) == open.next {
            open.next = start;
        }
    }
}

impl Publication {
    fn record(&self, at: u64) -> Record {
        Record {
            offset: self.offset,
            size: self.size as u64,
            key: self.key,
            at,
            doomed: self.doomed,
        }
    }
}
