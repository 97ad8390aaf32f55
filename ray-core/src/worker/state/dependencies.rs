//! What a task waits for before it can run: the objects among its arguments, ready and in a form that can travel.

use std::time::Instant;

use super::{Out, State};
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, TaskId};
use crate::wire::{ArgSpec, MOST_INLINE};
use crate::worker::objects::{Interest, Slot};
use crate::worker::task::Phase;

/// Whether arguments that travel whole can do so in one frame. Small ones always can; but values that came from other jobs are
/// not in this job's part of the store, however large.
pub(super) fn fit_a_frame(args: &[ArgSpec]) -> Result<(), String> {
    let bytes: usize = args.iter().map(ArgSpec::inline_len).sum();
    if bytes <= MOST_INLINE {
        return Ok(());
    }
    Err(format!(
        "its arguments from other jobs come to {bytes} bytes, of which at most {MOST_INLINE} go with a call: get() the large \
         ones and put() them"
    ))
}

impl State {
    /// Resolves what is ready and registers for what is not; queues the task when nothing is missing.
    pub(super) fn await_dependencies(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Waiting;
        let dependencies = pending.dependencies.clone();
        let mut missing = 0;
        for dependency in &dependencies {
            if self.wants_encoded(task, dependency.object, out) {
                missing += 1;
            } else if self
                .objects
                .add_interest(&dependency.object, Interest::Dependent(task))
                .is_ok()
            {
                missing += 1;
                self.subscribe(dependency.object, dependency.owner, out);
            } else if !self.resolve(task, dependency.object, now, out) {
                return;
            }
        }
        if let Some(pending) = self.tasks.get_mut(&task) {
            pending.missing = missing;
        }
        if missing == 0 {
            self.ready_to_run(task, now, out);
        }
    }

    /// One of the task's dependencies became ready.
    pub(super) fn dependency_ready(&mut self, task: TaskId, object: ObjectId, now: Instant, out: &mut Out) {
        if self.wants_encoded(task, object, out) || !self.resolve(task, object, now, out) {
            return;
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 && pending.phase == Phase::Waiting {
            self.ready_to_run(task, now, out);
        }
    }

    /// Whether the task goes to another process and the object has not been encoded yet: then it waits for that.
    fn wants_encoded(&mut self, task: TaskId, object: ObjectId, out: &mut Out) -> bool {
        if !matches!(self.objects.slot(&object), Some(Slot::Native(_))) || self.runs_here(task) {
            return false;
        }
        self.objects.want_encoded(object, Interest::Dependent(task), out);
        true
    }

    pub(super) fn runs_here(&self, task: TaskId) -> bool {
        let Some(pending) = self.tasks.get(&task) else {
            return true;
        };
        match pending.actor {
            Some(actor) => self.runs_actor(actor),
            None => pending.template.shape.shared && self.shared.hosts,
        }
    }

    /// Whether the actor's calls run in this process, beside other work.
    pub(super) fn runs_actor(&self, actor: ActorId) -> bool {
        let of_host = || self.actors.get(&actor).is_some_and(|client| client.is_of_host());
        self.hosts_actor(actor) || (self.shared.hosts && of_host())
    }

    /// Writes a ready dependency into the task's arguments. A failed one fails the task: `false`.
    fn resolve(&mut self, task: TaskId, object: ObjectId, now: Instant, out: &mut Out) -> bool {
        let value = match self.objects.slot(&object) {
            Some(Slot::Inline(bytes)) => Some(bytes.clone()),
            Some(Slot::Failed(error)) => {
                let error = error.clone();
                self.finish_failed(task, &error, now, out);
                return false;
            }
            Some(Slot::Native(_) | Slot::Stored { .. } | Slot::Pending) | None => None,
        };
        let stays = self.runs_here(task);
        let Some(pending) = self.tasks.get_mut(&task) else {
            return false;
        };
        if let Some(bytes) = value {
            for dependency in pending
                .dependencies
                .iter()
                .filter(|dependency| dependency.object == object)
            {
                if let Some(arg) = pending.spec.args.get_mut(dependency.position as usize) {
                    *arg = ArgSpec::Inline { object: bytes.clone() };
                }
            }
            if !stays && let Err(why) = fit_a_frame(&pending.spec.args) {
                let call = format!("task `{}`", pending.template.name);
                let error = RayError::Unsupported { call, why };
                self.finish_failed(task, &error, now, out);
                return false;
            }
        }
        true
    }

    fn ready_to_run(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Queued;
        match pending.actor {
            Some(actor) => self.drive_actor(actor, now, out),
            None => {
                let shape = pending.template.shape.clone();
                self.enqueue(shape, task, now, out);
            }
        }
    }
}
