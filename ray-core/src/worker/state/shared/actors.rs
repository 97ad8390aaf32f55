//! Actors that live in this process beside other work: they belong to the process that created them, and the GCS does not
//! know them.
//!
//! - LA-1: which calls start is the rule of [`Mailbox`], as for an actor with a process of its own; the constructor is
//!   the first call, an exclusive one.
//! - LA-2: an idle actor is its instance and a few hundred bytes: no thread, no runtime, no channel.
//! - LA-3: it ends when its last handle is gone; its instance is dropped after the calls that still run, outside the lock.
//!
//! Actors that others look up by name, or that outlive their creator, live in the same way in the host of their job's shared
//! work, and the GCS knows them ([`hosted`]).

mod calls;
mod elsewhere;
mod end;
mod hosted;

use std::fmt;
use std::sync::Arc;

use tokio::sync::RwLock;

use super::super::State;
use crate::error::{RayError, Result};
use crate::ids::{ActorId, TaskId};
use crate::registry::{ActorMethod, ActorType, RemoteItem};
use crate::remote::Instance;
use crate::wire::{ActorCallSpec, TaskSpec};
use crate::worker::Worker;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::Mailbox;

/// An actor of this process, as the threads that run its calls see it.
pub(crate) struct LocalActor {
    pub(crate) actor: ActorId,
    pub(crate) item: &'static RemoteItem,
    pub(crate) class: &'static ActorType,
    /// Never waited for: the queue starts no call that conflicts with a running one. Empty until it is constructed.
    pub(crate) instance: RwLock<Option<Instance>>,
    pub(crate) mailbox: Mailbox,
}

impl fmt::Debug for LocalActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalActor")
            .field("actor", &self.actor)
            .field("type", &self.item.identity().name)
            .finish_non_exhaustive()
    }
}

impl LocalActor {
    pub(crate) fn method(&self, call: &ActorCallSpec) -> Option<&'static ActorMethod> {
        self.class.method(call.method)
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.item.identity().name
    }

    /// It has ended: local calls fail, and those that run are told to stop.
    pub(crate) fn end_local(&self, worker: &Arc<Worker>, error: &RayError) {
        self.mailbox.close();
        for call in self.mailbox.local() {
            if let Some(context) = call.fail(worker, error.clone()) {
                context.cancel.set();
            }
        }
    }
}

/// An actor to be.
#[derive(Debug)]
pub(crate) struct NewActor {
    pub(crate) host: Arc<LocalActor>,
    pub(crate) construct_is_async: bool,
    pub(crate) max_pending: i64,
    pub(crate) max_task_retries: i64,
}

/// What the state knows of an actor that lives here.
#[derive(Debug)]
pub(crate) struct LocalHost {
    host: Arc<LocalActor>,
    constructor: Option<TaskId>,
    construct_is_async: bool,
    /// If the GCS knows it.
    tenancy: Option<Box<hosted::Tenancy>>,
    /// Calls of this process that have arrived and not ended.
    pub(in super::super) calls: usize,
}

impl LocalHost {
    /// A call of this process waits until it can arrive.
    pub(in super::super) fn is_behind(&self) {
        self.host.mailbox.set_behind(true);
    }

    pub(in super::super) fn is_constructing(&self) -> bool {
        self.constructor.is_some()
    }

    fn kind_of(&self, spec: &TaskSpec) -> Result<Kind> {
        let Some(call) = &spec.call else {
            return Ok(Kind {
                exclusive: true,
                is_async: self.construct_is_async,
                group: 0,
            });
        };
        let host = &self.host;
        Kind::of_call(call, host.method(call), host.type_name(), |group| {
            host.mailbox.group(group)
        })
    }
}

impl State {
    /// Makes an actor known that is to live here. The task constructs it, and its first result stands for the handles.
    pub(in super::super) fn insert_local_actor(&mut self, new: NewActor, task: TaskId) {
        let NewActor {
            host,
            construct_is_async,
            max_pending,
            max_task_retries,
        } = new;
        let (actor, handle) = (host.actor, task.object(1));
        // Not `owned`: it is nothing to the GCS.
        let client = self.add_handle(handle, actor, host.type_name(), false);
        client.set_limits(max_pending, max_task_retries);
        client.local = Some(Box::new(LocalHost {
            host,
            constructor: Some(task),
            construct_is_async,
            tenancy: None,
            calls: 0,
        }));
    }

    pub(super) fn local_actor(&self, actor: ActorId) -> Option<Arc<LocalActor>> {
        Some(self.actors.get(&actor)?.local.as_ref()?.host.clone())
    }

    /// All actors that live here.
    pub(crate) fn local_actors(&self) -> Vec<Arc<LocalActor>> {
        let local = self.actors.values().filter_map(|client| client.local.as_ref());
        local.map(|local| local.host.clone()).collect()
    }

    /// Whether the actor lives here, or did.
    pub(crate) fn hosts_actor(&self, actor: ActorId) -> bool {
        self.actors.get(&actor).is_some_and(|client| client.local.is_some())
    }

    pub(super) fn is_constructor(&self, actor: Option<ActorId>, task: TaskId) -> bool {
        let client = actor.and_then(|actor| self.actors.get(&actor));
        client
            .and_then(|client| client.local.as_ref())
            .is_some_and(|local| local.constructor == Some(task))
    }

    /// The task that constructs an actor that lives here, until it has.
    pub(crate) fn constructor_of(&self, actor: ActorId) -> Option<TaskId> {
        self.actors.get(&actor)?.local.as_ref()?.constructor
    }

    pub(super) fn local_actor_constructed(&mut self, actor: ActorId) {
        if let Some(local) = self.actors.get_mut(&actor).and_then(|client| client.local.as_mut()) {
            local.constructor = None;
        }
    }
}
