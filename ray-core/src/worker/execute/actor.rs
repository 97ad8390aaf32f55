//! The actor that lives in this process.

mod last_save;
mod ledger;
mod place;
mod record;
mod restore;
mod save;
mod saving;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;

use super::actor_pace::{LOOK_AFTER, Pace};
use super::actor_queue::{ActorQueue, Kind, Limits};
use super::outcome::{Ended, told};
use super::run::{arguments, caught, caught_async, registered, task_context};
use super::{Job, answer, panic, stream};
use crate::error::{RayError, Result};
use crate::ids::{IdHasher, ObjectId, WorkerId};
use crate::registry::{ActorMethod, ActorType, Receiver};
use crate::remote::{Arguments, ConstructBody, Incoming, Instance, MethodBody, TaskError};
use crate::wire::{ActorSpec, ArgSpec, Frame, RetryExceptions, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{self, Hosting, Resources, TaskContext, WithContext};
use crate::worker::refs::Hold;
use crate::worker::state::Dest;
use ledger::Known;
use saving::{Saver, Saving};

/// An actor and the calls that have arrived for it.
#[derive(Debug)]
pub(super) struct ActorHost {
    spec: ActorSpec,
    item: &'static ActorType,
    type_name: String,
    /// The names of its methods, as calls of them are shown.
    names: Vec<Arc<str>>,
    /// Never waited for: the queue starts no call that conflicts with a running one (AQ-1).
    instance: Arc<RwLock<Instance>>,
    calls: Mutex<Calls>,
    /// If its state is saved.
    saver: Option<Saver>,
    /// Something may have come for the main thread.
    looked: AtomicBool,
}

/// What waits for its turn.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every turn is a call: a box would be an allocation a call"
)]
enum Turn {
    Call(Job),
    /// The state is saved.
    Save,
}

#[derive(Debug)]
struct Calls {
    arrivals: Arrivals,
    queue: ActorQueue<Turn>,
    /// Started calls that need a thread.
    ready: VecDeque<(Kind, Turn)>,
    /// If its state is saved.
    saving: Option<Saving>,
    pace: Pace,
    /// The main thread waits for a call.
    main_waits: bool,
    ending: bool,
    /// It ends now (CK-14).
    parting: bool,
}

/// Puts the calls of each caller in order: ring and socket may overtake each other.
#[derive(Debug, Default)]
struct Arrivals {
    callers: HashMap<WorkerId, Caller, IdHasher>,
}

#[derive(Debug, Default)]
struct Caller {
    next: u64,
    early: BTreeMap<u64, Job>,
}

impl Calls {
    /// Takes a call that needs a thread.
    fn take(&mut self) -> Option<(Kind, Turn)> {
        let call = self.ready.pop_front()?;
        self.pace.took();
        Some(call)
    }
}

/// AP-1: looks after calls that were left to a running thread.
async fn look_after(host: Weak<ActorHost>, worker: Weak<Worker>, mut taken: u64) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let (Some(host), Some(worker)) = (host.upgrade(), worker.upgrade()) else {
            return;
        };
        let (missing, goes_on) = {
            let mut calls = host.calls();
            let stands = calls.ready.len().saturating_sub(usize::from(calls.main_waits));
            let moves = std::mem::replace(&mut taken, calls.pace.taken()) != calls.pace.taken();
            calls.pace.watched = stands > 0 && moves;
            (if moves { 0 } else { stands }, calls.pace.watched)
        };
        host.start_threads(&worker, missing);
        if !goes_on {
            return;
        }
    }
}

impl Arrivals {
    /// A call has come. Returns the calls whose turn it is.
    fn arrived(&mut self, job: Job) -> Vec<Job> {
        let order = job.spec.call.as_ref().map_or(0, |call| call.order);
        let caller = self.callers.entry(job.from).or_default();
        if order > caller.next {
            caller.early.insert(order, job);
            return Vec::new();
        }
        caller.next += 1;
        let mut in_turn = vec![job];
        while let Some(next) = caller.early.remove(&caller.next) {
            caller.next += 1;
            in_turn.push(next);
        }
        in_turn
    }
}

