//! Running what others submit: tasks one after another on the main thread, or the calls of one actor.
//!
//! - EX-1: a task or call is answered exactly once, whatever becomes of it, unless the process dies.
//! - EX-2: references among the arguments are held until the answer has left.

mod actor;
mod actor_queue;
mod claim;
mod groups;
mod outcome;
mod panic;
mod run;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::RayError;
use crate::ids::{IdHasher, ObjectId, TaskId, WorkerId};
use crate::wire::{ActorSpec, ArgSpec, Frame, TaskOutcome, TaskSpec};
use crate::worker::context::TaskContext;
use crate::worker::refs::Hold;
use crate::worker::state::Dest;
use crate::worker::{Worker, current};
use actor::ActorHost;

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

/// What the main thread does next.
#[derive(Debug)]
enum Order {
    Run(Job),
    /// With the references inside the arguments, held by this process until the constructor has ended.
    Construct(Box<ActorSpec>, u32, Vec<(ObjectId, WorkerId)>),
    Exit(i32),
}

/// Runs what arrives.
#[derive(Debug, Default)]
pub(crate) struct Executor {
    orders: Mutex<Orders>,
    arrived: Condvar,
    running: Mutex<HashMap<TaskId, Arc<TaskContext>, IdHasher>>,
    actor: OnceLock<Arc<ActorHost>>,
    claim: claim::Claim,
    runtime: OnceLock<tokio::runtime::Runtime>,
    calls: Mutex<HashMap<u64, u64>>,
    streams: stream::Producers,
    pub(crate) groups: groups::Groups,
}

#[derive(Debug, Default)]
struct Orders {
    line: VecDeque<Order>,
    /// End when the line is empty.
    ending: bool,
    busy: bool,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<TaskContext>, IdHasher>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main loop of a worker process. Returns the exit code.
    pub(crate) fn serve(&self, worker: &Arc<Worker>) -> i32 {
        crate::process::setup::run_worker_setup();
        loop {
            match self.next_order(worker) {
                Order::Run(job) => {
                    run::task(worker, job);
                    self.orders().busy = false;
                }
                Order::Construct(spec, restarts, references) => {
                    self.orders().busy = false;
                    actor::construct(worker, &spec, restarts, &references);
                }
                Order::Exit(code) => return code,
            }
        }
    }

    fn next_order(&self, worker: &Worker) -> Order {
        let mut orders = self.orders();
        loop {
            if let Some(order) = orders.line.pop_front() {
                orders.busy = true;
                return order;
            }
            // A worker that owns what others use is not idle: its objects would die with it.
            if orders.ending && worker.read(|state| !state.refs.is_lending()) {
                return Order::Exit(0);
            }
            orders = self.arrived.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn order(&self, order: Order) {
        self.orders().line.push_back(order);
        self.arrived.notify_all();
    }

    /// A task or call has arrived.
    pub(crate) fn push(&self, worker: &Arc<Worker>, from: WorkerId, spec: TaskSpec) {
        let mut held = Vec::new();
        for arg in &spec.args {
            if let ArgSpec::Inline { object } = arg {
                let tokens = crate::value::refs_of(object).unwrap_or_default();
                held.extend(tokens.into_iter().map(|token| (token.object, token.owner)));
            }
        }
        if !held.is_empty() {
            worker.with(|state, _, out| {
                for (object, owner) in &held {
                    state.receive(*object, *owner, Hold::Task, out);
                }
            });
        }
        let job = Job { spec, from, held };
        match (&job.spec.call, self.actor.get()) {
            (Some(_), Some(host)) => host.arrived(worker, job),
            (Some(call), None) => {
                let error =
                    RayError::internal(format!("a call for actor {} reached a worker that is none", call.actor));
                answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
            }
            (None, _) => self.order(Order::Run(job)),
        }
    }

    /// Cancels a task that has arrived here, and on demand what it has submitted.
    pub(crate) fn cancel(&self, worker: &Arc<Worker>, task: TaskId, recursive: bool) {
        let waiting = {
            let mut orders = self.orders();
            let place = orders
                .line
                .iter()
                .position(|order| matches!(order, Order::Run(job) if job.spec.task == task));
            place.and_then(|place| orders.line.remove(place))
        };
        if let Some(Order::Run(job)) = waiting {
            let error = RayError::Cancelled {
                task,
                name: job.spec.name.clone().unwrap_or_default(),
            };
            answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
            return;
        }
        if let Some(host) = self.actor.get() {
            host.cancel_waiting(worker, task);
        }
        if let Some(context) = self.running().get(&task) {
            context.cancel.set();
        }
        if recursive {
            self.cancel_children(worker, task);
        }
    }

    fn cancel_children(&self, worker: &Arc<Worker>, parent: TaskId) {
        worker.with(|state, now, out| {
            let children: Vec<(TaskId, String)> = state
                .tasks
                .values()
                .filter(|child| child.spec.parent == parent)
                .map(|child| (child.id(), child.name().to_owned()))
                .collect();
            for (task, name) in children {
                let error = RayError::Cancelled { task, name };
                state.cancel(task, &error, true, now, out);
            }
        });
    }

    /// How far the consumer of a stream has come.
    pub(crate) fn stream_consumed(&self, task: TaskId, consumed: u64) {
        self.streams.consumed(task, consumed);
    }

    /// Ends the process once nothing runs or waits, and nobody uses what it owns.
    pub(crate) fn exit_when_idle(&self) {
        match self.actor.get() {
            Some(host) => host.exit_when_idle(),
            None => {
                self.orders().ending = true;
                self.arrived.notify_all();
            }
        }
    }

    /// Looks again whether the process may end: a reference has come back.
    pub(crate) fn recheck_exit(&self) {
        if let Some(host) = self.actor.get() {
            host.recheck_exit();
        }
        // Whoever looked before the news waits by the time the lock is free.
        drop(self.orders());
        self.arrived.notify_all();
    }

    /// Ends the process now, with this code.
    pub(crate) fn exit_now(&self, code: i32) {
        self.orders().line.push_front(Order::Exit(code));
        self.arrived.notify_all();
    }

    /// The raylet is gone. A worker process ends with it; a driver goes on.
    pub(crate) fn raylet_gone(&self) {
        let worker_process = current().is_ok_and(|worker| !worker.identity.is_driver());
        if worker_process {
            // At once: the main thread may be in a task that never ends.
            std::process::exit(1);
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

/// Sends the answer of a job (EX-1) and then lets go of its arguments (EX-2).
fn answer(worker: &Arc<Worker>, job: Job, outcome: TaskOutcome, reusable: bool) {
    let (task, attempt) = (job.spec.task, job.spec.attempt);
    worker.with(|state, _, out| {
        out.send(
            Dest::Worker(job.from),
            Frame::TaskDone {
                task,
                attempt,
                outcome,
                reusable,
            },
        );
        for (object, _) in &job.held {
            state.unhold(*object, Hold::Task, out);
        }
    });
}
