//! Running what others submit: tasks one after another on the main thread, or the calls of one actor.
//!
//! - EX-1: a task or call is answered exactly once, whatever becomes of it, unless the process dies.
//! - EX-2: references among the arguments are held until the answer has left.

mod actor;
mod actor_pace;
pub(crate) mod actor_queue;
mod call_kind;
mod claim;
mod hosted;
pub(crate) mod inline;
pub(crate) mod local;
mod outcome;
mod panic;
mod run;
pub(crate) mod shared;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Duration;

use crate::error::RayError;
use crate::ids::{IdHasher, ObjectId, TaskId, WorkerId};
use crate::memory::RunningTask;
use crate::wire::{ActorSpec, Frame, ObjectValue, TaskOutcome, TaskSpec};
use crate::worker::context::TaskContext;
use crate::worker::refs::Hold;
use crate::worker::rings::Arrival;
use crate::worker::state::{Dest, Outgoing};
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
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every order is a job: a box would be an allocation a task"
)]
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

#[derive(Debug, Default)]
struct Orders {
    line: VecDeque<Order>,
    /// The task that has left the line last, and whether it was cancelled before it was known to run.
    begun: Option<TaskId>,
    begun_cancelled: bool,
    /// Tasks that were cancelled and not known here: a cancel comes by socket and may overtake its task in the ring.
    cancelled_unknown: VecDeque<TaskId>,
    /// The worker has reached a function's `max_calls` and takes no further task.
    retired: bool,
    /// End when the line is empty.
    ending: bool,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a task's context known, so that it can be cancelled. A cancel that came before counts too.
    fn enter_running(&self, context: &Arc<TaskContext>) {
        self.running().insert(context.task, context.clone());
        let orders = self.orders();
        let overtaken = orders.cancelled_unknown.contains(&context.task);
        if overtaken || (orders.begun == Some(context.task) && orders.begun_cancelled) {
            context.cancel.set();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<TaskContext>, IdHasher>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main loop of a worker process. Returns the exit code.
    pub(crate) fn serve(&self, worker: &Arc<Worker>) -> i32 {
        worker.rings.keep_for_this_thread();
        if std::panic::catch_unwind(crate::process::setup::run_worker_setup).is_err() {
            let panic::Panic { message, location } = panic::take_last();
            #[expect(
                clippy::print_stderr,
                reason = "it is the worker's log; there may be no subscriber yet"
            )]
            {
                eprintln!("a ray worker cannot start: a worker_setup function panicked: {message}, at {location}");
            }
            return 1;
        }
        // After it, since a program may want another subscriber.
        crate::logging::in_worker(&worker.config);
        loop {
            if let Some(order) = self.next_order(worker) {
                match order {
                    Order::Run(job) => run::task(worker, job),
                    Order::Construct(spec, restarts, references) => {
                        actor::construct(worker, &spec, restarts, &references);
                    }
                    Order::Exit(code) => return code,
                }
                continue;
            }
            let retired = self.orders().retired;
            let look = || self.look.load(Ordering::Acquire);
            if let Arrival::Task(owner, spec) = worker.rings.next_task(worker, !retired, look) {
                self.begin(spec.task);
                run::task(
                    worker,
                    Job {
                        spec: *spec,
                        from: owner,
                        held: Vec::new(),
                    },
                );
                worker.rings.task_ended();
            }
        }
    }

    /// What has come by socket, if anything.
    fn next_order(&self, worker: &Worker) -> Option<Order> {
        self.look.store(false, Ordering::SeqCst);
        let mut orders = self.orders();
        if let Some(order) = orders.line.pop_front() {
            orders.begun = match &order {
                Order::Run(job) => Some(job.spec.task),
                _ => None,
            };
            orders.begun_cancelled = false;
            self.look.store(true, Ordering::Release);
            return Some(order);
        }
        // A worker that has what others use is not idle: it would end with it.
        let ends = orders.ending && worker.read(|state| !state.lends());
        ends.then_some(Order::Exit(0))
    }

    /// A task that came by ring begins.
    fn begin(&self, task: TaskId) {
        let mut orders = self.orders();
        orders.begun = Some(task);
        orders.begun_cancelled = false;
    }

    /// Has the main thread look again.
    fn look_again(&self, worker: &Worker) {
        self.look.store(true, Ordering::Release);
        if let Some(host) = self.actor.get() {
            host.look_again();
        }
        // Last: whom it wakes finds nothing else, and sleeps again. Whether the main thread slept does not matter.
        let _found = worker.rings.ringer().ring();
    }

