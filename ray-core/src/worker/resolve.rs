//! From references to values: `get` and `wait`, blocking or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::wire::{Frame, TaskOutcome};
use crate::worker::context::Hosting;
use crate::worker::local::LocalTask;
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::state::{Dest, State};
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, context, execute};

/// Why the store does not give an object.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It has no such object, or only a damaged copy.
    Lost(String),
    /// Something else, such as a full store: the object is not lost.
    Failed(RayError),
}

impl From<Unreadable> for RayError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Failed(error) => error,
            Unreadable::Lost(why) => Self::Store { why },
        }
    }
}

/// A value at hand.
#[derive(Debug)]
pub(crate) enum Found {
    /// An encoded object, in this process's memory or in the store.
    Encoded(Bytes),
    /// A value that never left this process.
    Native(Arc<NativeValue>),
    /// As it is, and with it the last handle.
    Moved(Arc<NativeValue>),
}

/// So many objects are waited for with one wake-up.
const TOGETHER: usize = 256;

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// An object that the state knows, and its owner.
    Known(ObjectId, WorkerId),
    /// The result of a local task.
    Local(Arc<LocalTask>),
}

impl Target {
    pub(crate) fn object(&self) -> ObjectId {
        match self {
            Self::Known(object, _) => *object,
            Self::Local(task) => task.object(),
        }
    }

    /// Whether it is ready, and whether it has failed. `None`: it is pending.
    fn outcome(&self, state: &State) -> Option<bool> {
        match self {
            Self::Local(task) if !task.is_handed_in() => task.is_settled().then(|| task.has_failed()),
            _ => match state.objects.slot(&self.object()) {
                Some(Slot::Pending) => None,
                slot => Some(matches!(slot, Some(Slot::Failed(_)))),
            },
        }
    }

    fn is_ready(&self, state: &State) -> bool {
        self.outcome(state).is_some()
    }
}

impl Worker {
    /// The value of a ready object for the holder of its last handle, which ends with this call; with other holds it is
    /// as [`ready_value`](Self::ready_value). `None` if it is not ready.
    pub(crate) fn last_value(self: &Arc<Self>, object: ObjectId) -> Option<Result<Found>> {
        let moved = self.with(|state, _, out| {
            if !state.refs.is_only_hold(&object, Hold::Handle) {
                return None;
            }
            let native = state.objects.take_native(&object)?;
            state.drop_handle(object, out);
            Some(native)
        });
        match moved {
            Some(native) => Some(Ok(Found::Moved(native))),
            None => self.ready_value(object),
        }
    }

    /// Runs the very task that makes the object on this thread, if it has not been started. Returns whether it did.
    fn run_inline(self: &Arc<Self>, target: &Target) -> bool {
        let object = match target {
            Target::Known(object, _) => object,
            // A call that waits for its actor to be constructed.
            Target::Local(task) => {
                let constructor = task.call.as_ref().filter(|_| task.is_parked());
                let constructor = constructor.and_then(|call| self.read(|state| state.constructor_of(call.actor)));
                return constructor.is_some_and(|constructor| execute::shared::run_for_caller(self, constructor));
            }
        };
        if object.is_put() || object.owner_prefix() != self.identity.worker.prefix() {
            return false;
        }
        execute::shared::run_for_caller(self, object.task())
    }

