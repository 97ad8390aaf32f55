//! Objects between processes: asking an owner, serving those who ask, handing references over.

use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ObjectId, WorkerId};
use crate::wire::{DeathCause, Frame, ObjectValue};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Effect;

impl State {
    /// Asks the owner of a borrowed object to tell when it is ready; once.
    pub(super) fn subscribe(&mut self, object: ObjectId, owner: WorkerId, out: &mut Out) {
        if owner != self.me && self.objects.begin_subscription(&object) {
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
            Some(Slot::Native(native)) => native.encoded(),
            Some(Slot::Stored { size }) => {
                let size = *size;
                let refs = self.refs.contained(&object);
                for (inner, owner) in &refs {
                    self.refs.hand_over(*inner, *owner, to, &mut out.refs);
                }
                out.send(Dest::Worker(to), Frame::ObjectReady { object, value: ObjectValue::Stored { size, refs } });
                return;
            }
            Some(Slot::Failed(error)) => Err(error.clone()),
            None => Err(RayError::ObjectLost {
                object,
                reason: "its owner does not hold it any more, although a reference was in use".into(),
            }),
        };
        let value = match value {
            Ok(bytes) => {
                for token in crate::value::refs_of(&bytes).unwrap_or_default() {
                    self.refs.hand_over(token.object, token.owner, to, &mut out.refs);
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
            if from != self.me {
                self.refs.received(*object, *owner);
            }
            self.refs.hold(*object, *owner);
            self.objects.expect(*object);
        }
        if keep {
            self.refs.contain(outer, &inner);
        }
        for (object, _) in &inner {
            self.refs.unhold(*object, &mut out.refs);
        }
    }

    /// A local handle of an object that this process holds by other means already (a value that contains it).
    pub(crate) fn adopt(&mut self, object: ObjectId, owner: WorkerId) {
        self.refs.add_local(object, owner);
        self.objects.expect(object);
    }

    /// A local handle is gone.
    pub(crate) fn drop_handle(&mut self, object: ObjectId, out: &mut Out) {
        self.refs.remove_local(object, &mut out.refs);
    }

    pub(super) fn apply_ref_effect(&mut self, effect: Effect, out: &mut Out) {
        match effect {
            Effect::SendHandover { owner, object, to } => {
                out.send(Dest::Worker(owner), Frame::Handover { object, to });
            }
            Effect::SendRelease { owner, object, count } => {
                out.send(Dest::Worker(owner), Frame::Release { object, count });
                self.forget_object(object, out);
            }
            Effect::OutOfScope { object } => self.forget_object(object, out),
        }
    }

    fn forget_object(&mut self, object: ObjectId, out: &mut Out) {
        let owned = object.owner_prefix() == self.me.prefix();
        match self.objects.remove(&object) {
            Some(Slot::Stored { .. }) if owned => out.free.push(object),
            Some(native @ Slot::Native(_)) => out.garbage.push(Box::new(native)),
            _ => {}
        }
        if owned {
            self.handle_out_of_scope(object, out);
        }
    }

    /// A process of this node is dead.
    pub(crate) fn process_died(&mut self, worker: WorkerId, cause: &DeathCause, now: Instant, out: &mut Out) {
        self.leases_of_dead_worker(worker, cause, now, out);
        self.actors_of_dead_worker(worker, out);
        self.refs.process_died(worker, &mut out.refs);
        for object in self.objects.of_owner(worker.prefix()) {
            if object.owner_prefix() != self.me.prefix() {
                self.settle(object, Slot::Failed(RayError::OwnerDied { object, owner: worker }), now, out);
            }
        }
    }
}
