//! Actors that the GCS has constructed in this process, beside other work: the edge of
//! [`state/shared/actors/hosted.rs`](crate::worker::state) (LA-4, LA-5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::actor::{constructor_arguments, constructor_spec};
use super::run::{arguments, registered, task_context};
use super::{Job, shared};
use crate::error::{RayError, Result};
use crate::ids::{ActorId, IdHasher, ObjectId, TaskId, WorkerId};
use crate::registry::{ActorType, RemoteItem};
use crate::remote::Arguments;
use crate::wire::{ActorSpec, ArgSpec, Frame, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{Hosting, TaskContext};
use crate::worker::local::Mailbox;
use crate::worker::refs::Hold;
use crate::worker::state::{Dest, LocalActor, Outgoing};

/// What this process hosts for others.
#[derive(Debug, Default)]
pub(super) struct Hosted {
    /// Actors that wait until the references inside their constructors' arguments are held here.
    claims: Mutex<HashMap<ActorId, Claimed, IdHasher>>,
    /// Calls of other processes that run and have not been answered.
    running: Mutex<HashMap<TaskId, Running, IdHasher>>,
}

#[derive(Debug)]
struct Claimed {
    spec: Box<ActorSpec>,
    restarts: u32,
    references: Vec<(ObjectId, WorkerId)>,
    /// It is not to be constructed any more: what is handed over to it is let go again.
    stopped: bool,
}

#[derive(Debug)]
struct Running {
    actor: ActorId,
    attempt: u32,
    caller: WorkerId,
    is_stream: bool,
    context: Arc<TaskContext>,
}

impl Hosted {
    fn claims(&self) -> MutexGuard<'_, HashMap<ActorId, Claimed, IdHasher>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskId, Running, IdHasher>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of another process begins.
    pub(super) fn begins(&self, job: &Job, context: &Arc<TaskContext>) {
        if let Some(call) = &job.spec.call {
            let running = Running {
                actor: call.actor,
                attempt: job.spec.attempt,
                caller: job.from,
                is_stream: job.spec.stream.is_some(),
                context: context.clone(),
            };
            self.running().insert(job.spec.task, running);
        }
    }

    /// A piece of work of another process has ended. Returns whether it is to be answered: a call whose actor has ended
    /// before it has been (EX-1).
    pub(super) fn ends(&self, spec: &TaskSpec) -> bool {
        spec.call.is_none() || self.running().remove(&spec.task).is_some()
    }
}

/// The context of what another process has sent, or of a constructor for the GCS.
pub(super) fn context(
    spec: &TaskSpec,
    name: &str,
    exclusive: bool,
    (hosting, gpus): (Hosting, Vec<u32>),
    actor: Option<&LocalActor>,
) -> Arc<TaskContext> {
    match actor.filter(|_| spec.call.is_none()) {
        None => Arc::new(TaskContext {
            gpus,
            ..task_context(spec, name.into(), exclusive, hosting, Instant::now())
        }),
        Some(actor) => Arc::new(TaskContext {
            task: spec.task,
            attempt: spec.attempt,
            name: name.into(),
            actor: Some(actor.actor),
            exclusive,
            hosting,
            started: Some(Instant::now()),
            ..TaskContext::default()
        }),
    }
}

/// Its arguments. A constructor waits right here for one that the store has lost: it is nobody's to send again.
pub(super) fn arguments_of(
    worker: &Arc<Worker>,
    spec: &TaskSpec,
    actor: Option<&LocalActor>,
) -> Result<Arguments, TaskOutcome> {
    match actor.filter(|_| spec.call.is_none()) {
        None => arguments(worker, spec),
        Some(_) => {
            constructor_arguments(worker, &spec.args).map_err(|error| TaskOutcome::Failed { error, retry: false })
        }
    }
}

/// A constructor for the GCS has ended.
pub(super) fn constructor_ended(worker: &Arc<Worker>, job: &Job, actor: ActorId, outcome: TaskOutcome) {
    let error = match outcome {
        TaskOutcome::Failed { error, .. } => Some(error),
        _ => None,
    };
    worker.with(|state, now, out| {
        for (object, _) in &job.held {
            state.unhold(*object, Hold::Task, out);
        }
        if let Some(error) = &error {
            state.hosted_not_constructed(actor, error, now, out);
        }
        out.send(Dest::Raylet, Frame::ActorConstructed { actor, error });
    });
}

impl Worker {
    /// The GCS wants an actor constructed here, beside other work.
    pub(crate) fn host(self: &Arc<Self>, spec: ActorSpec, restarts: u32) {
        let spec = Box::new(spec);
        let references: Vec<_> = spec.args.iter().flat_map(ArgSpec::references).collect();
        let (creator, actor) = (spec.owner, spec.actor);
        let claimed = Claimed {
            spec,
            restarts,
            references,
            stopped: false,
        };
        if claimed.references.is_empty() {
            return self.construct_hosted(claimed);
        }
        if creator == self.identity.worker {
            let held = self.with(|state, _, _| state.hold_arguments(actor, &claimed.references));
            return self.hosted_claim_answered(claimed, held);
        }
        self.executor.hosted.claims().insert(actor, claimed);
        self.with(|_, _, out| out.send(Dest::Worker(creator), Frame::ClaimArguments { actor }));
    }

    /// The creator's answer. Returns whether the actor is one that is to live beside other work.
    pub(super) fn hosted_arguments_handed(self: &Arc<Self>, actor: ActorId, handed: bool) -> bool {
        let Some(claimed) = self.executor.hosted.claims().remove(&actor) else {
            return false;
        };
        if handed {
            self.with(|state, _, out| {
                for (object, owner) in &claimed.references {
                    state.receive(*object, *owner, Hold::Task, out);
                }
            });
        }
        if claimed.stopped && handed {
            self.with(|state, _, out| {
                for (object, _) in &claimed.references {
                    state.unhold(*object, Hold::Task, out);
                }
            });
        } else if !claimed.stopped {
            self.hosted_claim_answered(claimed, handed);
        }
        true
    }

    /// A process has died: the references inside the arguments of the actors that it created died with it.
    pub(super) fn hosted_claims_lost(self: &Arc<Self>, creator: WorkerId) {
        let lost: Vec<Claimed> = {
            let mut claims = self.executor.hosted.claims();
            let lost = claims.extract_if(|_, claimed| claimed.spec.owner == creator);
            lost.map(|(_, claimed)| claimed).collect()
        };
        for claimed in lost.into_iter().filter(|claimed| !claimed.stopped) {
            let object = claimed.references.first().map(|(object, _)| *object);
            let object = object.unwrap_or_default();
            let error = RayError::OwnerDied { object, owner: creator };
            self.not_constructed(claimed.spec.actor, error);
        }
    }

    fn hosted_claim_answered(self: &Arc<Self>, claimed: Claimed, held: bool) {
        if held {
            return self.construct_hosted(claimed);
        }
        let (actor, name) = (claimed.spec.actor, claimed.spec.type_name);
        let cause = "its last handle is gone".to_owned();
        self.not_constructed(actor, RayError::ActorDied { actor, name, cause });
    }

    /// Puts the constructor in line. The references are held.
    fn construct_hosted(self: &Arc<Self>, claimed: Claimed) {
        let Claimed {
            spec,
            restarts,
            references,
            ..
        } = claimed;
        let mut construct = constructor_spec(self, &spec, restarts);
        construct.name = Some(format!("{}::new", spec.type_name));
        construct.args = spec.args.clone();
        let job = Job {
            spec: construct,
            from: self.identity.worker,
            held: references,
        };
        let unknown = || RayError::UnknownItem {
            what: format!("the actor type `{}`", spec.type_name),
            why: "its key is not in the table".into(),
        };
        let found = registered(spec.item).and_then(|item| Ok((item, item.as_actor().ok_or_else(unknown)?)));
        match found {
            Ok(found) => self.admit_hosted(&spec, found, job),
            Err(error) => constructor_ended(self, &job, spec.actor, TaskOutcome::Failed { error, retry: false }),
        }
    }

    fn admit_hosted(
        self: &Arc<Self>,
        spec: &ActorSpec,
        (item, class): (&'static RemoteItem, &'static ActorType),
        job: Job,
    ) {
        let host = Arc::new(LocalActor {
            actor: spec.actor,
            item,
            class,
            instance: tokio::sync::RwLock::new(None),
            mailbox: Mailbox::new(spec.max_concurrency, spec.groups.clone(), spec.max_pending_calls),
        });
        // The job stands there before anybody can start it.
        let number = self.with(|state, _, _| state.new_number());
        shared::stand_by(self, number, job);
        self.with(|state, now, out| state.host_actor(spec, number, host, now, out));
    }

    /// The GCS wants an actor ended that lives, or is to live, beside other work.
    pub(crate) fn stop_hosted(self: &Arc<Self>, actor: ActorId, force: bool, why: &str) {
        if let Some(claimed) = self.executor.hosted.claims().get_mut(&actor) {
            claimed.stopped = true;
        }
        let error = self.with(|state, now, out| state.stop_hosted(actor, force, why, now, out));
        if let Some(error) = error {
            self.running_calls_end(actor, &error);
        }
    }

    /// Ends an actor that only its creator's process knows, which is this one.
    pub(crate) fn end_local_actor(self: &Arc<Self>, actor: ActorId, cause: &str) {
        let error = self.with(|state, now, out| state.end_local_actor(actor, cause, now, out));
        if let Some(error) = error {
            self.running_calls_end(actor, &error);
        }
    }

    /// The actor of these calls has ended at once: those of other processes that run are answered now, and told to stop.
    fn running_calls_end(self: &Arc<Self>, actor: ActorId, error: &RayError) {
        let ended: Vec<(TaskId, Running)> = {
            let mut running = self.executor.hosted.running();
            running.extract_if(|_, call| call.actor == actor).collect()
        };
        self.with(|_, _, out| {
            for (task, call) in ended {
                let outcome = TaskOutcome::Failed {
                    error: error.clone(),
                    retry: false,
                };
                let answer = Frame::TaskDone {
                    task,
                    attempt: call.attempt,
                    outcome,
                    reusable: true,
                    ran: 0,
                };
                let answer = if call.is_stream {
                    // Behind its items, which go by socket.
                    Outgoing::Ordered(answer)
                } else {
                    Outgoing::Frame(answer)
                };
                out.sends.push((Dest::Worker(call.caller), answer));
                out.cancelled.push(call.context);
            }
        });
    }
}
