//! From references to values: `get` and `wait`, blocking or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::wire::Frame;
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::state::Dest;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, context};

/// A value at hand.
#[derive(Debug)]
pub(crate) enum Found {
    /// An encoded object, in this process's memory or in the store.
    Encoded(Bytes),
    /// A value that never left this process.
    Native(Arc<NativeValue>),
}

/// An object and its owner.
pub(crate) type Target = (ObjectId, WorkerId);

impl Worker {
    /// The value of a ready object; `None` if it is not ready.
    pub(crate) fn ready_value(self: &Arc<Self>, object: ObjectId) -> Option<Result<Found>> {
        let slot = self.read(|state| state.objects.slot(&object).cloned());
        match slot {
            Some(Slot::Pending) => None,
            Some(Slot::Inline(bytes)) => Some(Ok(Found::Encoded(bytes))),
            Some(Slot::Native(value)) => Some(Ok(Found::Native(value))),
            Some(Slot::Failed(error)) => Some(Err(error)),
            Some(Slot::Stored { .. }) => Some(self.from_store(object).map(Found::Encoded)),
            None => Some(Err(RayError::SessionEnded {})),
        }
    }

    /// Reads an object from the node's store, in place.
    pub(crate) fn from_store(&self, object: ObjectId) -> Result<Bytes> {
        let key = ray_objstore::Key(*object.as_bytes());
        match self.store.get(&key) {
            Ok(view) => Ok(Bytes::from_owner(view)),
            Err(error) => Err(RayError::ObjectLost {
                object,
                reason: error.to_string(),
            }),
        }
    }

    /// A waiter that is done when `wanted` of the objects are ready.
    pub(crate) fn waiter(self: &Arc<Self>, targets: &[Target], wanted: usize) -> Arc<Waiter> {
        self.with(|state, _, out| {
            let ready = targets
                .iter()
                .filter(|(object, _)| state.objects.slot(object).is_none_or(|slot| !slot.is_pending()));
            let waiter = Arc::new(Waiter::new(wanted.saturating_sub(ready.count())));
            if !waiter.is_done() {
                let pending: Vec<Target> = targets
                    .iter()
                    .filter(|(object, _)| state.objects.slot(object).is_some_and(Slot::is_pending))
                    .copied()
                    .collect();
                state.watch(&pending, &waiter, out);
            }
            waiter
        })
    }

    /// Blocks until `wanted` of the objects are ready or the time is over. Returns whether they are.
    pub(crate) fn block_until(self: &Arc<Self>, targets: &[Target], wanted: usize, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waiter = self.waiter(targets, wanted);
        if waiter.is_done() {
            return true;
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return false;
        }
        let _released = self.release_cpu();
        waiter.block(deadline)
    }

    /// Returns when `wanted` of the objects are ready.
    pub(crate) async fn ready(self: &Arc<Self>, targets: &[Target], wanted: usize) {
        self.waiter(targets, wanted).done().await;
    }

    /// Blocks until all objects have a value, one has an error and all before it have a value, or the time is over.
    /// Returns `false` only for the time.
    pub(crate) fn block_for_values(self: &Arc<Self>, targets: &[Target], timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut released = None;
        for target in targets {
            let waiter = self.waiter(std::slice::from_ref(target), 1);
            if waiter.is_done() {
                if self.read(|state| matches!(state.objects.slot(&target.0), Some(Slot::Failed(_)))) {
                    return true;
                }
                continue;
            }
            released = released.or_else(|| self.release_cpu());
            if !waiter.block(deadline) {
                return false;
            }
        }
        true
    }

    /// Refuses a wait, within an exclusive call of an actor, for a call on the same actor: it could never start.
    pub(crate) fn check_deadlock(&self, targets: &[Target]) -> Result<()> {
        let Some(context) = context::current().filter(|context| context.exclusive) else {
            return Ok(());
        };
        let Some(actor) = context.actor else { return Ok(()) };
        self.read(|state| {
            let own_call = |(object, _): &Target| {
                // A call that has ended is waited for no more.
                let pending = state.tasks.get(&object.task());
                pending.is_some_and(|pending| pending.actor == Some(actor))
            };
            if targets.iter().any(own_call) {
                Err(RayError::WouldDeadlock { actor })
            } else {
                Ok(())
            }
        })
    }

    /// While a task waits, its CPU serves others.
    pub(crate) fn release_cpu(self: &Arc<Self>) -> Option<Blocked> {
        context::in_leased_task().then(|| {
            self.with(|_, _, out| out.send(Dest::Raylet, Frame::Blocked {}));
            Blocked(self.clone())
        })
    }

    /// Which of the objects are ready, in the order given.
    pub(crate) fn are_ready(&self, targets: &[Target]) -> Vec<bool> {
        self.read(|state| {
            let ready = |(object, _): &Target| state.objects.slot(object).is_none_or(|slot| !slot.is_pending());
            targets.iter().map(ready).collect()
        })
    }
}

/// Takes the CPU back when the wait is over.
#[derive(Debug)]
pub(crate) struct Blocked(Arc<Worker>);

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.with(|_, _, out| out.send(Dest::Raylet, Frame::Unblocked {}));
    }
}
