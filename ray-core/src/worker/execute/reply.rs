//! The answer of a job (EX-1), and the end of what its arguments hold (EX-2).

use std::sync::Arc;
use std::time::Duration;

use super::Job;
use crate::wire::{Frame, ObjectValue, TaskOutcome};
use crate::worker::Worker;
use crate::worker::refs::Hold;
use crate::worker::state::{Dest, Outgoing};

/// Sends the answer of a job (EX-1) and then lets go of its arguments (EX-2).
pub(super) fn answer(worker: &Arc<Worker>, job: Job, outcome: TaskOutcome, reusable: bool) {
    answer_after(worker, job, outcome, reusable, Duration::ZERO);
}

/// As [`answer`], with how long it ran.
pub(super) fn answer_after(worker: &Arc<Worker>, job: Job, outcome: TaskOutcome, reusable: bool, ran: Duration) {
    let ran = u32::try_from(ran.as_micros()).unwrap_or(u32::MAX);
    let (task, attempt) = (job.spec.task, job.spec.attempt);
    let returned: Vec<_> = match &outcome {
        TaskOutcome::Returned { values } => values.iter().flat_map(ObjectValue::references).collect(),
        _ => Vec::new(),
    };
    if job.spec.stream.is_some() {
        worker.executor.streams.close(task);
    }
    if !reusable {
        worker.executor.orders().retired = true;
    }
    let to_itself = job.from == worker.identity.worker;
    let mut outcome = outcome;
    if to_itself {
        worker.find_losses(&mut outcome);
    }
    worker.with(|state, _, out| {
        let answer = |outcome| Frame::TaskDone {
            task,
            attempt,
            outcome,
            reusable,
            ran,
        };
        if to_itself {
            // At once: until then nobody else may hold the references inside.
            state.task_done(job.from, (task, attempt), outcome, (reusable, ran), out);
        } else if job.spec.stream.is_some() {
            // Behind its items, which go by socket.
            out.sends
                .push((Dest::Worker(job.from), Outgoing::Ordered(answer(outcome))));
        } else {
            out.send(Dest::Worker(job.from), answer(outcome));
        }
        for (object, _) in job.held.iter().chain(&returned) {
            state.unhold(*object, Hold::Task, out);
        }
    });
}

/// A job that has been answered has ended: what its outcome and its arguments hold goes.
pub(super) fn let_go(worker: &Arc<Worker>, job: &Job, outcome: &TaskOutcome) {
    if job.spec.stream.is_some() {
        worker.executor.streams.close(job.spec.task);
    }
    worker.with(|state, _, out| {
        if let TaskOutcome::Returned { values } = outcome {
            values.iter().for_each(|value| state.let_go(value, out));
        }
        job.held
            .iter()
            .for_each(|(object, _)| state.unhold(*object, Hold::Task, out));
    });
}
