//! Another attempt: whether a task that failed has one, and after which pause (CO-2).

use std::time::{Duration, Instant};

use super::{Out, State, Timer};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::DeathCause;
use crate::worker::objects::Slot;
use crate::worker::task::Phase;

/// The longest pause before a task runs again whose worker was killed for memory; as in Ray.
const LONGEST_OOM_PAUSE: Duration = Duration::from_secs(60);

impl State {
    /// The task's own code failed.
    pub(super) fn attempt_failed(&mut self, task: TaskId, error: RayError, retry: bool, now: Instant, out: &mut Out) {
        let restarts = self.ended_to_restart(task);
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        if !pending.cancelled && (restarts || (retry && pending.take_retry())) {
            let pause = pending.pause(random_unit(task, pending.failures));
            let pause = if restarts { Duration::ZERO } else { pause };
            self.retry_after(task, pause, now, out);
        } else {
            self.finish_failed(task, &error, now, out);
        }
    }

    /// The worker that had the task is dead.
    pub(super) fn attempt_lost(
        &mut self,
        task: TaskId,
        worker: WorkerId,
        cause: &DeathCause,
        now: Instant,
        out: &mut Out,
    ) {
        let pid = self.pids.get(&worker).copied().unwrap_or_default();
        let oom_base = self.oom_pause;
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        if let DeathCause::GroupRemoved { group } = cause {
            // It would fare no better a second time.
            let error = super::groups::removed(*group);
            return self.finish_failed(task, &error, now, out);
        }
        if matches!(cause, DeathCause::OutOfMemory { .. }) && pending.spec.retriable && !pending.cancelled {
            // As in Ray: these take no retry, since the task may not be to blame, and pause ever longer.
            let pause = oom_base
                .saturating_mul(1 << pending.oom_failures.min(16))
                .min(LONGEST_OOM_PAUSE);
            pending.oom_failures += 1;
            tracing::warn!(target: "ray_core::worker", %task, name = pending.name(), pid, %cause, ?pause, "retrying a task after a pause");
            self.retry_after(task, pause, now, out);
            return;
        }
        if !pending.cancelled && pending.take_retry() {
            tracing::warn!(target: "ray_core::worker", %task, name = pending.name(), pid, %cause, "retrying a task whose worker died");
            let pause = pending.pause(random_unit(task, pending.failures));
            self.retry_after(task, pause, now, out);
            return;
        }
        let name = pending.name().to_owned();
        let error = match cause {
            DeathCause::OutOfMemory { report } => RayError::OutOfMemory {
                name,
                report: report.clone(),
            },
            _ => RayError::WorkerCrashed {
                task,
                name,
                attempt: pending.spec.attempt,
                pid,
                cause: cause.to_string(),
            },
        };
        self.free_untold(task, out);
        self.finish_failed(task, &error, now, out);
    }

    /// The worker may have written results to the store and not told of them. Those that are there from an earlier run
    /// stay.
    pub(super) fn free_untold(&mut self, task: TaskId, out: &mut Out) {
        if let Some(pending) = self.tasks.get(&task) {
            let untold = |object: &ObjectId| !matches!(self.objects.slot(object), Some(Slot::Stored { .. }));
            out.free.extend(pending.results().filter(untold));
        }
    }

    /// Runs a task again after a pause.
    fn retry_after(&mut self, task: TaskId, pause: Duration, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.spec.attempt += 1;
        pending.failures += 1;
        if let Some(actor) = pending.actor {
            self.call_runs_again(actor, task);
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        if pause.is_zero() {
            self.retry(task, now, out);
        } else {
            pending.phase = Phase::BackingOff;
            out.timers.push((pause, Timer::Retry(task)));
        }
    }

    pub(crate) fn retry(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task) else { return };
        if let Some(actor) = pending.actor {
            self.enqueue_call(actor, task);
        }
        self.await_dependencies(task, now, out);
    }
}

/// A number in 0..1 that differs from task to task and from failure to failure: the jitter of a back-off needs no more.
fn random_unit(task: TaskId, failures: u32) -> f64 {
    use std::hash::BuildHasher;
    let hash = crate::ids::IdHasher::default().hash_one((task, failures));
    f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