/// Runs the constructor, then serves calls on this thread until the actor ends; never returns but for a constructor that
/// failed.
pub(super) fn construct(worker: &Arc<Worker>, spec: &ActorSpec, restarts: u32, references: &[(ObjectId, WorkerId)]) {
    let actor = spec.actor;
    let outcome = make_instance(worker, spec, restarts);
    worker.with(|state, _, out| {
        for (object, _) in references {
            state.unhold(*object, Hold::Task, out);
        }
    });
    let (host, error) = match outcome {
        Ok(host) => (Some(Arc::new(host)), None),
        Err(error) => (None, Some(error)),
    };
    if let Some(host) = &host
        && worker.executor.actor.set(host.clone()).is_err()
    {
        tracing::error!(target: "ray_core::worker", %actor, "this worker is an actor already");
        return;
    }
    worker.with(|_, _, out| out.send(Dest::Raylet, Frame::ActorConstructed { actor, error }));
    if let Some(host) = host {
        host.serve(worker);
        host.leave_place();
        worker.with(|_, _, out| out.send(Dest::Raylet, Frame::ActorExiting { actor, intended: true }));
        worker.executor.exit_now(0);
    }
}

fn make_instance(worker: &Arc<Worker>, spec: &ActorSpec, restarts: u32) -> Result<ActorHost> {
    let unknown = || RayError::UnknownItem {
        what: format!("the actor type `{}`", spec.type_name),
        why: "its key is not in the table".into(),
    };
    let item = registered(spec.item)?.as_actor().ok_or_else(unknown)?;
    let task = constructor_spec(worker, spec, restarts);
    let name = format!("{}::new", spec.type_name);
    let context = Arc::new(TaskContext {
        task: task.task,
        attempt: restarts,
        name: name.as_str().into(),
        actor: Some(spec.actor),
        exclusive: true,
        group: spec.strategy.group(),
        captures: spec.strategy.captures(),
        resources: Resources::Own(spec.resources.clone()),
        started: Some(Instant::now()),
        ..TaskContext::default()
    });
    let begun = restore::begin(
        spec,
        item,
        Duration::from_millis(worker.config.checkpoint_storage_timeout_ms),
    )?;
    let (saver, saving, restored) = match begun {
        Some(begun) => (Some(begun.saver), Some(begun.saving), begun.instance),
        None => (None, None, None),
    };
    let instance = match restored {
        Some(instance) => instance,
        None => constructed(worker, spec, item, &task, context)?,
    };
    let limits = Limits::of_actor(spec.max_concurrency);
    let queue = ActorQueue::new(limits, spec.groups.clone());
    Ok(ActorHost {
        spec: spec.clone(),
        item,
        type_name: spec.type_name.clone(),
        names: item
            .methods
            .iter()
            .map(|method| format!("{}::{}", spec.type_name, method.name).into())
            .collect(),
        instance: Arc::new(RwLock::new(instance)),
        calls: Mutex::new(Calls {
            arrivals: Arrivals::default(),
            queue,
            ready: VecDeque::new(),
            saving,
            pace: Pace::default(),
            main_waits: false,
            ending: false,
            parting: false,
        }),
        saver,
        looked: AtomicBool::new(true),
    })
}

/// The instance that the constructor makes.
fn constructed(
    worker: &Arc<Worker>,
    spec: &ActorSpec,
    item: &ActorType,
    task: &TaskSpec,
    context: Arc<TaskContext>,
) -> Result<Instance> {
    let name = context.name.clone();
    let arguments = constructor_arguments(worker, &spec.args)?;
    let failed = |error: &TaskError| match super::outcome::failed(worker, task, &name, error) {
        TaskOutcome::Failed { error, .. } => error,
        _ => RayError::internal("a failure that is none"),
    };
    let made = match item.construct {
        ConstructBody::Sync(body) => {
            let _entered = context::enter(context);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(arguments)))
        }
        ConstructBody::Async(body) => {
            let runtime = worker.executor.runtime();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(WithContext::new(context, async move { body(arguments).await }))
            }))
        }
    };
    match made {
        Ok(Ok(instance)) => Ok(instance),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_payload) => match super::outcome::panicked(worker, task, &name, panic::take_last()) {
            TaskOutcome::Failed { error, .. } => Err(error),
            _ => Err(RayError::internal("a panic that is none")),
        },
    }
}

