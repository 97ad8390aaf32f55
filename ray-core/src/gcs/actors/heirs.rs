//! Actors that go on from the saved state of another: each begins when all before it have ended, so that their last saves
//! are there. A directory's lock would see to it; object storage has none.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::ids::ActorId;
use crate::wire::ActorSpec;

/// The living actors of each place that outlives them.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    /// In the order of their creation.
    holders: HashMap<(String, String), VecDeque<ActorId>>,
    /// Those that are not the first of theirs.
    waiting: HashSet<ActorId>,
    /// Those that have become the first.
    ready: Vec<ActorId>,
}

/// The place, if a later actor goes on from it.
fn place(spec: &ActorSpec) -> Option<(String, String)> {
    let saved = spec.checkpoint.as_ref().filter(|checkpoint| checkpoint.lasting)?;
    Some((saved.place.clone(), saved.key.clone()))
}

impl Heirs {
    /// A new actor. `false`: it must wait.
    pub(super) fn created(&mut self, spec: &ActorSpec) -> bool {
        let Some(place) = place(spec) else { return true };
        let holders = self.holders.entry(place).or_default();
        holders.push_back(spec.actor);
        let is_first = holders.len() == 1;
        if !is_first {
            self.waiting.insert(spec.actor);
        }
        is_first
    }

    /// An actor is dead.
    pub(super) fn died(&mut self, spec: &ActorSpec) {
        let Some(place) = place(spec) else { return };
        self.waiting.remove(&spec.actor);
        let Some(holders) = self.holders.get_mut(&place) else {
            return;
        };
        holders.retain(|holder| *holder != spec.actor);
        match holders.front() {
            Some(first) if self.waiting.remove(first) => self.ready.push(*first),
            Some(_) => {}
            None => drop(self.holders.remove(&place)),
        }
    }

    pub(super) fn waits(&self, actor: ActorId) -> bool {
        self.waiting.contains(&actor)
    }

    /// Those that may begin now.
    pub(super) fn take_ready(&mut self) -> Vec<ActorId> {
        std::mem::take(&mut self.ready)
    }
}
