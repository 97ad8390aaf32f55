//! What the server knows, and what it does about each request. No socket, no disk, no clock: the edge (`serve`) passes
//! requests and the time in and carries [`Effect`]s out.
//!
//! - ST-1: an object's range is released only in `Stage::Creating`, or when its index entry is dying and no pin table
//!   and no hold names its generation.
//! - ST-2: `used` is the sum of the ranges of all objects, and of what arenas hold beside them.
//! - ST-3: `by_key` names sealed, spilled, restoring and lost objects; never dying nor unsealed ones.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::arenas::Arena;
use super::disk::DiskTask;
use crate::alloc::{Range, RangeAllocator};
use crate::error::Error;
use crate::ids::{ClientId, Key};
use crate::index::{Geometry, IndexWriter};
use crate::memory::{HUGE, PAGE, Segment};
use crate::pins::{PinsReader, pins_file};
use crate::publish::{PublishTable, table_file};
use crate::wire::{Answer, Reply, Request};

/// Names one connection.
pub(super) type PeerId = u64;

/// What the edge carries out.
#[derive(Debug)]
pub(super) enum Effect {
    Reply(PeerId, Reply),
    /// The peer broke the protocol, or left.
    Close(PeerId),
    /// The job of this ring is over.
    Unwatch(Arc<OwnedFd>),
    Disk(DiskTask),
}

/// The numbers of [`Options`](super::Options), times in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) capacity: u64,
    pub(super) spill_above: u64,
    pub(super) spill_dir: PathBuf,
    pub(super) wait: u64,
    pub(super) reuse: u64,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) segment: Segment,
    pub(super) alloc: RangeAllocator,
    pub(super) index: IndexWriter,
    pub(super) by_key: HashMap<Key, u64>,
    pub(super) dying: HashSet<u64>,
    /// Unsealed creations, which [`State::free_in`] dooms.
    pub(super) creating: HashMap<Key, Vec<u64>>,
    /// Clients ring it when they unpin a dying object.
    pub(super) ring: Arc<OwnedFd>,
    pub(super) objects: usize,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) job: u32,
    pub(super) client: ClientId,
    pub(super) pid: u32,
    pub(super) pins: PinsReader,
    /// Generations that a reply named and the peer has not pinned yet.
    pub(super) holds: HashMap<u64, u32>,
    pub(super) published: PublishTable,
    /// The table's count of closed claims when all it held was taken over.
    pub(super) taken_over: Option<u64>,
    pub(super) arenas: Vec<Arena>,
    /// The number of its last lease.
    pub(super) leases: u64,
}

/// The files of a new peer's tables.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) pins: OwnedFd,
    pub(super) published: OwnedFd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Creating { by: PeerId },
    Sealed,
    Dying,
    Restoring,
    Spilled,
    Lost(String),
}

/// Where an object lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskCopy {
    pub(super) file: u64,
    pub(super) position: u64,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: Key,
    pub(super) job: u32,
    pub(super) size: u64,
    pub(super) stage: Stage,
    pub(super) range: Option<Range>,
    pub(super) slot: Option<u32>,
    pub(super) disk: Option<DiskCopy>,
    /// A disk thread is writing it.
    pub(super) spilling: bool,
    /// Freed before it could be: dies at its next change.
    pub(super) doomed: bool,
    pub(super) last_use: u64,
    /// By the clock that all processes of the node share.
    pub(super) sealed_at: u64,
    /// Calls that wait for it to be restored.
    pub(super) waiters: Vec<(PeerId, u64)>,
}

