//! Waiting, on this thread or as a future. Who blocks until there are values runs first what it can run itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Target;
use super::target::{Known, known_values, pending_values};
use crate::error::{RayError, Result};
use crate::ids::ObjectId;
use crate::worker::execute::ExclusiveWait;
use crate::worker::state::State;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, context, execute};

/// So many objects are waited for with one wake-up.
const TOGETHER: usize = 256;

impl Worker {
    /// A waiter that is done when `wanted` of the objects are ready.
    pub(crate) fn waiter(self: &Arc<Self>, targets: &[Target], wanted: usize) -> Arc<Waiter> {
        self.watch(
            |state| targets.iter().filter(|target| !target.is_ready(state)).collect(),
            |pending| Waiter::new(wanted.saturating_sub(targets.len() - pending)),
        )
    }

    /// Makes a waiter, with the number of objects that are pending, and has it told when these are ready.
    fn watch<'a>(
        self: &Arc<Self>,
        pending: impl FnOnce(&State) -> Vec<&'a Target>,
        new: impl FnOnce(usize) -> Waiter,
    ) -> Arc<Waiter> {
        let (waiter, local) = self.with(|state, _, out| {
            let pending = pending(state);
            let waiter = Arc::new(new(pending.len()));
            if waiter.is_done() {
                return (waiter, Vec::new());
            }
            let mut local = Vec::new();
            for target in pending {
                match target {
                    Target::Local(task) if !task.is_handed_in() => local.push(task),
                    known => state.watch(&[known.known_as(state)], &waiter, out),
                }
            }
            state.shared_waits(out);
            (waiter, local)
        });
        // Without the state's lock (LT-3).
        for task in local {
            if !task.watch(&waiter) {
                if task.is_handed_in() {
                    // Only what the state knows counts from then on, which may not have heard of the result.
                    self.with(|state, _, out| state.watch(&[(task.object(), state.me)], &waiter, out));
                } else if task.has_failed() {
                    waiter.notify_failure();
                } else {
                    waiter.notify();
                }
            }
        }
        waiter
    }

    /// A waiter that is done when all of the objects are ready up to one that has failed, or another fails.
    fn values_waiter(self: &Arc<Self>, targets: &[Target]) -> Arc<Waiter> {
        self.watch(|state| pending_values(state, targets), Waiter::for_values)
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

    /// Refuses a wait, within an exclusive call of an actor, for a call on the same actor: it could never start. One that
    /// arrives before the guard drops is refused likewise.
    pub(crate) fn check_deadlock(&self, targets: &[Target]) -> Result<Option<ExclusiveWait>> {
        let Some(context) = context::current().filter(|context| context.exclusive) else {
            return Ok(None);
        };
        let Some(actor) = context.actor else { return Ok(None) };
        let (own, pending) = self.read(|state| {
            let own_call = |target: &Target| {
                if let Target::Local(task) = target {
                    return !task.is_settled() && task.call.as_ref().is_some_and(|call| call.actor == actor);
                }
                // A call that has ended is waited for no more.
                let pending = state.tasks.get(&target.object().task());
                pending.is_some_and(|pending| pending.actor == Some(actor))
            };
            let pending = targets.iter().filter(|target| !target.is_ready(state));
            let pending: Vec<ObjectId> = pending.map(Target::object).collect();
            (targets.iter().any(own_call), pending)
        });
        if own {
            return Err(RayError::WouldDeadlock { actor });
        }
        if pending.is_empty() {
            return Ok(None);
        }
        self.executor.waits_exclusively(actor, &pending)
    }
}