/// The constructor's arguments. One that the store has lost is waited for: its owner makes it again.
pub(super) fn constructor_arguments(worker: &Arc<Worker>, args: &[ArgSpec]) -> Result<Arguments> {
    let incoming = args.iter().map(|arg| match arg {
        ArgSpec::Inline { object } => Ok(Incoming::Payload(object.clone())),
        ArgSpec::Stored { object, owner, .. } => worker.read_arrived(*object, *owner).map(Incoming::Payload),
    });
    incoming.collect::<Result<Vec<_>>>().map(Arguments::new)
}

/// The constructor seen as a task, for its errors and its context.
pub(super) fn constructor_spec(worker: &Worker, spec: &ActorSpec, restarts: u32) -> TaskSpec {
    TaskSpec {
        task: spec.handle.task(),
        attempt: restarts,
        owner: worker.identity.worker,
        parent: crate::ids::TaskId::default(),
        item: spec.item,
        call: None,
        name: None,
        args: Vec::new(),
        returns: 0,
        stream: None,
        retry_exceptions: RetryExceptions::Never {},
        deadline: None,
        group: None,
        captures: false,
        resources: Some(spec.resources.clone()),
        retriable: false,
    }
}

impl ActorHost {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has arrived.
    pub(super) fn arrived(self: &Arc<Self>, worker: &Arc<Worker>, job: Job) {
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
                let kind = match self.kind_of(&job, &calls.queue) {
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

    fn method(&self, job: &Job) -> Option<&'static ActorMethod> {
        self.item.method(job.spec.call.as_ref()?.method)
    }

    fn kind_of(&self, job: &Job, queue: &ActorQueue<Turn>) -> Result<Kind> {
        let Some((call, method)) = job.spec.call.as_ref().zip(self.method(job)) else {
            let what = format!("a method of actor `{}`", self.type_name);
            return Err(RayError::UnknownItem {
                what,
                why: "its index is not in the table".into(),
            });
        };
        if call.actor != self.spec.actor {
            return Err(RayError::internal(format!(
                "a call for actor {} reached {}",
                call.actor, self.spec.actor
            )));
        }
        let wanted = call.group.as_deref().or(method.concurrency_group);
        let group = match wanted {
            None => 0,
            Some(name) => queue.group(name).ok_or_else(|| RayError::InvalidOption {
                option: "concurrency_group".into(),
                name: format!("{}::{}", self.type_name, method.name),
                why: format!("the actor has no group `{name}`; it has {:?}", queue.group_names()),
            })?,
        };
        let exclusive = method.receiver() == Receiver::Exclusive;
        Ok(Kind {
            exclusive,
            is_async: method.body.is_async(),
            group,
        })
    }

    /// Starts what may start: futures on the runtime, the rest on threads. `free` threads of the actor, such as the caller,
    /// will look for a call next.
    fn start(self: &Arc<Self>, worker: &Arc<Worker>, free: usize) {
        let mut futures = Vec::new();
        let mut missing_threads = 0;
        {
            let mut calls = self.calls();
            for (kind, turn) in calls.queue.start() {
                match turn {
                    Turn::Call(job) if kind.is_async => futures.push((kind, job)),
                    turn => calls.ready.push_back((kind, turn)),
                }
            }
            let looking = free.max(usize::from(calls.main_waits));
            missing_threads += calls.ready.len().saturating_sub(looking);
            if missing_threads > 0 && calls.pace.leaves_to_others(looking) {
                missing_threads = 0;
                if !std::mem::replace(&mut calls.pace.watched, true) {
                    worker.io.spawn(look_after(
                        Arc::downgrade(self),
                        Arc::downgrade(worker),
                        calls.pace.taken(),
                    ));
                }
            }
            // An actor that is to end waits for its last call, which another thread may have run.
            if calls.main_waits && (!calls.ready.is_empty() || calls.ending) {
                self.look_again();
                // Whether it slept does not matter.
                let _found = worker.rings.ringer().ring();
            }
        }
        for (kind, job) in futures {
            let (host, worker_of_call) = (self.clone(), worker.clone());
            worker
                .executor
                .runtime()
                .spawn(async move { host.run_async(&worker_of_call, kind, job).await });
        }
        self.start_threads(worker, missing_threads);
    }

    fn start_threads(self: &Arc<Self>, worker: &Arc<Worker>, missing: usize) {
        for _ in 0..missing {
            let (host, worker) = (self.clone(), worker.clone());
            let spawned = std::thread::Builder::new()
                .name("ray-actor".into())
                .spawn(move || host.run_ready(&worker));
            if let Err(error) = spawned {
                // The threads that are there will come to it.
                tracing::warn!(target: "ray_core::worker", %error, "no further thread for an actor");
            }
        }
    }

    /// The main thread of an actor: it also sees to what comes by ring.
    fn serve(self: &Arc<Self>, worker: &Arc<Worker>) {
        let overlapping = self
            .item
            .methods
            .iter()
            .any(|method| method.receiver() == Receiver::Shared);
        worker.rings.take_eagerly(overlapping);
        loop {
            self.looked.store(false, Ordering::SeqCst);
            let (next, at_end) = {
                let mut calls = self.calls();
                let next = calls.take();
                let at_end = next.is_none()
                    && calls.ending
                    && calls.queue.is_quiet()
                    && (calls.parting || !worker.read(|state| state.refs.is_lending()));
                calls.main_waits = next.is_none();
                (next, at_end)
            };
            // Else the save, or the end of a write, has this thread look again.
            if at_end && self.save_at_end(worker) {
                return;
            }
            match next {
                Some((kind, turn)) => self.run_turn(worker, kind, turn),
                None => worker.rings.wait_until(
                    worker,
                    || self.looked.load(Ordering::Acquire),
                    || self.calls().pace.is_brief(),
                ),
            }
        }
    }

    /// Has the main thread look again.
    pub(super) fn look_again(&self) {
        self.looked.store(true, Ordering::Release);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.calls().ending
    }

    /// A further thread: it serves what is ready, and ends when nothing is.
    fn run_ready(self: &Arc<Self>, worker: &Arc<Worker>) {
        while let Some((kind, turn)) = { self.calls().take() } {
            self.run_turn(worker, kind, turn);
        }
    }

    fn run_turn(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, turn: Turn) {
        match turn {
            Turn::Call(job) => self.run_sync(worker, kind, job),
            Turn::Save => self.run_save(worker),
        }
    }

    /// The name under which a call is shown.
    fn named(&self, job: &Job, method: &ActorMethod) -> Arc<str> {
        let index = job.spec.call.as_ref().map_or(usize::MAX, |call| call.method as usize);
        match (&job.spec.name, self.names.get(index)) {
            (Some(name), _) => name.as_str().into(),
            (None, Some(name)) => name.clone(),
            (None, None) => format!("{}::{}", self.type_name, method.name).into(),
        }
    }

    fn run_sync(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, job: Job) {
        let Some(method) = self.method(&job) else { return };
        let name = self.named(&job, method);
        let begun = Instant::now();
        let context = task_context(&job.spec, name.clone(), kind.exclusive, Hosting::Process, begun);
        worker.executor.enter_running(&context);
        let outcome = match arguments(worker, &job.spec) {
            Err(outcome) => outcome,
            Ok(arguments) => match method.body {
                MethodBody::SharedSync(body) => {
                    let instance = self.instance.blocking_read();
                    let ended = caught(&context, || body(&**instance, arguments));
                    told(worker, &job, &name, ended)
                }
                MethodBody::ExclusiveSync(body) => {
                    let mut instance = self.instance.blocking_write();
                    let ended = caught(&context, || body(&mut **instance, arguments));
                    told(worker, &job, &name, ended)
                }
                MethodBody::SharedIter(body) => {
                    let instance = self.instance.blocking_read();
                    stream::produce_iter(worker, &job, &name, &context, || body(&**instance, arguments))
                }
                MethodBody::SharedAsync(_) | MethodBody::ExclusiveAsync(_) | MethodBody::SharedStream(_) => {
                    told(worker, &job, &name, Ended::Cancelled)
                }
            },
        };
        self.ended(worker, kind, job, outcome, Some(begun.elapsed()));
    }

    async fn run_async(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, job: Job) {
        let Some(method) = self.method(&job) else { return };
        let name = self.named(&job, method);
        let context = task_context(
            &job.spec,
            name.clone(),
            kind.exclusive,
            Hosting::Process,
            Instant::now(),
        );
        worker.executor.enter_running(&context);
        let outcome = match arguments(worker, &job.spec) {
            Err(outcome) => outcome,
            Ok(arguments) => match method.body {
                MethodBody::SharedAsync(body) => {
                    let instance = self.instance.read().await;
                    let ended = caught_async(context.clone(), async { body(&**instance, arguments).await }).await;
                    told(worker, &job, &name, ended)
                }
                MethodBody::ExclusiveAsync(body) => {
                    let mut instance = self.instance.write().await;
                    let ended = caught_async(context.clone(), async { body(&mut **instance, arguments).await }).await;
                    told(worker, &job, &name, ended)
                }
                MethodBody::SharedStream(body) => {
                    let instance = self.instance.read().await;
                    let items = async { body(&**instance, arguments).await };
                    stream::produce_stream(worker, &job, &name, &context, items).await
                }
                MethodBody::SharedSync(_) | MethodBody::ExclusiveSync(_) | MethodBody::SharedIter(_) => {
                    told(worker, &job, &name, Ended::Cancelled)
                }
            },
        };
        self.ended(worker, kind, job, outcome, None);
    }

    /// A call has ended, after so long if it took a thread.
    fn ended(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        kind: Kind,
        job: Job,
        outcome: TaskOutcome,
        on_thread: Option<Duration>,
    ) {
        worker.executor.running().remove(&job.spec.task);
        let leaves = self.calls().note_end(worker.identity.worker, job, outcome);
        if let Some((job, outcome)) = leaves {
            answer(worker, job, outcome, true);
        }
        let ending = {
            let mut calls = self.calls();
            calls.queue.ended(kind);
            if let Some(ran) = on_thread {
                calls.pace.ended(ran);
            }
            self.consider_save(worker, &mut calls);
            calls.ending
        };
        self.start(worker, usize::from(!kind.is_async));
        if ending {
            // The answer may have been what the order to end waited for: it found this call still running.
            worker.executor.look_again(worker);
        }
    }

    /// Cancels a call that has not started.
    pub(super) fn cancel_waiting(self: &Arc<Self>, worker: &Arc<Worker>, task: crate::ids::TaskId) {
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
                    let name = job.spec.name.clone().unwrap_or_default();
                    let error = RayError::Cancelled { task, name };
                    let outcome = TaskOutcome::Failed { error, retry: false };
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
    pub(super) fn caller_gone(&self, worker: &Arc<Worker>, caller: WorkerId) {
        let early = {
            let mut calls = self.calls();
            if let Some(saving) = &mut calls.saving {
                saving.ledger.forget(caller);
            }
            calls.arrivals.callers.remove(&caller)
        };
        // The calls before these will not come. Nobody hears the answer, which lets go of their arguments.
        for job in early.into_iter().flat_map(|early| early.early.into_values()) {
            let error = RayError::Disconnected {
                peer: format!("the caller {caller}"),
                why: "it ended before it had sent its earlier calls".into(),
            };
            answer(worker, job, TaskOutcome::Failed { error, retry: false }, true);
        }
    }

    pub(super) fn exit_when_idle(&self) {
        self.calls().ending = true;
    }
}