/// Someone who waits for space.
#[derive(Debug)]
pub(super) enum Waiting {
    Create {
        peer: PeerId,
        id: u64,
        key: Key,
        size: u64,
        since: u64,
    },
    Restore {
        generation: u64,
        since: u64,
    },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) jobs: HashMap<u32, Job>,
    pub(super) peers: HashMap<PeerId, Peer>,
    pub(super) objects: HashMap<u64, Object>,
    /// Sealed objects in memory by last use.
    pub(super) recency: BTreeSet<(u64, u64)>,
    pub(super) waiting: VecDeque<Waiting>,
    /// Spill files and how many objects still lie in each.
    pub(super) files: HashMap<u64, usize>,
    /// Jobs whose dying objects are looked at by the next [`State::settle`].
    pub(super) unsettled: HashSet<u32>,
    pub(super) used: u64,
    /// Bytes of all arenas.
    pub(super) leased: u64,
    pub(super) spilling_bytes: u64,
    pub(super) spill_error: Option<String>,
    pub(super) spill_again_at: u64,
    pub(super) now: u64,
    pub(super) effects: Vec<Effect>,
    generations: u64,
    peer_ids: PeerId,
    file_ids: u64,
    uses: u64,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            jobs: HashMap::new(),
            peers: HashMap::new(),
            objects: HashMap::new(),
            recency: BTreeSet::new(),
            waiting: VecDeque::new(),
            files: HashMap::new(),
            unsettled: HashSet::new(),
            used: 0,
            leased: 0,
            spilling_bytes: 0,
            spill_error: None,
            spill_again_at: 0,
            now: 0,
            effects: Vec::new(),
            generations: 0,
            peer_ids: 0,
            file_ids: 0,
            uses: 0,
        }
    }

    /// Makes room for a new peer, and for its job if it is the first; gives the files of its tables.
    pub(super) fn connect(&mut self, job: u32, client: ClientId, pid: u32) -> Result<(PeerId, Tables), Error> {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.jobs.entry(job) {
            // Twice the capacity: bytes are bounded by the accounting, addresses are free, and a long free range is
            // found even when a pinned object stands in the middle.
            let len = self.limits.capacity.next_multiple_of(PAGE) * 2;
            let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
            let ring = rustix::event::eventfd(0, flags).map_err(Error::os("creating an eventfd"))?;
            let segment = Segment::new(self.limits.capacity, len)?;
            vacant.insert(Job {
                alloc: RangeAllocator::new(len, if segment.is_huge() { HUGE } else { PAGE }),
                segment,
                index: IndexWriter::new(Geometry::for_capacity(self.limits.capacity))?,
                by_key: HashMap::new(),
                dying: HashSet::new(),
                creating: HashMap::new(),
                ring: Arc::new(ring),
                objects: 0,
            });
        }
        let tables = Tables {
            pins: pins_file()?,
            published: table_file()?,
        };
        let pins = PinsReader::new(std::os::fd::AsFd::as_fd(&tables.pins))?;
        let published = PublishTable::new(std::os::fd::AsFd::as_fd(&tables.published))?;
        self.peer_ids += 1;
        self.peers.insert(
            self.peer_ids,
            Peer {
                job,
                client,
                pid,
                pins,
                holds: HashMap::new(),
                published,
                taken_over: None,
                arenas: Vec::new(),
                leases: 0,
            },
        );
        Ok((self.peer_ids, tables))
    }

    pub(super) fn request(&mut self, peer: PeerId, request: Request) {
        let Some(job) = self.peers.get(&peer).map(|p| p.job) else {
            return;
        };
        match request {
            Request::Create { id, key, size, lease } => match lease.then(|| self.lease(peer)).flatten() {
                Some(leased) => self.reply(peer, id, Ok(leased)),
                None => self.create(peer, id, key, size),
            },
            Request::Seal {
                id,
                generation,
                sealed_at,
            } => self.seal(peer, id, generation, sealed_at),
            Request::Abort { generation } => self.abort(peer, generation),
            Request::Get { id, key } => self.get(peer, job, id, key),
            Request::Unhold { generation } => self.unhold(peer, generation),
            Request::Contains { id, key } => {
                self.take_over(job);
                let stage = self.find(job, key).and_then(|generation| self.objects.get(&generation));
                let yes = stage.is_some_and(|object| !matches!(object.stage, Stage::Lost(_)));
                self.reply(peer, id, Ok(Answer::Contains(yes)));
            }
            Request::Free { keys, freed_at } => self.free_in(job, &keys, freed_at),
            Request::Sync { id } => {
                self.take_over(job);
                self.reply(peer, id, Ok(Answer::Synced));
            }
            Request::Bye => self.forget_peer(peer),
        }
    }

    /// The peer's socket closed. Its pins stay until its process is known to be dead.
    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.waiting
            .retain(|waiting| !matches!(waiting, Waiting::Create { peer: who, .. } if *who == peer));
        for object in self.objects.values_mut() {
            object.waiters.retain(|(who, _)| *who != peer);
        }
    }

    pub(super) fn client_died(&mut self, client: ClientId) {
        let dead: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.client == client)
            .map(|(id, _)| *id)
            .collect();
        dead.into_iter().for_each(|peer| self.forget_peer(peer));
    }

    /// Drops a peer with its pins, holds, arenas and unsealed creations.
    fn forget_peer(&mut self, peer: PeerId) {
        self.disconnected(peer);
        self.inherit(peer);
        let Some(gone) = self.peers.remove(&peer) else { return };
        let unsealed: Vec<u64> = (self.objects.iter())
            .filter(|(_, object)| object.stage == Stage::Creating { by: peer })
            .map(|(generation, _)| *generation)
            .collect();
        unsealed.into_iter().for_each(|generation| self.drop_object(generation));
        self.effects.push(Effect::Close(peer));
        self.unsettled.insert(gone.job);
        self.drop_job_if_over(gone.job);
    }

    /// A job without clients and objects has no segment.
    pub(super) fn drop_job_if_over(&mut self, job: u32) {
        let peers = self.peers.values().any(|peer| peer.job == job);
        if !peers
            && self.jobs.get(&job).is_some_and(|entry| entry.objects == 0)
            && let Some(over) = self.jobs.remove(&job)
        {
            self.effects.push(Effect::Unwatch(over.ring));
        }
    }

    pub(super) fn reply(&mut self, peer: PeerId, id: u64, result: Result<Answer, Error>) {
        self.effects.push(Effect::Reply(peer, Reply { id, result }));
    }

    pub(super) fn find(&self, job: u32, key: Key) -> Option<u64> {
        self.jobs.get(&job)?.by_key.get(&key).copied()
    }

    /// The first of `count` new generations.
    pub(super) fn next_generations(&mut self, count: u64) -> u64 {
        let first = self.generations + 1;
        self.generations += count;
        first
    }

    pub(super) fn next_file(&mut self) -> u64 {
        self.file_ids += 1;
        self.file_ids
    }

    pub(super) fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}
