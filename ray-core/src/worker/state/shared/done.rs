//! The end of a piece of work: what it yielded goes to its objects, and its permit to the next.

use std::time::Instant;

use smallvec::SmallVec;

use super::super::{Out, State};
use super::Permit;
use crate::ids::{ActorId, TaskId};
use crate::wire::TaskOutcome;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::objects::Slot;

/// How a task of this process ended.
#[derive(Debug)]
pub(crate) enum LocalOutcome {
    Returned(SmallVec<[Slot; 1]>),
    Constructed,
    Other(TaskOutcome),
}

/// What is to be told of a piece of work when it has ended.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(super) call: Option<(ActorId, Kind)>,
    pub(super) permit: Option<Permit>,
    pub(super) at: Instant,
}

/// The end of a piece of work.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    /// For a task of this process; others have been answered.
    pub(crate) own: Option<(TaskId, u32, LocalOutcome)>,
    /// How many local tasks it was.
    pub(crate) locals: u32,
}

impl Done {
    /// The end of work that has been answered.
    pub(crate) fn of(receipt: Receipt) -> Self {
        Self {
            receipt,
            own: None,
            locals: 0,
        }
    }
}

impl State {
    /// A piece of work has ended.
    pub(crate) fn shared_done(&mut self, done: Done, now: Instant, out: &mut Out) {
        let Receipt { call, permit, at } = done.receipt;
        self.locals_ended(done.locals, out);
        if let Some((task, attempt, outcome)) = done.own {
            self.local_task_done(task, attempt, outcome, now, out);
        }
        if let Some((actor, kind)) = call {
            self.local_call_ended(actor, kind, out);
        }
        if let Some(permit) = permit {
            if let Some(line) = self.shared.lines.get_mut(permit.line) {
                line.note_run_time(now.saturating_duration_since(at) / done.locals.max(1));
            }
            self.shared_permit_back(permit, now, out);
        }
    }

    fn local_task_done(&mut self, task: TaskId, attempt: u32, outcome: LocalOutcome, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            out.garbage.push(Box::new(outcome));
            return;
        };
        if pending.spec.attempt != attempt {
            out.garbage.push(Box::new(outcome));
            return;
        }
        pending.context = None;
        let actor = pending.actor;
        match outcome {
            LocalOutcome::Returned(slots) if pending.cancelled => {
                out.garbage.push(Box::new(slots));
                self.forget_task(task, now, out);
            }
            LocalOutcome::Returned(slots) => {
                let (results, again) = (pending.results(), pending.runs > 0);
                for (object, slot) in results.zip(slots) {
                    if again && self.objects.slot(&object).is_some_and(|there| !there.is_pending()) {
                        // It ran again for another of its results; this one is there.
                        out.garbage.push(Box::new(slot));
                        continue;
                    }
                    self.settle(object, slot, now, out);
                }
                self.forget_task(task, now, out);
            }
            LocalOutcome::Constructed => {
                if let Some(actor) = actor {
                    self.local_actor_constructed(actor);
                }
                self.forget_task(task, now, out);
            }
            LocalOutcome::Other(TaskOutcome::Failed { error, .. }) if self.is_constructor(actor, task) => {
                self.finish_failed(task, &error, now, out);
                if let Some(actor) = actor {
                    self.bury_local(actor, &error, now, out);
                }
            }
            LocalOutcome::Other(outcome) => {
                let me = self.me;
                self.task_done(me, (task, attempt), outcome, (true, 0), out);
            }
        }
    }
}
