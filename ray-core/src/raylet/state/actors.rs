//! Actors of the node: the place of each, its beginning and its end.
//!
//! An actor has a worker for itself, or lives in a host (`hosted`). Which worker it gets is a grant's matter (`grants`);
//! whether that worker takes it is the worker's to say, and nothing ends it before (`lending`).
//!
//! *Absent:* whether it is restarted, which the GCS decides.

use std::time::Duration;

use super::lending::Taking;
use super::{Effect, Effects, State};
use crate::error::RayError;
use crate::ids::{ActorId, WorkerId};
use crate::raylet::workers::{Process, Role};
use crate::scheduling::Allocation;
use crate::wire::{ActorSpec, DeathCause, Frame};

/// Where an actor lives, and how it stands.
#[derive(Debug)]
pub(super) struct ActorPlace {
    /// Whether it would be restarted.
    pub(super) restartable: bool,
    /// Whether its state is saved.
    pub(super) saved: bool,
    pub(super) constructed: bool,
    pub(super) worker: WorkerId,
    pub(super) allocation: Option<Allocation>,
    pub(super) pid: u32,
    /// Until the worker has said that it takes the actor.
    pub(super) taking: Option<Taking>,
    /// It lives in a host, beside other work.
    pub(super) hosted: bool,
    /// Why its host was told to end it.
    pub(super) ended_for: Option<DeathCause>,
}

/// What it is called in reports and errors.
pub(super) fn shown_name(spec: &ActorSpec) -> String {
    spec.name.clone().unwrap_or_else(|| spec.type_name.clone())
}

impl State {
    /// The GCS wants an actor to live here.
    pub(super) fn start_actor(&mut self, spec: Box<ActorSpec>, restarts: u32, now: Duration, out: &mut Effects) {
        if spec.shared {
            self.start_hosted_actor(spec, restarts, out);
        } else {
            self.request_for_actor(spec, restarts, now, out);
        }
    }

    /// Asks a worker to become an actor.
    pub(super) fn place_actor(
        &mut self,
        spec: Box<ActorSpec>,
        restarts: u32,
        mut allocation: Allocation,
        worker: WorkerId,
        now: Duration,
        out: &mut Effects,
    ) {
        if spec.resources.get("CPU").copied().unwrap_or_default() == 0 {
            // One CPU to be placed, none to live, unless it asked for some.
            self.resources.drop_cpu(&mut allocation);
        }
        let place = ActorPlace {
            saved: spec.checkpoint.is_some(),
            constructed: false,
            restartable: spec.max_restarts < 0 || i64::from(restarts) < spec.max_restarts,
            worker,
            allocation: Some(allocation),
            pid: self.workers.get(&worker).map_or(0, |process| process.pid),
            taking: Some(Taking::asked_at(now)),
            hosted: false,
            ended_for: None,
        };
        self.serves(worker, Role::Actor(spec.actor), shown_name(&spec), now, out);
        self.actors.insert(spec.actor, place);
        out.push(Effect::Send {
            to: worker,
            frame: Frame::ConstructActor { spec, restarts },
        });
    }

    pub(super) fn actor_constructed(
        &mut self,
        from: WorkerId,
        actor: ActorId,
        error: Option<RayError>,
        out: &mut Effects,
    ) {
        let Some(place) = self.actors.get_mut(&actor) else {
            return;
        };
        place.constructed = error.is_none();
        let (worker, pid) = (place.worker, place.pid);
        if error.is_some() && place.hosted {
            self.actors.remove(&actor);
        } else if error.is_some() {
            self.kill(from, DeathCause::Intended {}, out);
        }
        out.push(Effect::ToGcs(Frame::ActorStarted {
            actor,
            worker,
            pid,
            error,
        }));
    }

    /// The GCS wants an actor to end; one that is saved is saved before.
    pub(super) fn end_actor(
        &mut self,
        actor: ActorId,
        (force, saves): (bool, bool),
        why: String,
        now: Duration,
        out: &mut Effects,
    ) {
        // One that no worker has taken yet has nothing to save.
        let taken = self.actors.get(&actor).is_none_or(|place| place.taking.is_none());
        let saves = force && saves && taken && self.save_and_end(actor, &why, now, out);
        if !saves {
            self.stop_actor(actor, force, why, out);
        }
    }

    fn stop_actor(&mut self, actor: ActorId, force: bool, why: String, out: &mut Effects) {
        if let Some(place) = self.actors.get(&actor) {
            if place.hosted {
                self.stop_hosted_actor(actor, force, why, out);
            } else if force {
                let why = "kill() was called, or its creator or its job has ended".to_owned();
                self.end_placed(actor, Some(DeathCause::Killed { why }), out);
            } else {
                self.end_placed(actor, None, out);
            }
            return;
        }
        // It still waits for resources or for a worker.
        self.cancel_request_for(actor);
        self.take_back(|granted| granted.asked.is_for(actor));
        out.push(Effect::ToGcs(Frame::WorkerEnded {
            worker: WorkerId::default(),
            actor: Some(actor),
            cause: DeathCause::Intended {},
        }));
    }

    /// An actor is about to end by itself.
    pub(super) fn actor_exiting(&mut self, from: WorkerId, actor: ActorId, intended: bool, out: &mut Effects) {
        if self.is_hosted(actor, from) {
            self.hosted_actor_ended(actor, out);
        } else if let Some(process) = self.workers.get_mut(&from)
            && intended
        {
            process.ended_for = Some(DeathCause::Intended {});
        }
    }

    /// The worker of an actor is dead (RL-1). Returns which actor it was, if it was one.
    pub(super) fn remove_actor_of(&mut self, process: &Process) -> Option<ActorId> {
        let Role::Actor(actor) = process.role else { return None };
        let place = self.actors.remove(&actor);
        if let Some(allocation) = place.and_then(|place| place.allocation) {
            self.resources.release(allocation);
        }
        Some(actor)
    }
}
