//! Shared work at its edge: the pool's threads, and the running of one piece of work on whatever thread.
//!
//! What runs next, and how many threads there are, is the state's decision ([`crate::worker::state::Shared`]).

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::inline::{MAX_DEPTH, MIN_STACK};
use super::outcome::{Ended, failed, panicked, told};
use super::run::{caught, caught_async, registered};
use super::{Job, answer, hosted, let_go, local, panic, stream};
use crate::error::{RayError, Result};
use crate::ids::{ActorId, IdHasher, TaskId};
use crate::process::stack;
use crate::remote::{
    Arguments, ConstructBody, FunctionBody, Incoming, Instance, MethodBody, NativeValue as Value, Outcome, TaskError,
};
use crate::wire::{ArgSpec, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{self, Hosting, TaskContext, WithContext};
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::state::{
    Done, LocalActor, LocalOutcome, Look, Next, OwnRun, Permit, Receipt, RunArg, Started, What,
};

thread_local! {
    static IN_POOL: Cell<bool> = const { Cell::new(false) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this is a thread of the pool.
pub(crate) fn is_pool_thread() -> bool {
    IN_POOL.get()
}

/// Tasks and calls of other processes that have not started here.
#[derive(Debug, Default)]
pub(super) struct Arrived(Mutex<HashMap<u64, Foreign, IdHasher>>);

#[derive(Debug)]
struct Foreign {
    job: Job,
    lease: u64,
}

impl Arrived {
    fn jobs(&self) -> MutexGuard<'_, HashMap<u64, Foreign, IdHasher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task or call of another process has arrived.
pub(super) fn arrived(worker: &Arc<Worker>, job: Job, lease: u64) {
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
pub(super) fn stand_by(worker: &Arc<Worker>, number: u64, job: Job) {
    let foreign = Foreign { job, lease: 0 };
    worker.executor.arrived_jobs.jobs().insert(number, foreign);
}

/// Takes out a call of another process that has not started. A task that has not is told by its context.
pub(super) fn take_waiting(worker: &Arc<Worker>, task: TaskId) -> Option<Job> {
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

/// Starts a thread of the pool.
pub(crate) fn start_thread(worker: &Arc<Worker>) {
    let of_thread = worker.clone();
    let spawned = std::thread::Builder::new()
        .name("ray-shared".into())
        .spawn(move || serve(&of_thread));
    if let Err(error) = spawned {
        tracing::warn!(target: "ray_core::worker", %error, "no further thread for shared work");
        worker.with(|state, _, _| state.shared_thread_failed());
    }
}

fn serve(worker: &Arc<Worker>) {
    IN_POOL.set(true);
    stack::watch_current_thread();
    let mut look = Look::new();
    let mut finished = None;
    let mut worked = false;
    loop {
        let next = worker.with(|state, now, out| {
            if let Some(done) = finished.take() {
                state.shared_done(done, now, out);
            }
            state.shared_next(&mut look, worked, now, out)
        });
        worked = false;
        match next {
            Next::Run(started) => {
                finished = run(worker, started);
                worked = true;
            }
            Next::Serve(service) => {
                finished = Some(local::serve(worker, service));
                worked = true;
            }
            Next::Rest(time) => std::thread::park_timeout(time),
            Next::End => return,
        }
    }
}

/// The permit that this thread has and does not need while it waits.
pub(super) fn loan() -> Option<Permit> {
    match context::hosting() {
        Some(Hosting::Shared(permit)) => Some(permit),
        Some(Hosting::Process) | None => None,
    }
}

/// A caller that runs what it waits for, for as long as this lives.
pub(super) struct Deeper(u32);

impl Deeper {
    /// `None`: it is too deep already, or the stack is nearly used up.
    pub(super) fn step() -> Option<Self> {
        let depth = DEPTH.get();
        let room = depth < MAX_DEPTH && stack::left().is_some_and(|left| left >= MIN_STACK);
        room.then(|| {
            DEPTH.set(depth + 1);
            Self(depth)
        })
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// Runs the task that this thread is about to wait for, if it stands in line and there is stack left. Returns whether it
/// did, or whether something that the task waits for was run.
pub(crate) fn run_for_caller(worker: &Arc<Worker>, task: TaskId) -> bool {
    let Some(_deeper) = Deeper::step() else { return false };
    let loan = loan();
    let Some(started) = worker.with(|state, now, out| state.shared_take_for(task, loan, now, out)) else {
        return false;
    };
    let done = run(worker, started);
    if let Some(done) = done {
        worker.with(|state, now, out| state.shared_done(done, now, out));
    }
    true
}

/// Runs a piece of work. What is to be told when it has ended; nothing if it goes on as a future.
fn run(worker: &Arc<Worker>, started: Started) -> Option<Done> {
    // A driver notes what panics say only from here on.
    panic::install_hook();
    let receipt = started.receipt();
    let actor = started.call.map(|(actor, _)| actor);
    match started.what {
        What::Own(own) => run_own(worker, *own, actor, receipt),
        What::Foreign(number) => {
            let foreign = worker.executor.arrived_jobs.jobs().remove(&number);
            match foreign {
                Some(foreign) => run_foreign(worker, foreign, actor, receipt),
                // Cancelled.
                None => Some(Done::of(receipt)),
            }
        }
    }
}

fn run_own(worker: &Arc<Worker>, own: OwnRun, actor: Option<Arc<LocalActor>>, receipt: Receipt) -> Option<Done> {
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
            let ran = run_async(&worker, &job, &name, &context, body, actor, arguments).await;
            let outcome = own_outcome(&worker, &job, &name, ran);
            let done = ended(outcome);
            worker.with(|state, now, out| state.shared_done(done, now, out));
        });
        return None;
    }
    let ran = run_sync(worker, &job, &name, &context, body, actor, arguments);
    let outcome = own_outcome(worker, &job, &name, ran);
    Some(ended(outcome))
}

fn run_foreign(
    worker: &Arc<Worker>,
    foreign: Foreign,
    actor: Option<Arc<LocalActor>>,
    receipt: Receipt,
) -> Option<Done> {
    let Foreign { job, lease } = foreign;
    let done = Done::of;
    let Some(body) = Body::of(&job.spec, actor.as_ref(), || registered(job.spec.item)) else {
        let outcome = unknown(&job.spec);
        answer(worker, job, outcome, true);
        return Some(done(receipt));
    };
    let name = job.spec.name.clone().unwrap_or_else(|| body.name(&job.spec));
    let permit = Permit::foreign(lease);
    let hosting = Hosting::Shared(permit);
    let context = hosted::context(&job.spec, &name, body.is_exclusive(), hosting, actor.as_deref());
    worker.executor.running().insert(job.spec.task, context.clone());
    worker.executor.hosted.begins(&job, &context);
    let id = actor.as_ref().map(|actor| actor.actor);
    let arguments = match hosted::arguments_of(worker, &job.spec, actor.as_deref()) {
        Ok(arguments) => arguments,
        Err(outcome) => {
            answer_foreign(worker, job, &name, id, Ran::Told(outcome));
            return Some(done(receipt));
        }
    };
    if body.is_async() {
        let worker_of_task = worker.clone();
        worker.executor.runtime().spawn(async move {
            let worker = worker_of_task;
            let ran = run_async(&worker, &job, &name, &context, body, actor, arguments).await;
            answer_foreign(&worker, job, &name, id, ran);
            let done = done(receipt);
            worker.with(|state, now, out| state.shared_done(done, now, out));
        });
        return None;
    }
    let ran = run_sync(worker, &job, &name, &context, body, actor, arguments);
    answer_foreign(worker, job, &name, id, ran);
    Some(done(receipt))
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

/// Why there is no body: its item is not in the table, or its actor has ended.
fn unknown(spec: &TaskSpec) -> TaskOutcome {
    let error = match &spec.call {
        Some(call) => RayError::ActorDied {
            actor: call.actor,
            name: spec.name.clone().unwrap_or_default(),
            cause: "it has ended".into(),
        },
        None => RayError::UnknownItem {
            what: format!("item {:016x}", spec.item),
            why: "it is no function of this program".into(),
        },
    };
    TaskOutcome::Failed { error, retry: false }
}

/// What is to run.
#[derive(Clone, Copy)]
enum Body {
    Function(&'static str, FunctionBody),
    Construct(ConstructBody),
    Method(&'static str, MethodBody),
}

impl Body {
    fn of(
        spec: &TaskSpec,
        actor: Option<&Arc<LocalActor>>,
        item: impl FnOnce() -> Result<&'static crate::registry::RemoteItem>,
    ) -> Option<Self> {
        match (&spec.call, actor) {
            (Some(call), Some(actor)) => actor.method(call).map(|method| Self::Method(method.name, method.body)),
            (None, Some(actor)) => Some(Self::Construct(actor.class.construct)),
            (Some(_), None) => None,
            (None, None) => {
                let item = item().ok()?;
                Some(Self::Function(item.identity().name, item.as_function()?.body))
            }
        }
    }

    fn is_async(&self) -> bool {
        match self {
            Self::Function(_, body) => matches!(body, FunctionBody::Async(_) | FunctionBody::Stream(_)),
            Self::Construct(body) => matches!(body, ConstructBody::Async(_)),
            Self::Method(_, body) => body.is_async(),
        }
    }

    fn is_exclusive(&self) -> bool {
        matches!(
            self,
            Self::Construct(_) | Self::Method(_, MethodBody::ExclusiveSync(_) | MethodBody::ExclusiveAsync(_))
        )
    }

    fn name(&self, spec: &TaskSpec) -> String {
        match self {
            Self::Function(name, _) => (*name).to_owned(),
            Self::Construct(_) => "new".to_owned(),
            Self::Method(name, _) => match registered(spec.item) {
                Ok(item) => format!("{}::{name}", item.identity().name),
                Err(_) => (*name).to_owned(),
            },
        }
    }
}

/// What came of it.
enum Ran {
    Ended(Ended),
    Constructed,
    Told(TaskOutcome),
}

fn broken(what: &str) -> Ran {
    let error = RayError::internal(format!("an actor's instance is {what} although its call was started"));
    Ran::Told(TaskOutcome::Failed { error, retry: false })
}

fn run_sync(
    worker: &Arc<Worker>,
    job: &Job,
    name: &str,
    context: &Arc<TaskContext>,
    body: Body,
    actor: Option<Arc<LocalActor>>,
    arguments: Arguments,
) -> Ran {
    match (body, actor) {
        (Body::Function(_, FunctionBody::Sync(body)), _) => Ran::Ended(caught(context, || body(arguments))),
        (Body::Function(_, FunctionBody::Iter(body)), _) => {
            Ran::Told(stream::produce_iter(worker, job, name, context, || body(arguments)))
        }
        (Body::Construct(ConstructBody::Sync(body)), Some(actor)) => {
            let _entered = context::enter(context.clone());
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(arguments)));
            constructed(worker, job, name, &actor, made.ok())
        }
        (Body::Method(_, MethodBody::ExclusiveSync(body)), Some(actor)) => match actor.instance.try_write() {
            Ok(mut guard) => match guard.as_mut() {
                Some(instance) => Ran::Ended(caught(context, || body(&mut **instance, arguments))),
                None => broken("missing"),
            },
            Err(_) => broken("in use"),
        },
        (Body::Method(_, MethodBody::SharedSync(body)), Some(actor)) => match actor.instance.try_read() {
            Ok(guard) => match guard.as_ref() {
                Some(instance) => Ran::Ended(caught(context, || body(&**instance, arguments))),
                None => broken("missing"),
            },
            Err(_) => broken("in use"),
        },
        (Body::Method(_, MethodBody::SharedIter(body)), Some(actor)) => match actor.instance.try_read() {
            Ok(guard) => match guard.as_ref() {
                Some(instance) => Ran::Told(stream::produce_iter(worker, job, name, context, || {
                    body(&**instance, arguments)
                })),
                None => broken("missing"),
            },
            Err(_) => broken("in use"),
        },
        _ => broken("of another kind"),
    }
}

async fn run_async(
    worker: &Arc<Worker>,
    job: &Job,
    name: &str,
    context: &Arc<TaskContext>,
    body: Body,
    actor: Option<Arc<LocalActor>>,
    arguments: Arguments,
) -> Ran {
    match (body, actor) {
        (Body::Function(_, FunctionBody::Async(body)), _) => {
            Ran::Ended(caught_async(context.clone(), async move { body(arguments).await }).await)
        }
        (Body::Function(_, FunctionBody::Stream(body)), _) => {
            let items = async move { body(arguments).await };
            Ran::Told(stream::produce_stream(worker, job, name, context, items).await)
        }
        (Body::Construct(ConstructBody::Async(body)), Some(actor)) => {
            let making = WithContext::new(context.clone(), async move { body(arguments).await });
            let made = super::run::catch_panic(making).await;
            constructed(worker, job, name, &actor, made)
        }
        (Body::Method(_, MethodBody::ExclusiveAsync(body)), Some(actor)) => match actor.instance.write().await.as_mut()
        {
            Some(instance) => {
                Ran::Ended(caught_async(context.clone(), async { body(&mut **instance, arguments).await }).await)
            }
            None => broken("missing"),
        },
        (Body::Method(_, MethodBody::SharedAsync(body)), Some(actor)) => match actor.instance.read().await.as_ref() {
            Some(instance) => {
                Ran::Ended(caught_async(context.clone(), async { body(&**instance, arguments).await }).await)
            }
            None => broken("missing"),
        },
        (Body::Method(_, MethodBody::SharedStream(body)), Some(actor)) => match actor.instance.read().await.as_ref() {
            Some(instance) => {
                let items = async { body(&**instance, arguments).await };
                Ran::Told(stream::produce_stream(worker, job, name, context, items).await)
            }
            None => broken("missing"),
        },
        _ => broken("of another kind"),
    }
}

/// Puts a new instance in its place. `None`: the constructor panicked.
fn constructed(
    worker: &Arc<Worker>,
    job: &Job,
    name: &str,
    actor: &LocalActor,
    made: Option<std::result::Result<Instance, TaskError>>,
) -> Ran {
    match made {
        Some(Ok(instance)) => match actor.instance.try_write() {
            Ok(mut place) => {
                *place = Some(instance);
                Ran::Constructed
            }
            Err(_) => broken("in use"),
        },
        Some(Err(error)) => Ran::Told(failed(worker, &job.spec, name, &error)),
        None => Ran::Told(panicked(worker, &job.spec, name, panic::take_last())),
    }
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
