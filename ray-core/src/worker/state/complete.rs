//! The end of tasks: results, failures, cancels and timeouts.
//!
//! - CO-1: a result is settled once an attempt; an answer of an attempt that was given up is dropped.
//! - CO-2: an attempt that may have begun and whose worker died takes one retry; one that failed by its own code takes one
//!   only where the task's rule says so (`retry`).
//! - CO-3: when a task ends, the holds on its arguments end with it.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Dest, Out, State, Timer};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::{Frame, ObjectValue, TaskOutcome};
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::task::{PendingTask, Phase};

/// What a worker gets to end itself before the raylet does it.
const FORCE_GRACE: Duration = Duration::from_secs(1);

impl State {
    /// A worker reports the end of an attempt.
    pub(crate) fn task_done(
        &mut self,
        from: WorkerId,
        (task, attempt): (TaskId, u32),
        outcome: TaskOutcome,
        (reusable, ran): (bool, u32),
        out: &mut Out,
    ) {
        let now = out.now;
        let current = self
            .tasks
            .get(&task)
            .is_some_and(|pending| pending.spec.attempt == attempt);
        if current {
            match outcome {
                TaskOutcome::ArgumentUnreadable { object, why, lost } => {
                    self.argument_unreadable(task, object, lost.then_some(&*why), now, out);
                }
                TaskOutcome::Returned { values } => self.finish_returned(task, from, values, now, out),
                TaskOutcome::StreamEnded { items } => self.finish_stream(task, items, now, out),
                TaskOutcome::Failed { error, retry } => self.attempt_failed(task, error, retry, now, out),
            }
        } else {
            // CO-1: nobody waits for these any more, but the references inside them were handed over.
            self.drop_values(from, task, outcome, out);
        }
        self.lease_idle(from, task, (reusable, ran), now, out);
    }