    /// The value of a ready object; `None` if it is not ready.
    pub(crate) fn ready_value(self: &Arc<Self>, object: ObjectId) -> Option<Result<Found>> {
        loop {
            let slot = self.read(|state| state.objects.slot(&object).cloned());
            return match slot {
                Some(Slot::Pending) => None,
                Some(Slot::Inline(bytes)) => Some(Ok(Found::Encoded(bytes))),
                Some(Slot::Native(value)) => Some(Ok(Found::Native(value))),
                Some(Slot::Failed(error)) => Some(Err(*error)),
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

    /// Reads a stored object that others hold as long as this call lasts; waits on this thread if it has to be made again.
    pub(crate) fn read_arrived(self: &Arc<Self>, object: ObjectId, owner: WorkerId) -> Result<Bytes> {
        let why = match self.read_stored(object) {
            Ok(bytes) => return Ok(bytes),
            Err(Unreadable::Failed(error)) => return Err(error),
            Err(Unreadable::Lost(why)) => why,
        };
        // This process may not have heard of the object so far.
        self.with(|state, _, out| state.introduce(object, owner, Hold::Task, out));
        self.report_lost(object, &why);
        let read = loop {
            self.block_until(&[Target::Known(object, owner)], 1, None);
            match self.ready_value(object) {
                Some(Ok(Found::Encoded(bytes))) => break Ok(bytes),
                Some(Ok(Found::Native(value) | Found::Moved(value))) => break self.encoded_form(object, &value),
                Some(Err(error)) => break Err(error),
                None => {}
            }
        };
        self.with(|state, _, out| state.unhold(object, Hold::Task, out));
        read
    }

    /// A waiter that is done when `wanted` of the objects are ready.
    pub(crate) fn waiter(self: &Arc<Self>, targets: &[Target], wanted: usize) -> Arc<Waiter> {
        self.watch(targets, |pending| {
            Waiter::new(wanted.saturating_sub(targets.len() - pending))
        })
    }

    /// Makes a waiter, with the number of objects that are pending, and has it told when these are ready.
    fn watch(self: &Arc<Self>, targets: &[Target], new: impl FnOnce(usize) -> Waiter) -> Arc<Waiter> {
        let (waiter, local) = self.with(|state, _, out| {
            let pending: Vec<&Target> = targets.iter().filter(|target| !target.is_ready(state)).collect();
            let waiter = Arc::new(new(pending.len()));
            if waiter.is_done() {
                return (waiter, Vec::new());
            }
            let mut local = Vec::new();
            for target in pending {
                match target {
                    Target::Known(object, owner) => state.watch(&[(*object, *owner)], &waiter, out),
                    Target::Local(task) => local.push(task),
                }
            }
            state.shared_waits(out);
            (waiter, local)
        });
        // Without the state's lock (LT-3).
        for task in local {
            if !task.watch(&waiter) {
                if task.has_failed() {
                    waiter.notify_failure();
                } else {
                    waiter.notify();
                }
            }
        }
        waiter
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
        let waiter = self.waiter(targets, wanted);
        // Nobody blocks here: the reactor sees what comes.
        self.rings.listen();
        waiter.done().await;
    }

    /// Blocks until all objects have a value, one has an error and all before it have a value, or the time is over.
    /// Returns `false` only for the time.
    pub(crate) fn block_for_values(self: &Arc<Self>, targets: &[Target], timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut released = None;
        let mut place = 0;
        loop {
            let known = self.read(|state| known_values(state, targets, &mut place));
            let Some(first) = (match known {
                Known::Values | Known::Failure => return true,
                Known::Until(first) => targets.get(first),
            }) else {
                return true;
            };
            if timeout.is_none() && (self.run_inline(first) || execute::local::help(self, &targets[place..])) {
                continue;
            }
            if timeout.is_none()
                && let Target::Known(object, _) = first
                && let Some(task) = execute::inline::may_run(self, *object)
            {
                // It runs on the CPU of the one that waits.
                drop(released.take());
                if execute::inline::run_for_waiter(self, task) {
                    continue;
                }
            }
            let waiter = self.values_waiter(&targets[place..targets.len().min(place + TOGETHER)]);
            if waiter.is_done() {
                continue;
            }
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return false;
            }
            released = released.or_else(|| self.release_cpu());
            if !self.rings.wait_for(self, &waiter, deadline) {
                return false;
            }
        }
    }

    /// A waiter that is done when all of the objects are ready, or one has failed.
    fn values_waiter(self: &Arc<Self>, targets: &[Target]) -> Arc<Waiter> {
        self.watch(targets, Waiter::for_values)
    }

    /// Whether each of the objects is ready.
    pub(crate) fn are_all_ready(&self, targets: &[Target]) -> bool {
        self.read(|state| targets.iter().all(|target| target.is_ready(state)))
    }

    /// Whether the object is ready. One that the store has lost is made again from here on.
    pub(crate) fn has_value_or_error(self: &Arc<Self>, target: &Target) -> bool {
        match target {
            Target::Known(object, _) => self.ready_value(*object).is_some(),
            Target::Local(_) => self.are_all_ready(std::slice::from_ref(target)),
        }
    }

    /// Whether the object will never have a value.
    pub(crate) fn has_failed(&self, target: &Target) -> bool {
        self.read(|state| target.outcome(state) == Some(true))
    }

    /// Refuses a wait, within an exclusive call of an actor, for a call on the same actor: it could never start.
    pub(crate) fn check_deadlock(&self, targets: &[Target]) -> Result<()> {
        let Some(context) = context::current().filter(|context| context.exclusive) else {
            return Ok(());
        };
        let Some(actor) = context.actor else { return Ok(()) };
        self.read(|state| {
            let own_call = |target: &Target| {
                if let Target::Local(task) = target {
                    return !task.is_settled() && task.call.as_ref().is_some_and(|call| call.actor == actor);
                }
                // A call that has ended is waited for no more.
                let pending = state.tasks.get(&target.object().task());
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
        let hosting = context::hosting()?;
        Some(self.lend_cpu(hosting))
    }

    /// Lets the CPU of the running task serve others until the guard drops; tasks that were sent ahead go elsewhere.
    pub(crate) fn lend_cpu(self: &Arc<Self>, hosting: Hosting) -> Blocked {
        let in_pool = execute::shared::is_pool_thread();
        let owners = match hosting {
            Hosting::Process => self.rings.owners(),
            Hosting::Shared(_) => Vec::new(),
        };
        self.with(|state, _, out| match hosting {
            Hosting::Process => {
                out.send(Dest::Raylet, Frame::Blocked { lease: 0 });
                for owner in owners {
                    out.send(Dest::Worker(owner), Frame::Stalled {});
                }
            }
            Hosting::Shared(permit) => state.shared_blocked(permit, in_pool, out),
        });
        Blocked {
            worker: self.clone(),
            hosting,
            in_pool,
        }
    }

    /// Which of the objects are ready, in the order given.
    pub(crate) fn are_ready(&self, targets: &[Target]) -> Vec<bool> {
        self.read(|state| targets.iter().map(|target| target.is_ready(state)).collect())
    }
}

/// Takes the CPU back when the wait is over.
#[derive(Debug)]
pub(crate) struct Blocked {
    worker: Arc<Worker>,
    hosting: Hosting,
    in_pool: bool,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.worker.with(|state, _, out| match self.hosting {
            Hosting::Process => out.send(Dest::Raylet, Frame::Unblocked { lease: 0 }),
            Hosting::Shared(permit) => state.shared_unblocked(permit, self.in_pool, out),
        });
    }
}

/// What is known of a list of objects.
enum Known {
    /// All have values.
    Values,
    /// All have values up to one that failed.
    Failure,
    /// All have values up to this place.
    Until(usize),
}

/// Goes on from `place`, which then is the first object without a value.
fn known_values(state: &State, targets: &[Target], place: &mut usize) -> Known {
    while let Some(target) = targets.get(*place) {
        match target.outcome(state) {
            Some(true) => return Known::Failure,
            None => return Known::Until(*place),
            Some(false) => *place += 1,
        }
    }
    Known::Values
}
