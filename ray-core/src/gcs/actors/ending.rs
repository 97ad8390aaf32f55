//! The end of actors: who may cause it, and what is left.
//!
//! GA-4 is kept here: one that is told to end is never restarted.

use super::Actors;
use super::actor::{Actor, Stop};
use crate::error::RayError;
use crate::gcs::state::Outbox;
use crate::ids::{ActorId, JobId, WorkerId};
use crate::wire::{ActorState, GcsReply};

/// Dead actors that are remembered, so that late questions get the reason.
const DEAD_KEPT: usize = 100_000;

impl Actors {
    /// `kill()`: at once; for good, or so that it is restarted.
    pub(in crate::gcs) fn kill(&mut self, id: ActorId, no_restart: bool, out: &mut Outbox) -> GcsReply {
        let Some(actor) = self.living(id) else {
            return GcsReply::Changed { changed: false };
        };
        let cause = "it was killed by kill()".to_owned();
        actor.stop(Stop::Now { saves: false }, &cause, out);
        if no_restart {
            actor.ending = Some(cause.clone());
            let error = actor.died(cause);
            self.bury(id, error, out);
        }
        GcsReply::Changed { changed: true }
    }

    /// Its last handle is gone.
    pub(in crate::gcs) fn out_of_scope(&mut self, id: ActorId, out: &mut Outbox) -> GcsReply {
        let ends = self.living(id).is_some_and(|actor| !actor.spec.detached);
        if ends {
            self.end(id, "its last handle is gone", Stop::AfterCalls { saves: true }, out);
        }
        GcsReply::Changed { changed: ends }
    }

    pub(in crate::gcs) fn owner_ended(&mut self, owner: WorkerId, out: &mut Outbox) {
        let of_owner = |actor: &Actor| actor.spec.owner == owner;
        self.end_all(of_owner, "the process that created it has ended", out);
    }

    /// The driver of a job is gone, and nothing of it is detached.
    pub(in crate::gcs) fn job_ended(&mut self, job: JobId, out: &mut Outbox) {
        self.end_all(|actor| actor.spec.job == job, "its job has ended", out);
    }

    /// Ends those that are not detached.
    fn end_all(&mut self, which: impl Fn(&Actor) -> bool, reason: &str, out: &mut Outbox) {
        let living = self
            .actors
            .values()
            .filter(|actor| !actor.is_dead() && actor.ending.is_none());
        let ending: Vec<ActorId> = living
            .filter(|actor| !actor.spec.detached && which(actor))
            .map(|actor| actor.spec.actor)
            .collect();
        for id in ending {
            self.end(id, reason, Stop::Now { saves: true }, out);
        }
    }

    /// Tells an actor to end, never to come back.
    fn end(&mut self, id: ActorId, reason: &str, how: Stop, out: &mut Outbox) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.ending = Some(reason.to_owned());
        if let Some(name) = &actor.spec.name {
            self.names.remove(&(actor.spec.namespace.clone(), name.clone()));
        }
        if !actor.stop(how, reason, out) {
            let error = actor.died(reason.to_owned());
            self.bury(id, error, out);
        }
    }

    /// It is dead: whoever watches it hears of that, its name is free, and its heir may begin.
    pub(super) fn bury(&mut self, id: ActorId, error: RayError, out: &mut Outbox) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        self.deaths += 1;
        actor.state = ActorState::Dead { error };
        self.heirs.died(&actor.spec);
        actor.publish(out);
        actor.watchers.clear();
        actor.spec.args.clear();
        if let Some(name) = &actor.spec.name {
            let key = (actor.spec.namespace.clone(), name.clone());
            if self.names.get(&key) == Some(&id) {
                self.names.remove(&key);
            }
        }
        self.dead.push_back(id);
        if self.dead.len() > DEAD_KEPT
            && let Some(oldest) = self.dead.pop_front()
        {
            self.actors.remove(&oldest);
        }
    }
}
