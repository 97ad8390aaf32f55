//! Creating, finding and ending actors.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::checkpoint::CheckpointSummary;
use super::submit::prepare;
use super::template::{limit, of_construction, steps, strategy};
use crate::api::blocking;
use crate::api::object_ref::{RawActorHandle, RawRef};
use crate::error::{RayError, Result};
use crate::ids::ActorId;
use crate::registry::{ActorType, RemoteItem};
use crate::remote::{ActorHandle, ActorOptions, CallBuilder, ConstructBody, Isolation, Lifetime, SchedulingStrategy};
use crate::wire::{ActorInfo, ActorSpec, ActorState, ArgSpec, Frame, GcsReply, GcsRequest};
use crate::worker::execute::actor_queue::Limits;
use crate::worker::local::Mailbox;
use crate::worker::refs::Hold;
use crate::worker::resolve::Target;
use crate::worker::state::{Argument, Dest, LocalActor, NewActor, NewTask, Out, State};
use crate::worker::{Worker, current};

/// Creates an actor. What goes wrong becomes the error of its calls.
pub fn create_actor(
    item: &'static RemoteItem,
    call: CallBuilder,
    options: Option<Arc<ActorOptions>>,
) -> RawActorHandle {
    let type_name: Arc<str> = item.identity().name.into();
    let created = current().and_then(|worker| create(&worker, item, call, options.as_deref()));
    created.unwrap_or_else(|error| RawActorHandle {
        actor: ActorId::default(),
        handle: Arc::new(RawRef::failed(error)),
        type_name,
        hosted: false,
        item: None,
        local: Weak::new(),
    })
}

fn create(
    worker: &Arc<Worker>,
    item: &'static RemoteItem,
    call: CallBuilder,
    options: Option<&ActorOptions>,
) -> Result<RawActorHandle> {
    let defaults = ActorOptions::default();
    let of_attribute = item.as_actor().map(|actor| actor.defaults());
    let options = options.or(of_attribute).unwrap_or(&defaults);
    let type_name = item.identity().name;
    options
        .validate()
        .map_err(|error| invalid(type_name, &error.to_string()))?;
    if lives_here(options)
        && let Some(class) = item.as_actor()
    {
        return create_here(worker, item, class, call, options);
    }
    if options.isolation == Isolation::Shared {
        check_shared(type_name, options)?;
    }
    let mut prepared = prepare(worker, call)?;
    let namespace = options
        .namespace
        .clone()
        .unwrap_or_else(|| worker.identity.namespace.clone());
    let actor = ActorId::random();
    let args = std::mem::take(&mut prepared.args);
    let spec = spec(worker, item, options, actor, namespace)?;
    let handle = worker.with(|state, now, out| {
        let handle = state.new_task_id().object(1);
        state.refs.own(handle, Hold::Handle);
        state.objects.expect(handle);
        let nested = prepared.nested.iter().map(|(object, _)| *object);
        state.create_actor(
            ActorSpec { handle, ..spec },
            args,
            nested.collect(),
            options.get_if_exists,
            now,
            out,
        );
        handle
    });
    Ok(RawActorHandle {
        actor,
        handle: Arc::new(RawRef::counted(worker, handle, worker.identity.worker)),
        type_name: type_name.into(),
        hosted: false,
        // Under `get_if_exists` it may be one in another process.
        item: (options.isolation == Isolation::Shared && !options.get_if_exists && worker.identity.is_driver())
            .then_some(item),
        local: Weak::new(),
    })
}

/// Whether such an actor belongs to the process that creates it, and the GCS does not know it: nobody looks for it, and it
/// takes nothing that is scheduled.
pub(super) fn lives_here(options: &ActorOptions) -> bool {
    options.isolation == Isolation::Shared && options.name.is_none() && options.lifetime != Lifetime::Detached
}

