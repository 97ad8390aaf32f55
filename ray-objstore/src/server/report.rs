//! Who holds what: the `memory` report, and the short form of it in the error of a full store.

use std::collections::HashMap;

use super::state::{Stage, State};
use crate::alloc::rounded;
use crate::error::{Holder, Usage};
use crate::ids::{ClientId, Key};

/// Holders named in the error of a full store.
const HOLDERS: usize = 5;

/// What a store holds at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Bytes by state and the largest holders.
    pub usage: Usage,
    /// Bytes of freed objects that still have memory, kept for reuse for a while.
    pub idle: u64,
    /// Every object, in no order.
    pub objects: Vec<ObjectReport>,
    /// Creations and restores that wait for space.
    pub waiting: usize,
    /// Why the last spill failed, if it did.
    pub spill_error: Option<String>,
}

/// One object.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObjectReport {
    /// The job it belongs to.
    pub job: u32,
    /// Its name.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// What it is going through.
    pub state: ObjectState,
    /// The clients that pin it and how often, or the one that creates it.
    pub pins: Vec<PinReport>,
}

/// The pins of one client on one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinReport {
    /// The client.
    pub client: ClientId,
    /// Its process.
    pub pid: u32,
    /// How many views of the object it holds.
    pub count: u32,
}

/// The states of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectState {
    /// Granted to a writer, not sealed yet.
    Creating,
    /// Sealed, in memory.
    Sealed,
    /// On disk only, or on its way back.
    Spilled,
    /// Freed or replaced, but still read by someone.
    Dying,
    /// Its copy on disk is gone or damaged.
    Lost,
}

impl State {
    fn state_of(stage: &Stage) -> ObjectState {
        match stage {
            Stage::Creating { .. } => ObjectState::Creating,
            Stage::Sealed => ObjectState::Sealed,
            Stage::Dying => ObjectState::Dying,
            Stage::Restoring | Stage::Spilled => ObjectState::Spilled,
            Stage::Lost(_) => ObjectState::Lost,
        }
    }

    fn pins_by_object(&self) -> HashMap<u64, Vec<PinReport>> {
        let mut pins = HashMap::<u64, Vec<PinReport>>::new();
        for peer in self.peers.values() {
            let mut counts = HashMap::<u64, u32>::new();
            peer.pins
                .pinned()
                .for_each(|generation| *counts.entry(generation).or_default() += 1);
            for (generation, count) in counts {
                pins.entry(generation).or_default().push(PinReport {
                    client: peer.client,
                    pid: peer.pid,
                    count,
                });
            }
        }
        for (generation, object) in &self.objects {
            if let Stage::Creating { by } = object.stage
                && let Some(peer) = self.peers.get(&by)
            {
                pins.insert(
                    *generation,
                    vec![PinReport {
                        client: peer.client,
                        pid: peer.pid,
                        count: 1,
                    }],
                );
            }
        }
        pins
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage_with(&self.pins_by_object())
    }

    fn usage_with(&self, pins: &HashMap<u64, Vec<PinReport>>) -> Usage {
        let mut usage = Usage {
            capacity: self.limits.capacity,
            ..Usage::default()
        };
        let mut held = HashMap::<u32, u64>::new();
        for (generation, object) in &self.objects {
            let bytes = object.range.map_or(object.size, |range| range.len);
            match Self::state_of(&object.stage) {
                ObjectState::Creating => usage.creating += bytes,
                ObjectState::Sealed => usage.sealed += bytes,
                ObjectState::Spilled => usage.spilled += bytes,
                ObjectState::Dying => usage.dying += bytes,
                ObjectState::Lost => {}
            }
            for pin in pins.get(generation).into_iter().flatten() {
                *held.entry(pin.pid).or_default() += bytes;
            }
        }
        for peer in self.peers.values() {
            let claimed: u64 = peer.published.creating().map(|(.., record)| rounded(record.size)).sum();
            let leased: u64 = peer.arenas.iter().map(|arena| arena.remaining).sum();
            usage.creating += claimed;
            usage.arenas += leased.saturating_sub(claimed);
            *held.entry(peer.pid).or_default() += leased;
        }
        held.retain(|_, bytes| *bytes > 0);
        usage.holders = held.into_iter().map(|(pid, bytes)| Holder { pid, bytes }).collect();
        usage
            .holders
            .sort_by_key(|holder| std::cmp::Reverse((holder.bytes, holder.pid)));
        usage.holders.truncate(HOLDERS);
        usage
    }

    pub(super) fn report(&mut self) -> Report {
        self.take_over_all();
        let pins = self.pins_by_object();
        let objects = self.objects.iter().map(|(generation, object)| ObjectReport {
            job: object.job,
            key: object.key,
            size: object.size,
            state: Self::state_of(&object.stage),
            pins: pins.get(generation).cloned().unwrap_or_default(),
        });
        let claims = self.peers.values().flat_map(|peer| {
            let creator = PinReport {
                client: peer.client,
                pid: peer.pid,
                count: 1,
            };
            peer.published.creating().map(move |(.., record)| ObjectReport {
                job: peer.job,
                key: record.key,
                size: record.size,
                state: ObjectState::Creating,
                pins: vec![creator],
            })
        });
        Report {
            usage: self.usage_with(&pins),
            idle: self.jobs.values().map(|job| job.alloc.idle_bytes()).sum(),
            objects: objects.chain(claims).collect(),
            waiting: self.waiting.len(),
            spill_error: self.spill_error.clone(),
        }
    }
}
