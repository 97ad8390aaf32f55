//! From what a body yields to what its caller gets.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use super::Job;
use super::panic::{self, Panic};
use crate::error::{ErrorValue, RayError, TaskFailure};
use crate::ids::TaskId;
use crate::remote::{Outcome, TaskError};
use crate::wire::{MOST_INLINE, ObjectValue, RetryExceptions, TaskOutcome, TaskSpec};
use crate::worker::Worker;

/// How one call of user code ended.
#[derive(Debug)]
pub(super) enum Ended {
    Outcome(Outcome),
    Panicked(Panic),
    Cancelled,
}

/// What the caller is told.
pub(super) fn told(worker: &Arc<Worker>, job: &Job, name: &str, ended: Ended) -> TaskOutcome {
    match ended {
        Ended::Outcome(Outcome::Returned(values)) => {
            let mut sent = Vec::with_capacity(values.len());
            let mut room = MOST_INLINE;
            for (index, value) in (1..).zip(values) {
                match returned(worker, &job.spec, name, index, &value, room) {
                    Ok(value) => {
                        room = room.saturating_sub(value.inline_len());
                        sent.push(value);
                    }
                    Err(failed) => {
                        // These will never leave.
                        worker.with(|state, _, out| sent.iter().for_each(|value| state.let_go(value, out)));
                        return failed;
                    }
                }
            }
            TaskOutcome::Returned { values: sent }
        }
        Ended::Outcome(Outcome::Failed(error)) => failed(worker, &job.spec, name, &error),
        Ended::Panicked(panic) => panicked(worker, &job.spec, name, panic),
        Ended::Cancelled => {
            let error = RayError::Cancelled {
                task: job.spec.task,
                name: name.to_owned(),
            };
            TaskOutcome::Failed { error, retry: false }
        }
    }
}

/// What the caller is told of a job that was cancelled before it began.
pub(super) fn cancelled(job: &Job) -> TaskOutcome {
    let error = RayError::Cancelled {
        task: job.spec.task,
        name: job.spec.name.clone().unwrap_or_default(),
    };
    TaskOutcome::Failed { error, retry: false }
}

/// One result, ready to travel to its owner in a frame where there is so much room. To encode it is to run the user's code.
pub(super) fn returned(
    worker: &Arc<Worker>,
    spec: &TaskSpec,
    name: &str,
    index: u32,
    value: &crate::remote::NativeValue,
    room: usize,
) -> Result<ObjectValue, TaskOutcome> {
    let encoded = match std::panic::catch_unwind(AssertUnwindSafe(|| value.encode())) {
        Ok(encoded) => encoded,
        Err(_payload) => return Err(panicked(worker, spec, name, panic::take_last())),
    };
    let fail = |error| TaskOutcome::Failed { error, retry: false };
    let encoded = encoded.map_err(|error| RayError::Encode {
        what: format!("result {index}, of type {}, of task `{}`", value.type_name(), spec.task),
        why: error.to_string(),
    });
    let object = spec.task.object(index);
    encoded
        .and_then(|encoded| worker.outgoing(object, spec.owner, &encoded, room))
        .map_err(fail)
}

/// The task's own code returned an error.
pub(super) fn failed(worker: &Arc<Worker>, spec: &TaskSpec, name: &str, error: &TaskError) -> TaskOutcome {
    let retry = spec.retry_exceptions.accepts(error);
    let value = error_value(error);
    TaskOutcome::Failed {
        error: failure(
            worker,
            (spec.task, spec.attempt),
            name,
            error.chain().to_vec(),
            None,
            value,
        ),
        retry,
    }
}

pub(super) fn panicked(worker: &Arc<Worker>, spec: &TaskSpec, name: &str, panic: Panic) -> TaskOutcome {
    TaskOutcome::Failed {
        error: failure(
            worker,
            (spec.task, spec.attempt),
            name,
            vec![panic.message],
            Some(panic.location),
            None,
        ),
        retry: spec.retry_exceptions == RetryExceptions::All {},
    }
}

/// The error of a task that returned no value and is not run again.
pub(super) fn error_of(worker: &Worker, task: TaskId, name: &str, ended: Ended) -> RayError {
    let run = (task, 0);
    match ended {
        Ended::Outcome(Outcome::Failed(error)) => {
            failure(worker, run, name, error.chain().to_vec(), None, error_value(&error))
        }
        Ended::Panicked(panic) => failure(worker, run, name, vec![panic.message], Some(panic.location), None),
        Ended::Cancelled => RayError::Cancelled {
            task,
            name: name.to_owned(),
        },
        Ended::Outcome(Outcome::Returned(values)) => {
            RayError::internal(format!("task {task} returned {} objects instead of 1", values.len()))
        }
    }
}

/// The value of an error that can travel.
fn error_value(error: &TaskError) -> Option<ErrorValue> {
    let value = |object| ErrorValue::new(error.type_name().to_owned(), object);
    error.encoded_value().map(value)
}

/// The error of a run, by task and attempt, that failed by its own code.
fn failure(
    worker: &Worker,
    (task, attempt): (TaskId, u32),
    name: &str,
    chain: Vec<String>,
    panic_location: Option<String>,
    value: Option<ErrorValue>,
) -> RayError {
    let failure = TaskFailure {
        function: name.to_owned(),
        task,
        attempt,
        node: worker.identity.node,
        pid: std::process::id(),
        chain,
        panic_location,
        value,
    };
    RayError::TaskFailed {
        failure: Arc::new(failure),
    }
}
