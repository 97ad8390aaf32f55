//! Work of other processes: it stands here until its turn comes, and is answered when it has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::body::{Body, Ran, Run, unknown};
use crate::ids::{ActorId, IdHasher, TaskId};
use crate::wire::{HostLease, TaskOutcome};
use crate::worker::Worker;
use crate::worker::context::Hosting;
use crate::worker::execute::outcome::told;
use crate::worker::execute::run::registered;
use crate::worker::execute::{Job, answer, hosted, let_go};
use crate::worker::state::{Done, LocalActor, Permit, Receipt};

/// Tasks and calls of other processes that have not started here.
#[derive(Debug, Default)]
pub(in crate::worker::execute) struct Arrived(Mutex<HashMap<u64, Foreign, IdHasher>>);

#[derive(Debug)]
struct Foreign {
    job: Job,
    lease: Option<Box<HostLease>>,
}

impl Arrived {
    fn jobs(&self) -> MutexGuard<'_, HashMap<u64, Foreign, IdHasher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task or call of another process has arrived.
pub(in crate::worker::execute) fn arrived(worker: &Arc<Worker>, job: Job, lease: Option<Box<HostLease>>) {
    let mut jobs = worker.executor.arrived_jobs.jobs();
    // The jobs' lock is held until the job stands there under its number; a thread that starts it takes that lock alone.
    let number = worker.with(|state, _, out| match &job.spec.call {
        Some(_) => state.shared_foreign_call(&job.spec, out),
        None => Ok(state.shared_foreign(out)),
    });
    match number {
        Ok(number) => {
            jobs.insert(number, Foreign { job, lease });
        }
        Err(error) => {
            drop(jobs);
            answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
        }
    }
}

/// A job that nobody can start yet, since it is in no line.
pub(in crate::worker::execute) fn stand_by(worker: &Arc<Worker>, number: u64, job: Job) {
    let foreign = Foreign { job, lease: None };
    worker.executor.arrived_jobs.jobs().insert(number, foreign);
}

/// Takes out a call of another process that has not started. A task that has not is told by its context.
pub(in crate::worker::execute) fn take_waiting(worker: &Arc<Worker>, task: TaskId) -> Option<Job> {
    let mut jobs = worker.executor.arrived_jobs.jobs();
    let (number, call) = jobs
        .iter()
        .find(|(_, foreign)| foreign.job.spec.task == task)
        .map(|(number, foreign)| (*number, foreign.job.spec.call.clone()))?;
    if let Some(call) = call {
        worker.with(|state, _, out| state.cancel_foreign_call(call.actor, number, out));
    }
    jobs.remove(&number).map(|foreign| foreign.job)
}

/// Runs the work that stands here under this number, if it was not cancelled.
pub(super) fn run(worker: &Arc<Worker>, number: u64, actor: Option<Arc<LocalActor>>, receipt: Receipt) -> Option<Done> {
    let foreign = worker.executor.arrived_jobs.jobs().remove(&number);
    match foreign {
        Some(foreign) => run_job(worker, foreign, actor, receipt),
        None => Some(Done::of(receipt)),
    }
}

fn run_job(worker: &Arc<Worker>, foreign: Foreign, actor: Option<Arc<LocalActor>>, receipt: Receipt) -> Option<Done> {
    let Foreign { job, lease } = foreign;
    let Some(body) = Body::of(&job.spec, actor.as_ref(), || registered(job.spec.item)) else {
        let outcome = unknown(&job.spec);
        answer(worker, job, outcome, true);
        return Some(Done::of(receipt));
    };
    let name = job.spec.name.clone().unwrap_or_else(|| body.name(&job.spec));
    let (id, gpus) = lease.map_or((0, Vec::new()), |lease| (lease.id, lease.gpus));
    let hosting = Hosting::Shared(Permit::foreign(id));
    let context = hosted::context(&job.spec, &name, body.is_exclusive(), (hosting, gpus), actor.as_deref());
    worker.executor.running().insert(job.spec.task, context.clone());
    worker.executor.hosted.begins(&job, &context);
    let id = actor.as_ref().map(|actor| actor.actor);
    let arguments = match hosted::arguments_of(worker, &job.spec, actor.as_deref()) {
        Ok(arguments) => arguments,
        Err(outcome) => {
            answer_foreign(worker, job, &name, id, Ran::Told(outcome));
            return Some(Done::of(receipt));
        }
    };
    if body.is_async() {
        let worker_of_task = worker.clone();
        worker.executor.runtime().spawn(async move {
            let worker = worker_of_task;
            let ran = Run::new(&worker, &job, &name, &context)
                .future(body, actor, arguments)
                .await;
            answer_foreign(&worker, job, &name, id, ran);
            let done = Done::of(receipt);
            worker.with(|state, now, out| state.shared_done(done, now, out));
        });
        return None;
    }
    let ran = Run::new(worker, &job, &name, &context).here(body, actor, arguments);
    answer_foreign(worker, job, &name, id, ran);
    Some(Done::of(receipt))
}

/// `actor`: the one that was called, or constructed.
fn answer_foreign(worker: &Arc<Worker>, job: Job, name: &str, actor: Option<ActorId>, ran: Ran) {
    worker.executor.running().remove(&job.spec.task);
    let outcome = match ran {
        Ran::Ended(ended) => told(worker, &job, name, ended),
        Ran::Told(outcome) => outcome,
        Ran::Constructed => TaskOutcome::Returned { values: Vec::new() },
    };
    match actor {
        Some(actor) if job.spec.call.is_none() => hosted::constructor_ended(worker, &job, actor, outcome),
        _ if worker.executor.hosted.ends(&job.spec) => answer(worker, job, outcome, true),
        _ => let_go(worker, &job, &outcome),
    }
}
