//! What comes for an actor: calls, which its queue takes in, their cancels, and the death of who sent them.

use std::sync::Arc;

use super::ledger::Known;
use super::{ActorHost, ActorQueue, Kind, Turn};
use crate::error::{RayError, Result};
use crate::ids::{TaskId, WorkerId};
use crate::wire::TaskOutcome;
use crate::worker::Worker;
use crate::worker::execute::outcome::cancelled;
use crate::worker::execute::{Job, answer};

impl ActorHost {
    /// A call has arrived.
    pub(in crate::worker::execute) fn arrived(self: &Arc<Self>, worker: &Arc<Worker>, job: Job) {
        let (mut refused, mut known) = (Vec::new(), Vec::new());
        {
            // One lock from the turn to the queue: one thread reads the ring, another the socket.
            let mut calls = self.calls();
            if calls.parting {
                return;
            }
            for mut job in calls.arrivals.arrived(job) {
                // A call runs where the actor is.
                job.spec.group = self.spec.strategy.group();
                job.spec.captures = self.spec.strategy.captures();
                if !self.spec.resources.is_empty() {
                    job.spec.resources = Some(self.spec.resources.clone());
                }
                let kind = self.kind_of(&job, &calls.queue);
                let kind = match kind.and_then(|kind| self.refuse_awaited(&job, &calls.awaited).map_or(Ok(kind), Err)) {
                    Ok(kind) => kind,
                    Err(error) => {
                        refused.push((job, TaskOutcome::Failed { error, retry: false }));
                        continue;
                    }
                };
                let saving = calls.saving.as_mut().zip(job.spec.call.as_ref());
                match saving.map(|(saving, call)| saving.ledger.arrived(job.from, call)) {
                    None | Some(Known::New) => calls.queue.push(kind, Turn::Call(job)),
                    Some(Known::Ended(outcome)) => known.push((job, outcome)),
                }
            }
        }
        for (job, outcome) in refused {
            answer(worker, job, outcome, true);
        }
        for (job, outcome) in known {
            let outcome = self.known_outcome(worker, &job, outcome);
            answer(worker, job, outcome, true);
        }
        self.start(worker, 0);
    }

    fn kind_of(&self, job: &Job, queue: &ActorQueue<Turn>) -> Result<Kind> {
        let reached = &self.spec.actor;
        let Some(call) = &job.spec.call else {
            let task = job.spec.task;
            return Err(RayError::internal(format!(
                "task {task}, which is no call, reached {reached}"
            )));
        };
        if call.actor != *reached {
            let why = format!("a call for actor {} reached {reached}", call.actor);
            return Err(RayError::internal(why));
        }
        Kind::of_call(call, self.method(job), &self.type_name, |group| queue.group(group))
    }

    /// Cancels a call that has not started.
    pub(in crate::worker::execute) fn cancel_waiting(self: &Arc<Self>, worker: &Arc<Worker>, task: TaskId) {
        let waiting = {
            let is_it = |turn: &Turn| matches!(turn, Turn::Call(job) if job.spec.task == task);
            let mut calls = self.calls();
            let turn = calls.queue.remove(is_it).or_else(|| {
                // Its turn has come, but no thread has taken it yet.
                let place = calls.ready.iter().position(|(_, turn)| is_it(turn))?;
                let (kind, turn) = calls.ready.remove(place)?;
                calls.queue.ended(kind);
                Some(turn)
            });
            match turn {
                Some(Turn::Call(job)) => {
                    let outcome = cancelled(&job);
                    if let Some((saving, call)) = calls.saving.as_mut().zip(job.spec.call.as_ref()) {
                        saving.ledger.ended(job.from, call.sequence, &outcome);
                    }
                    Some((job, outcome))
                }
                _ => None,
            }
        };
        if let Some((job, outcome)) = waiting {
            answer(worker, job, outcome, true);
            // Those behind it may not have to wait any longer.
            self.start(worker, 0);
        }
    }

    /// A caller is dead: it sends nothing again.
    pub(in crate::worker::execute) fn caller_gone(&self, worker: &Arc<Worker>, caller: WorkerId) {
        let early = {
            let mut calls = self.calls();
            if let Some(saving) = &mut calls.saving {
                saving.ledger.forget(caller);
            }
            calls.arrivals.caller_gone(caller)
        };
        // The calls before these will not come. Nobody hears the answer, which lets go of their arguments.
        for job in early {
            let error = RayError::Disconnected {
                peer: format!("the caller {caller}"),
                why: "it ended before it had sent its earlier calls".into(),
            };
            answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
        }
    }
}
