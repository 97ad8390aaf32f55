//! Making lost objects again: an object whose value the store has lost comes back by running its task again, and before it
//! the tasks that make what that one needs.
//!
//! - LO-1: only a value that was in the store is ever made again; who waits for it meanwhile waits on.
//! - LO-2: each such run takes one of the task's retries; for several items of one stream, which are found to be lost one
//!   by one, one retry is taken.
//!   A call of an actor runs again in the actor as it is by then, and out of turn: no call that waits for its result may
//!   hold it back.
//! - LO-3: a task is kept for this while [`LineageTable`](crate::worker::refs::LineageTable) says so, and not otherwise.
//! - LO-4: a value that has not left its process cannot be lost, but may go to the store later, when somebody else needs it:
//!   its task is kept from its end on, unless the value is small by its type. A task that was given values which never left
//!   the process cannot run again: it has taken them.

use std::time::Instant;

use super::{ActorClient, Dest, Out, State, Timer};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::{ArgSpec, Frame, TaskSpec};
use crate::worker::local::LocalTask;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::task::{Dependency, PendingTask, Phase};

impl State {
    /// Keeps a task that has ended, if its results can be lost and it may run again. Call it while its arguments are held.
    pub(super) fn keep_lineage(&mut self, mut pending: Box<PendingTask>, out: &mut Out) {
        let task = pending.id();
        // One that has run again is in the table.
        if pending.runs == 0 {
            let repeatable = pending.spec.retriable
                && !self.ran_as_it_is(&pending)
                && !pending.spec.args.iter().any(was_given_native);
            // An item may have been lost before the stream's end. And LO-4.
            let can_be_lost = |object: ObjectId| match self.objects.slot(&object) {
                Some(Slot::Stored { .. } | Slot::Pending) => true,
                Some(Slot::Native(value)) => value.may_be_large(),
                _ => false,
            };
            if !repeatable || !pending.made().any(can_be_lost) {
                return;
            }
            take_apart(&mut pending);
            let mine = pending.references().filter(|(_, owner)| *owner == self.me);
            let results = pending.made().filter(|object| self.refs.contains(object)).count();
            let bytes = usize::try_from(pending.bytes).unwrap_or(usize::MAX);
            self.lineage.submitted(
                task,
                bytes,
                mine.map(|(object, _)| object),
                u32::try_from(results).unwrap_or(u32::MAX),
            );
        }
        pending.cancelled = false;
        self.kept.insert(task, pending);
        self.lineage.finished(task, &mut out.refs);
    }

    /// As [`keep_lineage`](Self::keep_lineage), for a local task whose result is known here and settled.
    pub(crate) fn keep_local_lineage(&mut self, task: &LocalTask, out: &mut Out) {
        let template = &task.template;
        let value = self.objects.native(&task.object());
        let can_be_lost = value.is_some_and(|value| value.may_be_large());
        if !task.is_repeatable || template.max_retries == 0 || !can_be_lost {
            return;
        }
        let spec = TaskSpec {
            retriable: true,
            ..template.spec(task.id, self.me, task.parent)
        };
        let pending = PendingTask::new(spec, template.clone(), Some(template.max_retries));
        self.keep_lineage(Box::new(pending), out);
    }

    /// Whether it is a stream or a call that ran in this process: what these made is not made again.
    fn ran_as_it_is(&self, pending: &PendingTask) -> bool {
        match pending.actor {
            Some(actor) => self.runs_actor(actor),
            None => pending.spec.stream.is_some() && pending.template.shape.shared && self.shared.hosts,
        }
    }

    /// The store could not give an object to this process.
    pub(crate) fn unreadable(&mut self, object: ObjectId, owner: WorkerId, why: &str, now: Instant, out: &mut Out) {
        if owner == self.me {
            self.lost(object, why, now, out);
            return;
        }
        // The news may be older than the owner's death, or than a value made again.
        if !matches!(self.objects.slot(&object), Some(Slot::Stored { .. } | Slot::Pending)) {
            return;
        }
        self.objects.reset(&object);
        let why = why.to_owned();
        out.send(Dest::Worker(owner), Frame::ObjectUnreadable { object, why });
    }

    /// The store has lost an object of ours: it is made again, or is an error from now on.
    pub(crate) fn lost(&mut self, object: ObjectId, why: &str, now: Instant, out: &mut Out) {
        if !matches!(self.objects.slot(&object), Some(Slot::Stored { .. })) {
            // It is being made again already, or has failed.
            return;
        }
        let making = self.tasks.get(&object.task()).filter(|_| !object.is_put());
        if making.is_some_and(|pending| pending.spec.stream.is_some() && pending.runs == 0) {
            if let Err(reason) = self.item_lost(object, out) {
                let reason = format!("{why}; and it cannot be made again: {reason}");
                self.lost_for_good(object, reason, now, out);
            }
            return;
        }
        match self.plan(object) {
            Ok(order) => {
                tracing::warn!(target: "ray_core::worker", %object, why, tasks = order.len(), "making a lost object again");
                self.objects.reset(&object);
                for task in order {
                    self.run_again(task, object, now, out);
                }
            }
            Err(reason) => {
                let reason = format!("{why}; and it cannot be made again: {reason}");
                self.lost_for_good(object, reason, now, out);
            }
        }
    }

