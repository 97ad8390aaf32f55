//! An actor's constructor waits until the references inside its arguments are held by this process.
//!
//! The arguments come from the creator by way of the GCS, which counts no references. So the worker asks the creator, which
//! holds them as long as the actor may be constructed again, to hand them over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Order;
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::wire::{ActorSpec, ArgSpec, Frame};
use crate::worker::Worker;
use crate::worker::refs::Hold;
use crate::worker::state::Dest;

/// The constructor that waits, if one does.
#[derive(Debug, Default)]
pub(super) struct Claim(Mutex<Option<Claimed>>);

#[derive(Debug)]
struct Claimed {
    spec: Box<ActorSpec>,
    restarts: u32,
    references: Vec<(ObjectId, WorkerId)>,
}

impl Claim {
    fn waiting(&self) -> MutexGuard<'_, Option<Claimed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the constructor if it belongs to this actor, or waits for this creator.
    fn take(&self, fits: impl FnOnce(&Claimed) -> bool) -> Option<Claimed> {
        let mut waiting = self.waiting();
        if waiting.as_ref().is_some_and(fits) {
            waiting.take()
        } else {
            None
        }
    }
}

impl Worker {
    /// Makes this worker an actor, unless it lends something.
    pub(crate) fn construct(self: &Arc<Self>, spec: ActorSpec, restarts: u32) {
        if !self.with(|state, _, out| state.takes_actor(&spec, restarts, out)) {
            return;
        }
        let spec = Box::new(spec);
        let references: Vec<_> = spec.args.iter().flat_map(ArgSpec::references).collect();
        if references.is_empty() {
            self.executor.order(self, Order::Construct(spec, restarts, references));
            return;
        }
        let (creator, actor) = (spec.owner, spec.actor);
        *self.executor.claim.waiting() = Some(Claimed {
            spec,
            restarts,
            references,
        });
        self.with(|_, _, out| out.send(Dest::Worker(creator), Frame::ClaimArguments { actor }));
    }

    /// The creator's answer.
    pub(crate) fn arguments_handed(self: &Arc<Self>, actor: ActorId, handed: bool) {
        if self.hosted_arguments_handed(actor, handed) {
            return;
        }
        let Some(claimed) = self.executor.claim.take(|claimed| claimed.spec.actor == actor) else {
            return;
        };
        if !handed {
            let cause = "its last handle is gone".to_owned();
            let name = claimed.spec.type_name;
            return self.not_constructed(actor, RayError::ActorDied { actor, name, cause });
        }
        self.with(|state, _, out| {
            for (object, owner) in &claimed.references {
                state.receive(*object, *owner, Hold::Task, out);
            }
        });
        let order = Order::Construct(claimed.spec, claimed.restarts, claimed.references);
        self.executor.order(self, order);
    }

    /// A process has died: if it is the creator, its references died with it.
    pub(crate) fn claim_lost(self: &Arc<Self>, creator: WorkerId) {
        self.hosted_claims_lost(creator);
        let Some(claimed) = self.executor.claim.take(|claimed| claimed.spec.owner == creator) else {
            return;
        };
        let object = claimed
            .references
            .first()
            .map_or_else(ObjectId::default, |(object, _)| *object);
        self.not_constructed(claimed.spec.actor, RayError::OwnerDied { object, owner: creator });
    }

    pub(super) fn not_constructed(self: &Arc<Self>, actor: ActorId, error: RayError) {
        let error = Some(error);
        self.with(|_, _, out| out.send(Dest::Raylet, Frame::ActorConstructed { actor, error }));
    }
}