    fn finish_returned(&mut self, task: TaskId, from: WorkerId, values: Vec<ObjectValue>, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task) else { return };
        if values.len() != pending.spec.returns as usize {
            let why = format!(
                "task {task} returned {} objects instead of {}",
                values.len(),
                pending.spec.returns
            );
            self.finish_failed(task, &RayError::internal(why), now, out);
            return;
        }
        if pending.cancelled {
            self.drop_values(from, task, TaskOutcome::Returned { values }, out);
        } else {
            let results: Vec<ObjectId> = pending.results().collect();
            for (object, value) in results.into_iter().zip(values) {
                self.accept_value(object, from, value, now, out);
            }
        }
        self.forget_task(task, now, out);
    }

    /// Takes a value from the process that made it or owns it.
    pub(super) fn accept_value(
        &mut self,
        object: ObjectId,
        from: WorkerId,
        value: ObjectValue,
        now: Instant,
        out: &mut Out,
    ) {
        let known = self.objects.slot(&object).is_some();
        let slot = match value {
            ObjectValue::Inline { object: bytes } => {
                let tokens = crate::value::refs_of(&bytes).unwrap_or_default();
                let inner = tokens.into_iter().map(|token| (token.object, token.owner)).collect();
                self.take_contained(object, from, inner, known, out);
                // A small value must not keep the whole receive buffer that it came in.
                Slot::Inline(if bytes.len() < 4096 {
                    bytes::Bytes::copy_from_slice(&bytes)
                } else {
                    bytes
                })
            }
            ObjectValue::Stored { size, refs } => {
                self.take_contained(object, from, refs, known, out);
                if !known && object.owner_prefix() == self.me.prefix() {
                    out.free.push(object);
                }
                Slot::Stored { size }
            }
            ObjectValue::Failed { error } => Slot::failed(error),
        };
        self.settle(object, slot, now, out);
    }

    fn drop_values(&mut self, from: WorkerId, task: TaskId, outcome: TaskOutcome, out: &mut Out) {
        if let TaskOutcome::Returned { values } = outcome {
            for (index, value) in (1..).zip(values) {
                self.drop_value(from, task.object(index), value, out);
            }
        }
    }

    /// A value that nobody wants: it leaves the store, and the references inside it go.
    pub(super) fn drop_value(&mut self, from: WorkerId, object: ObjectId, value: ObjectValue, out: &mut Out) {
        // An attempt that still runs makes the same object: then it is not touched.
        let over = self.tasks.get(&object.task()).is_none_or(|pending| pending.cancelled);
        // One that ran again for another of its results has made this one anew, too.
        let wanted = matches!(self.objects.slot(&object), Some(Slot::Stored { .. }));
        let mine = object.owner_prefix() == self.me.prefix();
        if over && !wanted && mine && matches!(value, ObjectValue::Stored { .. }) {
            out.free.push(object);
        }
        self.take_contained(ObjectId::default(), from, value.references(), false, out);
    }

    /// Ends a task without a value.
    pub(super) fn finish_failed(&mut self, task: TaskId, error: &RayError, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task) else { return };
        if !pending.cancelled {
            self.fail_results(task, error, now, out);
        }
        self.forget_task(task, now, out);
    }

    /// Those that have a value keep it: a task can be run again for one of several results.
    fn fail_results(&mut self, task: TaskId, error: &RayError, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task) else { return };
        let results: Vec<ObjectId> = pending.results().collect();
        for object in results {
            if self.objects.slot(&object).is_some_and(Slot::is_pending) {
                self.settle(object, Slot::failed(error.clone()), now, out);
            }
        }
        self.fail_course(task, error, now, out);
    }

    /// CO-3.
    pub(super) fn forget_task(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let missing = self.missing_objects(task);
        let Some(mut pending) = self.tasks.remove(&task) else {
            return;
        };
        let natives = std::mem::take(&mut pending.natives);
        let held: SmallVec<[ObjectId; 4]> = pending.references().map(|(object, _)| object).collect();
        let (actor, handle, bytes) = (pending.actor, pending.handle, pending.bytes);
        self.keep_lineage(pending, out);
        for object in held {
            self.unhold(object, Hold::Task, out);
        }
        if !natives.is_empty() {
            out.garbage.push(Box::new(natives));
        }
        if let Some(handle) = handle {
            self.unhold(handle, Hold::Task, out);
        }
        if let Some(actor) = actor {
            self.call_ended(actor, task, now, out);
        }
        self.remake_items(&missing, now, out);
        self.room_freed(bytes, out);
    }

    /// Cancels a task that this process owns: its results are `Cancelled` at once. Returns the worker that runs it.
    pub(crate) fn cancel(
        &mut self,
        task: TaskId,
        error: &RayError,
        recursive: bool,
        now: Instant,
        out: &mut Out,
    ) -> Option<WorkerId> {
        let pending = self.tasks.get(&task).filter(|pending| !pending.cancelled)?;
        let phase = pending.phase;
        let (shape, actor) = (pending.template.shape.clone(), pending.actor);
        self.fail_results(task, error, now, out);
        let pending = self.tasks.get_mut(&task)?;
        match phase {
            Phase::Pushed(worker) => {
                pending.cancelled = true;
                if self.ringed.contains(&worker) && actor.is_none() {
                    // If the worker has not taken it, this ends it; else the worker is told.
                    out.take_back.push((worker, Some((task, recursive))));
                } else {
                    out.send(Dest::Worker(worker), Frame::CancelTask { task, recursive });
                }
                return Some(worker);
            }
            Phase::Queued if actor.is_none() => {
                self.leave_queue(task, &shape, now, out);
            }
            Phase::Queued | Phase::Waiting | Phase::BackingOff => {}
        }
        self.forget_task(task, now, out);
        None
    }

    /// Has the worker killed that still runs a cancelled task, once what stands behind that task is taken back.
    pub(crate) fn kill_worker(&mut self, worker: WorkerId, task: TaskId, out: &mut Out) {
        if worker == self.me {
            // It runs within a task that waits for it, and was asked to end (`execute/inline.rs`).
            return;
        }
        // The worker ends itself, and only while it runs this very task: the next one must not die in its place. What was
        // sent after it goes elsewhere meanwhile.
        self.use_no_more(worker);
        out.take_back.push((worker, None));
        out.send(Dest::Worker(worker), Frame::EndIfRunning { task });
        out.timers.push((FORCE_GRACE, Timer::Force(task, worker)));
    }

    /// Something is due.
    pub(crate) fn timer(&mut self, timer: Timer, now: Instant, out: &mut Out) {
        match timer {
            Timer::IdleLeases => self.check_idle_leases(now, out),
            Timer::Ahead => self.check_ahead(now, out),
            Timer::LendsNoMore => self.lends_no_more(out),
            Timer::Retry(task) => {
                if self
                    .tasks
                    .get(&task)
                    .is_some_and(|pending| pending.phase == Phase::BackingOff)
                {
                    self.retry(task, now, out);
                }
            }
            Timer::Deadline(task, timeout, run) => self.deadline(task, timeout, run, now, out),
            Timer::Force(task, worker) => {
                let runs_still = |pending: &PendingTask| pending.cancelled && pending.phase == Phase::Pushed(worker);
                if self.tasks.get(&task).is_some_and(|pending| runs_still(pending)) {
                    out.send(Dest::Raylet, Frame::KillWorker { worker, task });
                }
            }
            Timer::Grace(task, attempt) => {
                let Some(pending) = self.tasks.get(&task) else { return };
                if let Phase::Pushed(worker) = pending.phase
                    && pending.spec.attempt == attempt
                    && pending.actor.is_none()
                    && !pending.template.shape.shared
                {
                    self.kill_worker(worker, task, out);
                }
            }
        }
    }

    fn deadline(&mut self, task: TaskId, timeout: Duration, run: u32, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task).filter(|pending| pending.runs == run) else {
            return;
        };
        let attempt = pending.spec.attempt;
        let error = RayError::TaskTimeout {
            task,
            name: pending.name().to_owned(),
            timeout,
        };
        if self.cancel(task, &error, true, now, out).is_some() {
            out.timers.push((self.timeout_grace, Timer::Grace(task, attempt)));
        }
    }
}
