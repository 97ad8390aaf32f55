//! Objects between processes: asking an owner, serving those who ask, handing references over.

use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::value::RefToken;
use crate::wire::{DeathCause, Frame, ObjectValue};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::{Effect, Hold, RefTable};

impl State {
    /// Asks the owner of a borrowed object to tell when it is ready; once.
    pub(super) fn subscribe(&mut self, object: ObjectId, owner: WorkerId, out: &mut Out) {
        if owner == self.me {
            return;
        }
        if let Some(error) = self.ended.clone() {
            // Its owner ends too, and nobody is left to tell.
            self.settle(object, Slot::Failed(Box::new(error)), out.now, out);
        } else if self.objects.begin_subscription(&object) {
            out.send(Dest::Worker(owner), Frame::Subscribe { object });
        }
    }

    /// Another process asks for an object of ours.
    pub(crate) fn subscribed_by(&mut self, object: ObjectId, from: WorkerId, out: &mut Out) {
        if self.objects.add_interest(&object, Interest::Subscriber(from)).is_err() {
            self.serve(object, from, out);
        }
    }

    /// Sends what is known of an object to a process that asked.
    pub(super) fn serve(&mut self, object: ObjectId, to: WorkerId, out: &mut Out) {
        let value = match self.objects.slot(&object) {
            Some(Slot::Pending) => return,
            Some(Slot::Inline(bytes)) => Ok(bytes.clone()),
            Some(Slot::Native(_)) => return self.objects.want_encoded(object, Interest::Subscriber(to), out),
            Some(Slot::Stored { .. }) if self.foreign.contains(&to) => return out.whole.push((object, to)),
            Some(Slot::Stored { size }) => {
                let size = *size;
                let refs = self.contained_in(&object);
                for (inner, _) in &refs {
                    self.hand_over(*inner, to, out);
                }
                out.send(
                    Dest::Worker(to),
                    Frame::ObjectReady {
                        object,
                        value: ObjectValue::Stored { size, refs },
                    },
                );
                return;
            }
            Some(Slot::Failed(error)) => Err((**error).clone()),
            None => Err(RayError::ObjectLost {
                object,
                reason: "its owner does not hold it any more, although a reference was in use".into(),
            }),
        };
        let value = match value {
            Ok(bytes) => {
                for token in crate::value::refs_of(&bytes).unwrap_or_default() {
                    self.hand_over(token.object, to, out);
                }
                ObjectValue::Inline { object: bytes }
            }
            Err(error) => ObjectValue::Failed { error },
        };
        out.send(Dest::Worker(to), Frame::ObjectReady { object, value });
    }

    /// An owner's answer.
    pub(crate) fn object_ready(
        &mut self,
        from: WorkerId,
        object: ObjectId,
        value: ObjectValue,
        now: Instant,
        out: &mut Out,
    ) {
        self.accept_value(object, from, value, now, out);
    }

    /// References that came inside the value of `outer`: they are held as long as `outer` is known here.
    pub(super) fn take_contained(
        &mut self,
        outer: ObjectId,
        from: WorkerId,
        inner: Vec<(ObjectId, WorkerId)>,
        keep: bool,
        out: &mut Out,
    ) {
        for (object, owner) in &inner {
            if from == self.me {
                self.hold(*object, Hold::Container);
            } else {
                self.receive(*object, *owner, Hold::Container, out);
            }
        }
        if keep {
            self.refs
                .contain(outer, inner.into_iter().map(|(object, _)| object), &mut out.refs);
        } else {
            inner
                .iter()
                .for_each(|(object, _)| self.unhold(*object, Hold::Container, out));
        }
    }

    /// A value that was here as it is has been encoded: it is held in that form from now on, and with it the references
    /// inside.
    pub(crate) fn native_encoded(
        &mut self,
        object: ObjectId,
        slot: Slot,
        inner: &[RefToken],
        now: Instant,
        out: &mut Out,
    ) {
        inner.iter().for_each(|token| self.hold(token.object, Hold::Container));
        self.refs
            .contain(object, inner.iter().map(|token| token.object), &mut out.refs);
        if matches!(slot, Slot::Stored { .. }) && self.objects.slot(&object).is_none() {
            // Nobody holds it any more.
            out.free.push(object);
        }
        self.settle(object, slot, now, out);
    }

    /// A reference has come in a frame of another process.
    pub(crate) fn receive(&mut self, object: ObjectId, owner: WorkerId, hold: Hold, out: &mut Out) {
        self.objects.expect(object);
        if let Err(error) = self.refs.receive(object, owner, hold, &mut out.refs) {
            tracing::error!(target: "ray_core::worker", %error, "a reference came too late");
        }
    }

    /// A reference that nobody handed over, because its sender did not know this process: it registers itself. The sender
    /// holds the reference for as long as this process lives, so that the owner cannot miss it.
    pub(crate) fn introduce(&mut self, object: ObjectId, owner: WorkerId, hold: Hold, out: &mut Out) {
        if owner != self.me {
            let to = self.me;
            out.send(Dest::Worker(owner), Frame::Handover { object, to });
        }
        self.receive(object, owner, hold, out);
    }

