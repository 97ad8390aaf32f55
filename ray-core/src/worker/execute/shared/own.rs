//! Work of this process: its arguments are values where they can be, and its results stay as they are.

use std::sync::Arc;

use smallvec::SmallVec;

use super::body::{Body, Ran, Run, unknown};
use crate::error::{RayError, Result};
use crate::remote::{Arguments, Incoming, NativeValue as Value, Outcome};
use crate::wire::{ArgSpec, TaskOutcome};
use crate::worker::Worker;
use crate::worker::context::{self, TaskContext};
use crate::worker::execute::Job;
use crate::worker::execute::outcome::{Ended, told};
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::state::{Done, LocalActor, LocalOutcome, OwnRun, Receipt, RunArg};

pub(super) fn run(worker: &Arc<Worker>, own: OwnRun, actor: Option<Arc<LocalActor>>, receipt: Receipt) -> Option<Done> {
    let OwnRun {
        spec,
        args,
        template,
        context,
    } = own;
    let (task, attempt) = (spec.task, spec.attempt);
    let job = Job {
        spec,
        from: worker.identity.worker,
        held: Vec::new(),
    };
    let ended = move |outcome| Done {
        receipt,
        own: Some((task, attempt, outcome)),
        locals: 0,
    };
    let arguments = match native_arguments(worker, &context, args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let failed = TaskOutcome::Failed { error, retry: false };
            return Some(ended(LocalOutcome::Other(failed)));
        }
    };
    let Some(body) = Body::of(&job.spec, actor.as_ref(), || Ok(template.item)) else {
        return Some(ended(LocalOutcome::Other(unknown(&job.spec))));
    };
    if job.spec.stream.is_some() {
        worker.executor.streams.open_here(worker, task);
    }
    let name = context.name.clone();
    if body.is_async() {
        let worker_of_task = worker.clone();
        worker.executor.runtime().spawn(async move {
            let worker = worker_of_task;
            let ran = Run::new(&worker, &job, &name, &context)
                .future(body, actor, arguments)
                .await;
            let outcome = own_outcome(&worker, &job, &name, ran);
            let done = ended(outcome);
            worker.with(|state, now, out| state.shared_done(done, now, out));
        });
        return None;
    }
    let ran = Run::new(worker, &job, &name, &context).here(body, actor, arguments);
    let outcome = own_outcome(worker, &job, &name, ran);
    Some(ended(outcome))
}

fn native_arguments(
    worker: &Arc<Worker>,
    context: &Arc<TaskContext>,
    args: SmallVec<[RunArg; 2]>,
) -> Result<Arguments> {
    let incoming = args.into_iter().map(|arg| match arg {
        RunArg::Spec(ArgSpec::Inline { object }) => Ok(Incoming::Payload(object)),
        RunArg::Spec(ArgSpec::Stored { object, owner, .. }) => {
            // Other arguments may be moved out already, so that the task cannot be put back in line: it waits right here
            // for one that has to be made again, and lends its permit meanwhile.
            let _entered = context::enter(context.clone());
            worker.read_arrived(object, owner).map(Incoming::Payload)
        }
        RunArg::Given(value) => Ok(Incoming::Native(value.into_any())),
        RunArg::Moved(native) => match native.take() {
            Some(value) => Ok(Incoming::Native(value)),
            None => Err(RayError::internal("an argument was moved out before")),
        },
        RunArg::Held(object, native) => worker.encoded_form(object, &native).map(Incoming::Payload),
    });
    incoming
        .collect::<Result<SmallVec<[Incoming; 4]>>>()
        .map(Arguments::new)
}

/// The end of a task of this process: its results stay as they are.
fn own_outcome(worker: &Arc<Worker>, job: &Job, name: &str, ran: Ran) -> LocalOutcome {
    if job.spec.stream.is_some() {
        worker.executor.streams.close(job.spec.task);
    }
    match ran {
        Ran::Ended(Ended::Outcome(Outcome::Returned(values))) if values.len() == job.spec.returns as usize => {
            let native = |value: Value| Slot::Native(Arc::new(NativeValue::new(value)));
            LocalOutcome::Returned(values.into_iter().map(native).collect())
        }
        Ran::Ended(Ended::Outcome(Outcome::Returned(values))) => {
            let why = format!(
                "task {} returned {} objects instead of {}",
                job.spec.task,
                values.len(),
                job.spec.returns
            );
            let error = RayError::internal(why);
            LocalOutcome::Other(TaskOutcome::Failed { error, retry: false })
        }
        Ran::Ended(ended) => LocalOutcome::Other(told(worker, job, name, ended)),
        Ran::Constructed => LocalOutcome::Constructed,
        Ran::Told(outcome) => LocalOutcome::Other(outcome),
    }
}
