//! Running what others submit: tasks one after another on the main thread, or the calls of one actor.
//!
//! - EX-1: a task or call is answered exactly once, whatever becomes of it, unless the process dies.
//! - EX-2: references among the arguments are held until the answer has left.
//!
//! What arrives becomes an order of the main thread (`orders`), a call of this process's actor (`actor`), or shared work
//! (`shared`); what came of it goes back by `reply`.

mod actor;
mod actor_pace;
pub(crate) mod actor_queue;
mod call_kind;
mod cancel;
mod claim;
mod ending;
mod hosted;
pub(crate) mod inline;
pub(crate) mod local;
mod orders;
mod outcome;
mod panic;
mod reply;
mod run;
pub(crate) mod shared;
mod stream;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::RayError;
use crate::ids::{IdHasher, ObjectId, TaskId, WorkerId};
use crate::wire::{HostLease, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::TaskContext;
use crate::worker::refs::Hold;
use actor::ActorHost;
use orders::{Order, Orders};
use reply::{answer, answer_after, let_go};

pub(crate) use actor::ExclusiveWait;
pub(crate) use panic::install_hook;

/// A task or call that has arrived.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) spec: TaskSpec,
    /// Who sent it and gets the answer.
    pub(crate) from: WorkerId,
    /// References inside its arguments, held by this process until the answer has left.
    held: Vec<(ObjectId, WorkerId)>,
}

/// Runs what arrives.
#[derive(Debug, Default)]
pub(crate) struct Executor {
    orders: Mutex<Orders>,
    /// Something may be in line for the main thread.
    look: AtomicBool,
    running: Mutex<HashMap<TaskId, Arc<TaskContext>, IdHasher>>,
    actor: OnceLock<Arc<ActorHost>>,
    claim: claim::Claim,
    hosted: hosted::Hosted,
    runtime: OnceLock<tokio::runtime::Runtime>,
    calls: Mutex<HashMap<u64, u64>>,
    streams: stream::Producers,
    arrived_jobs: shared::Arrived,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A task or call has arrived.
    pub(crate) fn push(&self, worker: &Arc<Worker>, from: WorkerId, spec: TaskSpec, lease: Option<Box<HostLease>>) {
        let mut held = Vec::new();
        for arg in &spec.args {
            held.extend(arg.references());
        }
        if !held.is_empty() {
            worker.with(|state, _, out| {
                for (object, owner) in &held {
                    if from == worker.identity.worker {
                        // Nothing was handed over: it is held here already.
                        state.hold(*object, Hold::Task);
                    } else {
                        state.receive(*object, *owner, Hold::Task, out);
                    }
                }
            });
        }
        let job = Job { spec, from, held };
        if let Some(stream) = &job.spec.stream {
            self.streams.open(job.spec.task, stream.consumed);
        }
        match (&job.spec.call, self.actor.get()) {
            (Some(call), _) if worker.read(|state| state.hosts_actor(call.actor)) => {
                shared::arrived(worker, job, lease)
            }
            (None, _) if worker.identity.is_driver() => shared::arrived(worker, job, lease),
            (Some(_), Some(host)) => host.arrived(worker, job),
            (Some(call), None) => {
                let error = RayError::ActorDied {
                    actor: call.actor,
                    name: job.spec.name.clone().unwrap_or_default(),
                    cause: "it is not, or no longer, in the process that it was called in".into(),
                };
                answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
            }
            (None, _) => self.order(worker, Order::Run(job)),
        }
    }

    /// How far the consumer of a stream has come.
    pub(crate) fn stream_consumed(&self, task: TaskId, consumed: u64) {
        self.streams.consumed(task, consumed);
    }

    /// Another process is dead: nothing of it comes any more.
    pub(crate) fn caller_gone(&self, worker: &Arc<Worker>, caller: WorkerId) {
        if let Some(host) = self.actor.get() {
            host.caller_gone(worker, caller);
        }
    }

    /// Counts a call of a function. Returns how many there were, this one included.
    fn count_call(&self, item: u64) -> u64 {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(item).or_default();
        *count += 1;
        *count
    }

    /// Where async tasks and methods run.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        self.runtime.get_or_init(|| {
            let threads = std::thread::available_parallelism()
                .map_or(2, std::num::NonZero::get)
                .min(8);
            let built = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("ray-async")
                .enable_all()
                .build();
            match built {
                Ok(runtime) => runtime,
                Err(error) => {
                    // No thread can be started: the process is of no use, and its death is told and retried.
                    tracing::error!(target: "ray_core::worker", %error, "no runtime for async tasks");
                    std::process::exit(1);
                }
            }
        })
    }
}