    /// One more hold on an object that is held already.
    pub(crate) fn hold(&mut self, object: ObjectId, hold: Hold) {
        if let Err(error) = self.refs.add(object, hold) {
            tracing::error!(target: "ray_core::worker", %error, "a reference in use is not held");
        }
    }

    /// One hold less.
    pub(crate) fn unhold(&mut self, object: ObjectId, hold: Hold, out: &mut Out) {
        if let Err(error) = self.refs.remove(object, hold, &mut out.refs) {
            tracing::error!(target: "ray_core::worker", %error, "a hold ends twice");
        }
    }

    /// A result with references inside has left, or never will (see [`Worker::outgoing`](crate::worker::Worker::outgoing)).
    pub(crate) fn let_go(&mut self, value: &ObjectValue, out: &mut Out) {
        for (object, _) in value.references() {
            self.unhold(object, Hold::Task, out);
        }
    }

    /// The reference is about to leave for another process: its owner hears of it first (RC-T2).
    pub(crate) fn hand_over(&mut self, object: ObjectId, to: WorkerId, out: &mut Out) {
        if let Err(error) = self.refs.hand_over(object, to, &mut out.refs) {
            tracing::error!(target: "ray_core::worker", %error, "a reference in use is not held");
        }
        self.apply_ref_effects(out);
    }

    /// The references inside the value of an object, with their owners.
    pub(crate) fn contained_in(&self, object: &ObjectId) -> Vec<(ObjectId, WorkerId)> {
        contained(&self.refs, object)
    }

    /// Another process's hand-over of an object of ours, or its release.
    pub(crate) fn registered(&mut self, object: ObjectId, to: WorkerId, out: &mut Out) {
        if let Err(error) = self.refs.handover_received(object, to, &mut out.refs) {
            tracing::error!(target: "ray_core::worker", %error, "a hand-over came too late");
        }
    }

    /// A process holds an object of ours no longer.
    pub(crate) fn released(&mut self, object: ObjectId, from: WorkerId, count: u32, out: &mut Out) {
        if let Err(error) = self.refs.release_received(object, from, count, &mut out.refs) {
            tracing::error!(target: "ray_core::worker", %error, "a release came too late");
        }
    }

    /// A local handle of an object that this process holds by other means already (a value that contains it).
    pub(crate) fn adopt(&mut self, object: ObjectId) {
        self.objects.expect(object);
        self.hold(object, Hold::Handle);
    }

    /// A local handle is gone.
    pub(crate) fn drop_handle(&mut self, object: ObjectId, out: &mut Out) {
        self.unhold(object, Hold::Handle, out);
    }

    pub(super) fn apply_ref_effect(&mut self, effect: Effect, out: &mut Out) {
        match effect {
            Effect::SendHandover { owner, object, to } => {
                out.send(Dest::Worker(owner), Frame::Handover { object, to });
            }
            Effect::SendRelease { owner, object, count } => {
                out.send(Dest::Worker(owner), Frame::Release { object, count });
            }
            Effect::FreeValue { object } => self.forget_object(object, out),
            Effect::OwnerDied { object, owner } => {
                let waiting = matches!(self.objects.slot(&object), Some(Slot::Pending | Slot::Stored { .. }));
                if waiting {
                    self.settle(
                        object,
                        Slot::failed(RayError::OwnerDied { object, owner }),
                        out.now,
                        out,
                    );
                }
            }
            Effect::ReleaseSpec { task } => drop(self.kept.remove(&task)),
        }
    }

    fn forget_object(&mut self, object: ObjectId, out: &mut Out) {
        let owned = object.owner_prefix() == self.me.prefix();
        if let Some((stored, slot)) = self.objects.remove(&object) {
            if stored && owned {
                out.free.push(object);
            }
            if matches!(slot, Slot::Native(_)) {
                out.garbage.push(Box::new(slot));
            }
        }
        if owned {
            if !self.sites.is_empty() {
                self.sites.remove(&object);
            }
            self.lineage.out_of_scope(object, &mut out.refs);
        }
        self.handle_out_of_scope(object, out);
    }

    /// A process of this node is dead.
    pub(crate) fn process_died(
        &mut self,
        worker: WorkerId,
        cause: &DeathCause,
        not_begun: &[TaskId],
        now: Instant,
        out: &mut Out,
    ) {
        self.ringed.remove(&worker);
        self.leases_of_dead_worker(worker, cause, not_begun, now, out);
        self.actors_of_dead_worker(worker, cause, now, out);
        self.refs.worker_died(worker, &mut out.refs);
        self.pids.remove(&worker);
        self.foreign.remove(&worker);
    }
}

/// The references inside the value of an object, with their owners.
pub(super) fn contained(refs: &RefTable, object: &ObjectId) -> Vec<(ObjectId, WorkerId)> {
    let contained = refs.get(object).map(|report| report.contained).unwrap_or_default();
    contained
        .iter()
        .filter_map(|inner| Some((*inner, refs.get(inner)?.owner)))
        .collect()
}
