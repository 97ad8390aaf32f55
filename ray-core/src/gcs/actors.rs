//! The life of actors: registered, placed, alive, restarted, dead.
//!
//! - GA-1: an actor has at most one worker: it is placed again only after its worker is known to have ended.
//! - GA-2: a constructor that fails makes the actor dead; it is not restarted.
//! - GA-3: a name belongs to at most one actor that is not dead.
//! - GA-4: an actor that was told to end (killed for good, out of scope, owner gone) is never restarted.
//! - GA-5: an actor that goes on from a saved state begins when those before it that save there are dead.
//!
//! *Absent:* calls, which do not pass the GCS.

mod actor;
mod ending;
mod heirs;
mod placing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::error::RayError;
use crate::gcs::nodes::Node;
use crate::gcs::state::{Asker, Outbox, refuse};
use crate::ids::{ActorId, JobId, NodeId, WorkerId};
use crate::wire::{ActorInfo, ActorSpec, ActorState, DeathCause, Frame, GcsReply, SaveState};
use actor::{Actor, Stop};
use heirs::Heirs;

/// All actors, and whose name is whose.
#[derive(Debug, Default)]
pub(super) struct Actors {
    actors: HashMap<ActorId, Actor>,
    names: HashMap<(String, String), ActorId>,
    dead: VecDeque<ActorId>,
    /// How many have died so far.
    deaths: u64,
    heirs: Heirs,
}

impl Actors {
    /// An actor that is not dead.
    fn living(&mut self, id: ActorId) -> Option<&mut Actor> {
        self.actors.get_mut(&id).filter(|actor| !actor.is_dead())
    }

    pub(super) fn create(
        &mut self,
        asker: Asker,
        spec: ActorSpec,
        get_if_exists: bool,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) -> GcsReply {
        if let Some(existing) = self.actors.get(&spec.actor) {
            // The same request again, after a lost connection.
            return GcsReply::Actor { info: existing.info() };
        }
        if let Some(name) = &spec.name {
            let key = (spec.namespace.clone(), name.clone());
            if let Some(holder) = self.names.get(&key).and_then(|id| self.actors.get_mut(id)) {
                if get_if_exists {
                    holder.watchers.insert(asker);
                    return GcsReply::Actor { info: holder.info() };
                }
                return refuse(RayError::ActorNameTaken {
                    name: name.clone(),
                    namespace: spec.namespace,
                });
            }
            self.names.insert(key, spec.actor);
        }
        let id = spec.actor;
        let mut actor = Actor::new(spec, asker);
        if self.heirs.created(&actor.spec) {
            actor.place(nodes, out);
        }
        let info = actor.info();
        self.actors.insert(id, actor);
        GcsReply::Actor { info }
    }

    pub(super) fn find(&self, name: &str, namespace: &str) -> GcsReply {
        let key = (namespace.to_owned(), name.to_owned());
        match self.names.get(&key).and_then(|id| self.actors.get(id)) {
            Some(actor) => GcsReply::Actor { info: actor.info() },
            None => refuse(RayError::ActorNotFound {
                name: key.1,
                namespace: key.0,
            }),
        }
    }

    pub(super) fn watch(&mut self, asker: Asker, actor: ActorId) -> GcsReply {
        match self.actors.get_mut(&actor) {
            Some(entry) => {
                entry.watchers.insert(asker);
                GcsReply::Actor { info: entry.info() }
            }
            None => refuse(RayError::ActorDied {
                actor,
                name: "unknown".into(),
                cause: "the GCS does not know it: it died long ago, or belongs to another session".into(),
            }),
        }
    }

    /// How many have died so far.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths
    }

    /// Whether an actor of a job lives, or will.
    pub(super) fn are_left_of(&self, job: JobId) -> bool {
        let mut actors = self.actors.values();
        actors.any(|actor| actor.spec.job == job && !actor.is_dead())
    }

    /// Whether an actor of a job keeps what is left of it alive (GJ-2).
    pub(super) fn keep(&self, job: JobId) -> bool {
        let mut actors = self.actors.values();
        actors.any(|actor| actor.spec.job == job && actor.spec.detached && !actor.is_dead())
    }

    pub(super) fn list(&self) -> Vec<ActorInfo> {
        let mut infos: Vec<_> = self.actors.values().map(Actor::info).collect();
        infos.sort_by_key(|info| info.actor);
        infos
    }

    pub(super) fn started(
        &mut self,
        id: ActorId,
        node: NodeId,
        (worker, pid): (WorkerId, u32),
        error: Option<RayError>,
        out: &mut Outbox,
    ) {
        let Some(actor) = self.living(id) else {
            // It was stopped on its way to the node that has started it.
            if error.is_none() {
                let why = "it has ended before".to_owned();
                let frame = Frame::StopActor {
                    actor: id,
                    force: true,
                    saves: false,
                    why,
                };
                out.send(node, frame);
            }
            return;
        };
        match error {
            None => {
                actor.state = ActorState::Alive { worker, pid };
                actor.publish(out);
                if let Some(why) = &actor.ending {
                    // It was told to end while it was being constructed.
                    actor.stop(Stop::AfterCalls { saves: false }, why, out);
                }
            }
            Some(error) => self.bury(id, error, out),
        }
    }

    pub(super) fn worker_ended(
        &mut self,
        id: ActorId,
        cause: &DeathCause,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let Some(actor) = self.living(id) else { return };
        // In a group that is gone there is no place to restart.
        let intended = matches!(cause, DeathCause::Intended {} | DeathCause::GroupRemoved { .. });
        if !intended && actor.may_restart() {
            actor.restarts += 1;
            if let Some(saves) = &mut actor.saves {
                // Those of the new process.
                (saves.saves, saves.unsaved, saves.error) = (0, 0, None);
            }
            actor.state = ActorState::Restarting {
                cause: cause.to_string(),
            };
            actor.publish(out);
            actor.place(nodes, out);
            return;
        }
        let cause = match &actor.ending {
            Some(reason) => reason.clone(),
            None if actor.restarts > 0 => format!("{cause}, after {} restarts", actor.restarts),
            None => cause.to_string(),
        };
        let error = actor.died(cause);
        self.bury(id, error, out);
    }

    /// News of an actor's saves, for whoever asks. Nobody is told.
    pub(super) fn saved(&mut self, id: ActorId, saves: SaveState) -> GcsReply {
        let actor = self.actors.get_mut(&id).filter(|actor| actor.saves.is_some());
        let changed = actor.is_some();
        if let Some(actor) = actor {
            actor.saves = Some(Box::new(saves));
        }
        GcsReply::Changed { changed }
    }

    pub(super) fn forget_watcher(&mut self, worker: WorkerId) {
        for actor in self.actors.values_mut() {
            actor.watchers.retain(|watcher| watcher.worker != worker);
        }
    }
}