    pub(super) fn lost_for_good(&mut self, object: ObjectId, reason: String, now: Instant, out: &mut Out) {
        self.settle(object, Slot::failed(RayError::ObjectLost { object, reason }), now, out);
        // The store remembers lost objects until they are freed.
        out.free.push(object);
    }

    /// The tasks to run again, in order, or why that cannot be.
    pub(super) fn plan(&self, object: ObjectId) -> Result<Vec<TaskId>, String> {
        let has_value = |arg: &ObjectId| self.objects.slot(arg).is_some();
        let order = self.lineage.tasks_to_rerun(object, has_value);
        let order = order.map_err(|error| error.to_string())?;
        for task in &order {
            let Some(pending) = self.kept.get(task) else {
                return Err(format!("task {task} is not kept"));
            };
            if !pending.may_remake(&object) {
                return Err(pending.no_retries());
            }
            if let Some(actor) = pending.actor {
                let held = pending.handle.is_some_and(|handle| self.refs.contains(&handle));
                if !held || self.actors.get(&actor).is_none_or(ActorClient::is_dead) {
                    let name = pending.name();
                    return Err(format!(
                        "the actor of call `{name}` ({task}) has ended, or this process has no handle of it any more"
                    ));
                }
            }
            let foreign = pending
                .references()
                .find(|(arg, owner)| *owner != self.me && !has_value(arg));
            if let Some((arg, owner)) = foreign {
                return Err(format!(
                    "argument {arg} of task `{}` ({task}) belongs to worker {owner} and was given back",
                    pending.name()
                ));
            }
        }
        Ok(order)
    }

    /// LO-2.
    pub(super) fn run_again(&mut self, task: TaskId, for_object: ObjectId, now: Instant, out: &mut Out) {
        let Some(mut pending) = self.kept.remove(&task) else {
            return;
        };
        if let Err(error) = self.lineage.resubmitted(task) {
            tracing::error!(target: "ray_core::worker", %error, "a kept task is not in the lineage");
            return;
        }
        pending.pay_for(&for_object);
        pending.spec.attempt += 1;
        pending.runs += 1;
        pending.phase = Phase::Waiting;
        for (object, _) in pending.references() {
            if self.objects.slot(&object).is_some() {
                self.hold(object, Hold::Task);
            } else {
                self.refs.own(object, Hold::Task);
                self.objects.expect(object);
                self.lineage.back_in_scope(object);
            }
        }
        if let Some(handle) = pending.handle {
            self.hold(handle, Hold::Task);
        }
        if let Some(call) = &mut pending.spec.call {
            // As a new call: its turn was long ago.
            call.sequence = 0;
        }
        let actor = pending.actor;
        self.common.pending.add(pending.bytes);
        if let Some(timeout) = pending.template.options.timeout {
            pending.due = now.checked_add(timeout);
            out.timers.push((timeout, Timer::Deadline(task, timeout, pending.runs)));
        }
        self.tasks.insert(task, pending);
        if let Some(actor) = actor {
            self.enqueue_call(actor, task);
        }
        self.await_dependencies(task, now, out);
    }

    /// A worker gives a task back, because it cannot read an argument. The task waits until the argument is there again;
    /// that takes none of its retries.
    pub(crate) fn argument_unreadable(
        &mut self,
        task: TaskId,
        object: ObjectId,
        lost: Option<&str>,
        now: Instant,
        out: &mut Out,
    ) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        if pending.cancelled {
            self.forget_task(task, now, out);
            return;
        }
        pending.phase = Phase::Waiting;
        let actor = pending.actor;
        let owner = pending
            .references()
            .find(|(arg, _)| *arg == object)
            .map(|(_, owner)| owner);
        if let Some(actor) = actor {
            self.call_returned(actor, task);
        }
        if let Some((owner, why)) = owner.zip(lost) {
            self.unreadable(object, owner, why, now, out);
        }
        self.await_dependencies(task, now, out);
    }
}

/// Whether the argument was a value that never left this process: its place in the specification is empty, which no object
/// is.
fn was_given_native(arg: &ArgSpec) -> bool {
    matches!(arg, ArgSpec::Inline { object } if object.is_empty())
}

/// Sorts the references of a task anew: arguments that came inline are values now, with references inside.
fn take_apart(pending: &mut PendingTask) {
    pending.dependencies.clear();
    pending.nested.clear();
    for (position, arg) in (0..).zip(&pending.spec.args) {
        match arg {
            ArgSpec::Stored { object, owner, .. } => pending.dependencies.push(Dependency {
                position,
                object: *object,
                owner: *owner,
            }),
            ArgSpec::Inline { .. } => pending.nested.extend(arg.references()),
        }
    }
}
