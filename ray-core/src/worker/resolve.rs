//! From references to values: `get` and `wait`, blocking or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::wire::{Frame, TaskOutcome};
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::state::Dest;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, context};

/// Why the store does not give an object.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It has no such object, or only a damaged copy.
    Lost(String),
    /// Something else, such as a full store: the object is not lost.
    Failed(RayError),
}

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
        loop {
            let slot = self.read(|state| state.objects.slot(&object).cloned());
            return match slot {
                Some(Slot::Pending) => None,
                Some(Slot::Inline(bytes)) => Some(Ok(Found::Encoded(bytes))),
                Some(Slot::Native(value)) => Some(Ok(Found::Native(value))),
                Some(Slot::Failed(error)) => Some(Err(error)),
                Some(Slot::Stored { .. }) => match self.read_stored(object) {
                    Ok(bytes) => Some(Ok(Found::Encoded(bytes))),
                    Err(Unreadable::Failed(error)) => Some(Err(error)),
                    Err(Unreadable::Lost(why)) => {
                        self.report_lost(object, &why);
                        continue;
                    }
                },
                None => Some(Err(RayError::SessionEnded {})),
            };
        }
    }

    /// Has an object made again that the store has lost; unless it was, meanwhile.
    fn report_lost(self: &Arc<Self>, object: ObjectId, why: &str) {
        if !self.is_stored(object) {
            self.with(|state, now, out| {
                if let Some(owner) = state.refs.get(&object).map(|report| report.owner) {
                    state.unreadable(object, owner, why, now, out);
                }
            });
        }
    }

    /// A worker that could not read an argument may have looked before it was made again: then it is not lost.
    pub(crate) fn find_losses(&self, outcome: &mut TaskOutcome) {
        if let TaskOutcome::ArgumentUnreadable { object, lost, .. } = outcome {
            *lost = !self.is_stored(*object);
        }
    }

    /// Whether the node's store has the object, in memory or on disk.
    pub(crate) fn is_stored(&self, object: ObjectId) -> bool {
        let key = ray_objstore::Key(*object.as_bytes());
        // A store that has ended has nothing to lose any more.
        self.store.contains(&key).unwrap_or(true)
    }

    /// Reads an object from the node's store, in place.
    pub(crate) fn read_stored(&self, object: ObjectId) -> Result<Bytes, Unreadable> {
        use ray_objstore::Error;
        let key = ray_objstore::Key(*object.as_bytes());
        match self.store.get(&key) {
            Ok(view) => Ok(Bytes::from_owner(view)),
            Err(error @ (Error::Lost { .. } | Error::NotFound { .. })) => Err(Unreadable::Lost(error.to_string())),
            Err(Error::StoreGone) => Err(Unreadable::Failed(RayError::SessionEnded {})),
            Err(error) => Err(Unreadable::Failed(RayError::Store { why: error.to_string() })),
        }
    }

    /// Reads an object that this process has only just heard of; waits if it has to be made again.
    pub(crate) fn read_borrowed(self: &Arc<Self>, object: ObjectId, owner: WorkerId) -> Result<Bytes> {
        match self.read_stored(object) {
            Ok(bytes) => return Ok(bytes),
            Err(Unreadable::Failed(error)) => return Err(error),
            Err(Unreadable::Lost(why)) => {
                self.with(|state, now, out| state.unreadable(object, owner, &why, now, out));
            }
        }
        loop {
            self.block_until(&[(object, owner)], 1, None);
            match self.ready_value(object) {
                Some(Ok(Found::Encoded(bytes))) => return Ok(bytes),
                Some(Ok(Found::Native(value))) => return value.encoded(),
                Some(Err(error)) => return Err(error),
                None => {}
            }
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
        self.rings.wait_for(self, &waiter, deadline)
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
            if !waiter.is_done() {
                released = released.or_else(|| self.release_cpu());
                if !self.rings.wait_for(self, &waiter, deadline) {
                    return false;
                }
            }
            if self.has_failed(target.0) {
                return true;
            }
        }
        true
    }

    /// Whether the object will never have a value.
    pub(crate) fn has_failed(&self, object: ObjectId) -> bool {
        self.read(|state| matches!(state.objects.slot(&object), Some(Slot::Failed(_))))
    }

    /// Refuses a wait, within an exclusive call of an actor, for a call on the same actor: it could never start.
    pub(crate) fn check_deadlock(&self, targets: &[Target]) -> Result<()> {
        let Some(context) = context::current().filter(|context| context.exclusive) else {
            return Ok(());
        };
        let Some(actor) = context.actor else { return Ok(()) };
        self.read(|state| {
            let own_call = |(object, _): &Target| {
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
        context::in_leased_task().then(|| self.lend_cpu())
    }

    /// Lets the CPU of the running task serve others until the guard drops; tasks that were sent ahead go elsewhere.
    pub(crate) fn lend_cpu(self: &Arc<Self>) -> Blocked {
        let owners = self.rings.owners();
        self.with(|_, _, out| {
            out.send(Dest::Raylet, Frame::Blocked {});
            for owner in owners {
                out.send(Dest::Worker(owner), Frame::Stalled {});
            }
        });
        Blocked(self.clone())
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