/// Refuses what an actor without a process of its own does not have.
fn check_shared(type_name: &str, options: &ActorOptions) -> Result<()> {
    let given = [
        ("memory", options.memory.is_some()),
        ("max_restarts", options.max_restarts != 0),
        ("checkpoint", options.checkpoint.is_some()),
        ("num_cpus", options.num_cpus.is_some_and(|cpus| cpus > 0.0)),
        ("num_gpus", options.num_gpus > 0.0),
        ("resources", !options.resources.is_empty()),
        (
            "placement_group",
            matches!(options.scheduling_strategy, SchedulingStrategy::PlacementGroup { .. }),
        ),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(RayError::Unsupported {
            call: format!("an actor `{type_name}` with isolation `shared`"),
            why: format!(
                "it lives and ends with the process that hosts it beside other work, which `{option}` does not fit: leave it away, or use isolation `process`"
            ),
        }),
    }
}

/// Creates an actor in this process. Neither the raylet nor the GCS hears of it.
fn create_here(
    worker: &Arc<Worker>,
    item: &'static RemoteItem,
    class: &'static ActorType,
    call: CallBuilder,
    options: &ActorOptions,
) -> Result<RawActorHandle> {
    thread_local! {
        // The name of the type that was created last: handles share it.
        static NAME: RefCell<Option<(&'static str, Arc<str>)>> = const { RefCell::new(None) };
    }
    let name = item.identity().name;
    check_shared(name, options)?;
    let mut prepared = prepare(worker, call)?;
    let actor = ActorId::random();
    let construct = NewActor {
        host: Arc::new(LocalActor {
            actor,
            item,
            class,
            instance: tokio::sync::RwLock::new(None),
            mailbox: Mailbox::new(
                options.max_concurrency.unwrap_or(0),
                options.concurrency_groups.clone(),
                limit(options.max_pending_calls),
            ),
        }),
        construct_is_async: matches!(class.construct, ConstructBody::Async(_)),
        max_pending: limit(options.max_pending_calls),
        max_task_retries: limit(options.max_task_retries),
    };
    let local = Arc::downgrade(&construct.host);
    let new = NewTask {
        template: of_construction(item)?,
        call: None,
        construct: Some(Box::new(construct)),
        name: None,
        parent: worker.parent_task(),
        args: std::mem::take(&mut prepared.args),
        nested: std::mem::take(&mut prepared.nested),
        returns: 1,
        stream: None,
        timeout: None,
        max_retries: Some(0),
    };
    let submitted = worker.with(|state, now, out| state.submit(new, now, out));
    drop(prepared);
    let handle = submitted.task.object(1);
    let type_name = NAME.with_borrow_mut(|known| match known {
        Some((known, shared)) if std::ptr::eq(*known, name) => shared.clone(),
        _ => known.insert((name, name.into())).1.clone(),
    });
    Ok(RawActorHandle {
        actor,
        handle: Arc::new(RawRef::counted(worker, handle, worker.identity.worker)),
        type_name,
        hosted: true,
        item: Some(item),
        local,
    })
}

pub(super) fn invalid(name: &str, why: &str) -> RayError {
    RayError::InvalidOption {
        option: "of the actor".into(),
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

/// Calls that are sent ahead of those that run: what the ring holds, so that the actor never waits for the next one.
const AHEAD: u32 = 256;

/// How many calls are sent ahead. Calls beyond those that can run at once cannot begin, so that none of them can be what a
/// running one waits for; those of concurrency groups pass each other, and all are sent.
fn calls_ahead(class: &ActorType, options: &ActorOptions) -> u32 {
    if !options.concurrency_groups.is_empty() {
        return 0;
    }
    let has_async = class.methods.iter().any(|method| method.body.is_async());
    Limits::of_actor(options.max_concurrency.unwrap_or(0))
        .at_once(has_async)
        .saturating_add(AHEAD)
}

fn spec(
    worker: &Arc<Worker>,
    item: &'static RemoteItem,
    options: &ActorOptions,
    actor: ActorId,
    namespace: String,
) -> Result<ActorSpec> {
    let type_name = item.identity().name;
    let shared = options.isolation == Isolation::Shared;
    let amounts = |cpus: f64| {
        let amounts = [("CPU", cpus), ("GPU", options.num_gpus)];
        steps(&amounts, options.memory, &options.resources).map_err(|why| invalid(type_name, &why))
    };
    let checkpoint = super::checkpoint::spec(worker, item, options, actor, &namespace)?;
    Ok(ActorSpec {
        actor,
        job: worker.identity.job,
        owner: worker.identity.worker,
        handle: crate::ids::ObjectId::default(),
        item: item.key().0,
        type_name: type_name.to_owned(),
        name: options.name.clone(),
        namespace,
        detached: options.lifetime == Lifetime::Detached,
        args: Vec::new(),
        max_restarts: limit(options.max_restarts),
        max_task_retries: limit(options.max_task_retries),
        max_concurrency: options.max_concurrency.unwrap_or_default(),
        max_pending_calls: limit(options.max_pending_calls),
        calls_ahead: item.as_actor().map_or(0, |class| calls_ahead(class, options)),
        groups: options.concurrency_groups.clone(),
        // As in Ray: one CPU to be placed and none to live, unless a number was given.
        resources: amounts(options.num_cpus.unwrap_or(0.0))?,
        placement: amounts(options.num_cpus.unwrap_or(if shared { 0.0 } else { 1.0 }))?,
        strategy: strategy(&options.scheduling_strategy),
        checkpoint,
        shared,
    })
}

impl State {
    /// Registers an actor with the GCS once its constructor's arguments are ready.
    pub(crate) fn create_actor(
        &mut self,
        spec: ActorSpec,
        args: smallvec::SmallVec<[Argument; 4]>,
        nested: Vec<crate::ids::ObjectId>,
        get_if_exists: bool,
        now: std::time::Instant,
        out: &mut crate::worker::state::Out,
    ) {
        let args = args.into_iter().map(|arg| match arg {
            Argument::Value(object) => ArgSpec::Inline { object },
            // The lane of an actor that the GCS is to know is never the native one.
            Argument::Native(_) => ArgSpec::Inline { object: Bytes::new() },
            Argument::Stored { object, owner } | Argument::Reference { object, owner } => ArgSpec::Stored {
                object,
                owner,
                refs: Vec::new(),
            },
        });
        let spec = ActorSpec {
            args: args.collect(),
            ..spec
        };
        self.register_actor(spec, nested, get_if_exists, now, out);
    }
}

/// Finds a living actor by its name; without a namespace in the job's own.
///
/// # Errors
/// [`RayError::ActorNotFound`], and an error if it is of another type.
pub fn get_actor(item: &'static RemoteItem, namespace: Option<&str>, name: &str) -> Result<RawActorHandle> {
    let worker = current()?;
    let namespace = namespace.map_or_else(|| worker.identity.namespace.clone(), str::to_owned);
    let request = GcsRequest::FindActor {
        name: name.to_owned(),
        namespace,
    };
    match worker.ask_blocking(request)? {
        GcsReply::Actor { info } => adopt(&worker, item, &info),
        other => Err(RayError::internal(format!("{other:?} answers a search for an actor"))),
    }
}

/// A handle of an actor that the GCS knows. It does not keep the actor alive: it is weak, as in Ray.
fn adopt(worker: &Arc<Worker>, item: &'static RemoteItem, info: &ActorInfo) -> Result<RawActorHandle> {
    let expected = item.identity().name;
    if info.item != item.key().0 {
        let what = format!("actor {} as `{expected}`", info.actor);
        return Err(RayError::UnknownItem {
            what,
            why: format!("it is a `{}`", info.type_name),
        });
    }
    let handle = worker.with(|state, now, out| {
        // An object of our own stands for a weak handle: it is counted here, and nobody else hears of it.
        let handle = state.new_task_id().object(1);
        state.refs.own(handle, Hold::Handle);
        state.objects.expect(handle);
        state.know_weakly(info.clone(), handle, now, out);
        handle
    });
    let type_name = info.type_name.as_str().into();
    Ok(RawActorHandle {
        actor: info.actor,
        handle: Arc::new(RawRef::counted(worker, handle, worker.identity.worker)),
        type_name,
        hosted: false,
        // On the driver's node the driver is the host of shared work.
        item: (info.shared && worker.identity.is_driver()).then_some(item),
        local: Weak::new(),
    })
}

/// Ends an actor at once, without waiting for its calls. With `no_restart` it stays dead although it has restarts left.
///
/// # Errors
/// [`RayError::SessionEnded`], [`RayError::Disconnected`]; [`RayError::ActorPending`] if the arguments of its constructor are
/// not ready in time, and only the cluster can tell which actor the handle stands for.
pub fn kill<H: ActorHandle>(handle: &H, no_restart: bool) -> Result<()> {
    let raw = handle.raw();
    let (object, owner, worker) = raw.handle.target()?;
    if raw.hosted {
        match worker.read(|state| state.host_elsewhere(raw.actor)) {
            Some(host) => worker.with(|_, _, out| out.send(Dest::Worker(host), Frame::EndActor { actor: raw.actor })),
            None => worker.end_local_actor(raw.actor, "it was killed by kill()"),
        }
        return Ok(());
    }
    let never = |state: &mut State, now, out: &mut Out| state.abandon_creation(raw.actor, no_restart, now, out);
    if worker.with(never) {
        return Ok(());
    }
    // Which actor it is, is known once it is created: under `get_if_exists` it may be an older one.
    let limit = Duration::from_secs(worker.config.gcs_server_request_timeout_seconds);
    let known = blocking::allow("kill()", "a blocking thread", || {
        worker.block_until(&[Target::Known(object, owner)], 1, Some(limit))
    })?;
    if !known {
        return Err(RayError::ActorPending {
            actor: raw.actor,
            name: raw.type_name.as_ref().to_owned(),
            waited: limit,
        });
    }
    let actor = worker.read(|state| state.real_actor(raw.actor));
    worker
        .ask_blocking(GcsRequest::KillActor { actor, no_restart })
        .map(drop)
}

/// What is known of one actor.
#[derive(Debug, Clone)]
pub struct ActorSummary {
    /// The actor.
    pub id: ActorId,
    /// The name of its type.
    pub type_name: String,
    /// The name it is found by, if it has one.
    pub name: Option<String>,
    /// Where the name holds.
    pub namespace: String,
    /// `PENDING`, `ALIVE`, `RESTARTING` or `DEAD`.
    pub state: &'static str,
    /// Its process, while it is alive.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u32,
    /// How the saves of its state stand, if it is saved.
    pub checkpoint: Option<CheckpointSummary>,
}

/// All actors of the cluster, the dead ones too.
///
/// # Errors
/// [`RayError::NotInitialized`], [`RayError::Disconnected`].
pub fn list_actors() -> Result<Vec<ActorSummary>> {
    let worker = current()?;
    match blocking::run(
        "list_actors()",
        "a blocking thread",
        worker.ask(GcsRequest::ListActors {}),
    )? {
        GcsReply::Actors { actors } => Ok(actors.into_iter().map(summary).collect()),
        other => Err(RayError::internal(format!(
            "{other:?} answers a question for all actors"
        ))),
    }
}

fn summary(info: ActorInfo) -> ActorSummary {
    let (state, pid) = match info.state {
        ActorState::Pending {} => ("PENDING", None),
        ActorState::Alive { pid, .. } => ("ALIVE", Some(pid)),
        ActorState::Restarting { .. } => ("RESTARTING", None),
        ActorState::Dead { .. } => ("DEAD", None),
    };
    ActorSummary {
        id: info.actor,
        type_name: info.type_name,
        name: info.name,
        namespace: info.namespace,
        state,
        pid,
        restarts: info.restarts,
        checkpoint: info.saves.map(|saves| CheckpointSummary::of(*saves)),
    }
}