    fn order(&self, worker: &Worker, order: Order) {
        self.orders().line.push_back(order);
        self.look_again(worker);
    }

    /// A task or call has arrived.
    pub(crate) fn push(&self, worker: &Arc<Worker>, from: WorkerId, spec: TaskSpec, lease: u64) {
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

    /// Cancels a task that has arrived here, and on demand what it has submitted.
    pub(crate) fn cancel(&self, worker: &Arc<Worker>, task: TaskId, recursive: bool) {
        let waiting = {
            let mut orders = self.orders();
            let place = orders
                .line
                .iter()
                .position(|order| matches!(order, Order::Run(job) if job.spec.task == task));
            if orders.begun == Some(task) {
                orders.begun_cancelled = true;
            } else if place.is_none() {
                orders.cancelled_unknown.push_back(task);
                let surplus = orders.cancelled_unknown.len().saturating_sub(CANCELS_KEPT);
                orders.cancelled_unknown.drain(..surplus);
            }
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
        if let Some(job) = shared::take_waiting(worker, task) {
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
        let running = self.running().get(&task).cloned();
        match running.or_else(|| worker.read(|state| state.running_here(task))) {
            Some(context) => context.cancel.set(),
            None => {
                worker.with(|state, now, out| state.cancel_waiting_call(task, now, out));
            }
        }
        if recursive {
            self.cancel_children(worker, task);
        }
    }

    /// Ends this process at once if it runs the task, and no other.
    pub(crate) fn end_if_running(&self, task: TaskId) {
        // The lock is not released: as long as it is held, the task cannot end and no other begins.
        let running = self.running();
        if running.contains_key(&task) {
            end_process();
        }
    }

    /// Cancels what a task has submitted.
    pub(crate) fn cancel_children(&self, worker: &Arc<Worker>, parent: TaskId) {
        for child in worker.locals.children(worker, parent) {
            child.cancel(worker, true);
        }
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
    pub(crate) fn exit_when_idle(&self, worker: &Worker) {
        match self.actor.get() {
            Some(host) => host.exit_when_idle(),
            None => self.orders().ending = true,
        }
        self.look_again(worker);
    }

    /// Ends the process now, but for the last save of an actor that is saved.
    pub(crate) fn save_and_exit(&self, worker: &Arc<Worker>) {
        match self.actor.get() {
            Some(host) => host.save_and_exit(worker),
            None => end_process(),
        }
    }

    /// Another process is dead: nothing of it comes any more.
    pub(crate) fn caller_gone(&self, worker: &Arc<Worker>, caller: WorkerId) {
        if let Some(host) = self.actor.get() {
            host.caller_gone(worker, caller);
        }
    }

    /// Looks again whether the process may end: a reference has come back.
    pub(crate) fn recheck_exit(&self, worker: &Worker) {
        if self.orders().ending || self.actor.get().is_some_and(|host| host.is_ending()) {
            self.look_again(worker);
        }
    }

    /// Ends the process now, with this code.
    fn exit_now(&self, code: i32) {
        self.orders().line.push_front(Order::Exit(code));
    }

    /// The raylet is gone. A worker process ends with it; a driver goes on.
    pub(crate) fn raylet_gone(&self) {
        let worker_process = current().is_ok_and(|worker| !worker.identity.is_driver());
        if worker_process {
            // At once: the main thread may be in a task that never ends.
            std::process::exit(1);
        }
    }

    /// What others have submitted and runs here now.
    pub(crate) fn running_tasks(&self) -> Vec<RunningTask> {
        self.running().values().map(|context| context.told()).collect()
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

/// Ends this process as if it were killed: what runs in it has no say.
fn end_process() {
    let itself = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(itself, rustix::process::Signal::KILL) {
        tracing::error!(target: "ray_core::worker", %error, "a worker cannot end itself");
    }
}

/// Cancels of unknown tasks that are remembered: those whose task is still in a ring are among the latest.
const CANCELS_KEPT: usize = 256;

/// Sends the answer of a job (EX-1) and then lets go of its arguments (EX-2).
fn answer(worker: &Arc<Worker>, job: Job, outcome: TaskOutcome, reusable: bool) {
    answer_after(worker, job, outcome, reusable, Duration::ZERO);
}

/// A job that has been answered has ended: what its outcome and its arguments hold goes.
fn let_go(worker: &Arc<Worker>, job: &Job, outcome: &TaskOutcome) {
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

/// As [`answer`], with how long it ran.
fn answer_after(worker: &Arc<Worker>, job: Job, outcome: TaskOutcome, reusable: bool, ran: Duration) {
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
