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

mod hosted;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::RwLock;

use super::super::{Out, State};
use super::{CALL_LINE, Entry};
use crate::error::{RayError, Result};
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::registry::{ActorMethod, ActorType, RemoteItem};
use crate::remote::Instance;
use crate::wire::{ActorCallSpec, ActorInfo, ActorState, TaskSpec};
use crate::worker::Worker;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Called, Mailbox, Startable};
use crate::worker::task::Phase;

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

    /// Hands calls of this process, whose arguments are ready, to the actor's queue.
    pub(in super::super) fn drive_local(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        let me = self.me;
        while let Some(client) = self.actors.get_mut(&actor) {
            let Some(task) = client.next_queued() else { break };
            let Some(local) = client.local.as_mut() else { break };
            let Some(pending) = self.tasks.get_mut(&task) else {
                client.pop_queued();
                continue;
            };
            if pending.phase != Phase::Queued {
                break;
            }
            let kind = local.kind_of(&pending.spec);
            let retries = client.max_task_retries();
            pending.retries_left.get_or_insert(retries);
            client.pop_queued();
            match kind {
                Ok(kind) => {
                    pending.phase = Phase::Pushed(me);
                    if let Some(local) = client.local.as_mut() {
                        local.calls += 1;
                        local.host.mailbox.push(kind, Called::Own(task));
                    }
                }
                Err(error) => self.finish_failed(task, &error, now, out),
            }
        }
        if let Some(client) = self.actors.get(&actor)
            && let Some(local) = &client.local
        {
            local.host.mailbox.set_behind(client.next_queued().is_some());
        }
        self.start_local(actor, out);
    }

    /// A call of another process has arrived. Returns the number under which it will start.
    pub(crate) fn shared_foreign_call(&mut self, spec: &TaskSpec, out: &mut Out) -> Result<u64> {
        let actor = spec.call.as_ref().map(|call| call.actor).unwrap_or_default();
        let number = self.new_number();
        let gone = || RayError::ActorDied {
            actor,
            name: "unknown".into(),
            cause: "it has ended".into(),
        };
        let client = self.actors.get_mut(&actor).ok_or_else(gone)?;
        if let Some(ActorInfo {
            state: ActorState::Dead { error },
            ..
        }) = client.info.as_deref()
        {
            return Err(error.clone());
        }
        let local = client.local.as_mut().ok_or_else(gone)?;
        let kind = local.kind_of(spec)?;
        local.host.mailbox.push(kind, Called::Foreign(number));
        self.start_local(actor, out);
        Ok(number)
    }

    fn start_local(&mut self, actor: ActorId, out: &mut Out) {
        if let Some(local) = self.actors.get(&actor).and_then(|client| client.local.as_ref()) {
            let startable = local.host.mailbox.start();
            self.start_calls(actor, startable, out);
        }
    }

    /// Puts calls in line whose turn at their actor has come.
    pub(crate) fn start_calls(&mut self, actor: ActorId, startable: Startable, out: &mut Out) {
        for (kind, called) in startable.of_state {
            self.shared_push(CALL_LINE, Entry::Call(actor, kind, called), out);
        }
        if !startable.local.is_empty() {
            self.local_calls(startable.local, out);
        }
    }

    /// All actors that live here.
    pub(crate) fn local_actors(&self) -> Vec<Arc<LocalActor>> {
        let local = self.actors.values().filter_map(|client| client.local.as_ref());
        local.map(|local| local.host.clone()).collect()
    }

    /// A call that was started has ended.
    pub(super) fn local_call_ended(&mut self, actor: ActorId, kind: Kind, out: &mut Out) {
        if let Some(local) = self.actors.get_mut(&actor).and_then(|client| client.local.as_mut()) {
            let startable = local.host.mailbox.ended(kind);
            let may_leave = local.tenancy.is_some();
            self.start_calls(actor, startable, out);
            if may_leave {
                self.leave_if_quiet(actor, out);
            }
        }
    }

    /// The call, or the constructor that it waits for, if it stands in line and a thread can run it.
    pub(super) fn shared_call_in_line(&self, actor: ActorId, task: TaskId) -> Option<(TaskId, Kind)> {
        let local = self.actors.get(&actor)?.local.as_ref()?;
        let task = local.constructor.unwrap_or(task);
        let pending = self.tasks.get(&task)?;
        let arrived = matches!(pending.phase, Phase::Pushed(_)) && pending.context.is_none() && !pending.cancelled;
        let kind = local.kind_of(&pending.spec).ok()?;
        let on_thread = !kind.is_async && pending.spec.stream.is_none();
        let in_line = arrived && on_thread && !local.host.mailbox.is_waiting(Called::Own(task));
        in_line.then_some((task, kind))
    }

    /// A call that has not started is cancelled. Returns whether it was one.
    pub(crate) fn cancel_waiting_call(&mut self, task: TaskId, now: Instant, out: &mut Out) -> bool {
        let Some(actor) = self.tasks.get(&task).and_then(|pending| pending.actor) else {
            return false;
        };
        let Some(local) = self.actors.get_mut(&actor).and_then(|client| client.local.as_mut()) else {
            return false;
        };
        let waited = local.host.mailbox.remove(Called::Own(task));
        if waited {
            self.forget_task(task, now, out);
            self.start_local(actor, out);
        }
        waited
    }

    /// A call of another process that has not started is cancelled. Returns whether it was one.
    pub(crate) fn cancel_foreign_call(&mut self, actor: ActorId, number: u64, out: &mut Out) -> bool {
        let Some(local) = self.actors.get_mut(&actor).and_then(|client| client.local.as_mut()) else {
            return false;
        };
        let waited = local.host.mailbox.remove(Called::Foreign(number));
        self.start_local(actor, out);
        waited
    }

    /// Ends an actor that lives here: what waits fails, what runs is told to stop.
    /// Returns their error if it was there.
    pub(crate) fn end_local_actor(
        &mut self,
        actor: ActorId,
        cause: &str,
        now: Instant,
        out: &mut Out,
    ) -> Option<RayError> {
        let name = self.local_actor(actor)?.type_name().to_owned();
        let cause = cause.to_owned();
        let error = RayError::ActorDied { actor, name, cause };
        self.bury_local(actor, &error, now, out);
        Some(error)
    }

    /// The actor is dead: its calls fail with this error.
    pub(super) fn bury_local(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        let local = self.actors.get_mut(&actor).and_then(|client| client.local.take());
        if let Some(local) = local {
            // Whoever runs what others have sent finds no actor, and tells them.
            for called in local.host.mailbox.close() {
                if let Called::Foreign(number) = called {
                    self.shared_push(CALL_LINE, Entry::Foreign(number), out);
                }
            }
            out.buried.push((local.host.clone(), error.clone()));
            out.garbage.push(local);
        }
        self.actor_unknown(actor, error.clone(), now, out);
        let calls = self.tasks.values().filter(|pending| pending.actor == Some(actor));
        let calls: Vec<TaskId> = calls.map(|pending| pending.id()).collect();
        for task in calls {
            let Some(pending) = self.tasks.get_mut(&task) else {
                continue;
            };
            match pending.context.clone() {
                Some(context) => {
                    // Its results are settled now; what it still yields is dropped.
                    let results: Vec<ObjectId> = pending.results().collect();
                    pending.cancelled = true;
                    out.cancelled.push(context);
                    for object in results {
                        self.settle(object, crate::worker::objects::Slot::failed(error.clone()), now, out);
                    }
                    self.fail_stream(task, error, out);
                }
                None => self.finish_failed(task, error, now, out),
            }
        }
    }

    /// An actor that lives in another process, beside that process's other work: it is there as long as that is.
    pub(crate) fn know_hosted_actor(&mut self, actor: ActorId, type_name: &str, handle: (ObjectId, WorkerId)) {
        let me = self.me;
        if self.handles.contains_key(&handle.0) || handle.1 == me {
            return;
        }
        let pid = self.pids.get(&handle.1).copied().unwrap_or_default();
        let client = self.add_handle(handle.0, actor, type_name.to_owned(), false);
        client.host = Some(handle.1);
        client.info = Some(Box::new(ActorInfo {
            actor,
            item: 0,
            type_name: type_name.to_owned(),
            name: None,
            namespace: String::new(),
            detached: false,
            owner: handle.1,
            handle: handle.0,
            state: ActorState::Alive { worker: handle.1, pid },
            restarts: 0,
            max_task_retries: 0,
            max_pending_calls: -1,
            saves: None,
            calls_ahead: 0,
            shared: true,
        }));
    }

    /// The process of an actor that was created without the GCS, if that is another one.
    pub(crate) fn host_elsewhere(&self, actor: ActorId) -> Option<WorkerId> {
        self.actors.get(&actor).and_then(|client| client.host)
    }

    /// The host of these actors is dead, and they with it.
    pub(in super::super) fn hosted_actors_lost(&mut self, worker: WorkerId, now: Instant, out: &mut Out) {
        let lost = self.actors.iter().filter(|(_, client)| client.host == Some(worker));
        let lost: Vec<(ActorId, String)> = lost
            .map(|(actor, client)| (*actor, client.type_name.clone().into_owned()))
            .collect();
        for (actor, name) in lost {
            let cause = "the process that it lived in has ended".to_owned();
            self.actor_unknown(actor, RayError::ActorDied { actor, name, cause }, now, out);
        }
    }
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
