//! Calls to actors, seen from the caller: order, limits, and what becomes of calls when the actor is lost.
//!
//! - AC-1: calls of this process start at the actor in the order of submission: a call whose arguments are not ready holds
//!   back those after it.
//! - AC-2: a call whose worker died may have run: it is sent again only while it has retries, before all later calls.
//! - AC-3: an answered call is never sent again.

use std::collections::VecDeque;
use std::time::Instant;

use super::borrow::contained;
use super::shared::LocalHost;
use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::wire::{ActorInfo, ActorSpec, ActorState, ArgSpec, Frame, GcsReply, GcsRequest};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Hold;
use crate::worker::task::Phase;

/// An actor that this process holds a handle of.
#[derive(Debug)]
pub(crate) struct ActorClient {
    pub(crate) info: Option<ActorInfo>,
    pub(crate) type_name: String,
    /// The object that stands for the handles, and its owner.
    pub(crate) handle: (ObjectId, WorkerId),
    /// Calls that have not been sent, in order.
    queue: VecDeque<TaskId>,
    /// Calls that have been sent and not answered, in order.
    sent: VecDeque<(u64, TaskId)>,
    next_sequence: u64,
    /// Calls sent to the present worker.
    next_order: u64,
    /// Its worker is known to be dead; what comes next is the GCS's to say.
    lost: Option<WorkerId>,
    serving: Option<WorkerId>,
    /// What is still to be sent to the GCS, and whether an existing actor of the name will do.
    creation: Option<(ActorSpec, bool)>,
    /// Objects that its constructor needs.
    held: Vec<ObjectId>,
    max_pending: i64,
    max_task_retries: i64,
    /// It lives in this process, beside other work.
    pub(crate) local: Option<Box<LocalHost>>,
    /// It lives so in the process that owns its handles.
    pub(crate) hosted: bool,
}

impl ActorClient {
    pub(crate) fn new(type_name: String, handle: (ObjectId, WorkerId)) -> Self {
        Self {
            info: None,
            type_name,
            handle,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            next_sequence: 0,
            next_order: 0,
            lost: None,
            serving: None,
            creation: None,
            held: Vec::new(),
            max_pending: -1,
            max_task_retries: 0,
            local: None,
            hosted: false,
        }
    }

    pub(crate) fn set_limits(&mut self, max_pending: i64, max_task_retries: i64) {
        (self.max_pending, self.max_task_retries) = (max_pending, max_task_retries);
    }

    pub(crate) fn next_queued(&self) -> Option<TaskId> {
        self.queue.front().copied()
    }

    pub(crate) fn pop_queued(&mut self) {
        self.queue.pop_front();
    }

    /// Calls pending, how many may be (-1: any number), and how often a call is sent again.
    pub(crate) fn limits(&self) -> (usize, i64, i64) {
        (self.pending(), self.max_pending, self.max_task_retries)
    }

    fn pending(&self) -> usize {
        self.queue.len() + self.sent.len() + self.local.as_ref().map_or(0, |local| local.calls)
    }

    fn worker(&self) -> Option<WorkerId> {
        match self.info.as_ref()?.state {
            ActorState::Alive { worker, .. } if self.lost != Some(worker) => Some(worker),
            _ => None,
        }
    }

    fn name(&self) -> String {
        let given = self.info.as_ref().and_then(|info| info.name.clone());
        given.unwrap_or_else(|| self.type_name.clone())
    }
}

impl State {
    /// Makes an actor known and asks the GCS to tell where it lives.
    pub(crate) fn know_actor(&mut self, actor: ActorId, type_name: &str, handle: (ObjectId, WorkerId), out: &mut Out) {
        if !self.actors.contains_key(&actor) {
            if handle.1 == self.me {
                self.owned_actors.insert(handle.0, actor);
            }
            self.actors
                .insert(actor, ActorClient::new(type_name.to_owned(), handle));
            let body = Box::new(GcsRequest::WatchActor { actor });
            let request = self.new_number();
            out.send(
                Dest::Raylet,
                Frame::GcsRequest {
                    request,
                    from: self.me,
                    body,
                },
            );
        }
    }

    /// Tells the GCS to create an actor. Its constructor's arguments are held here until it is dead, since it may be
    /// constructed again.
    pub(crate) fn register_actor(
        &mut self,
        spec: ActorSpec,
        nested: Vec<ObjectId>,
        get_if_exists: bool,
        now: Instant,
        out: &mut Out,
    ) {
        let actor = spec.actor;
        let mut client = ActorClient::new(spec.type_name.clone(), (spec.handle, self.me));
        client.max_pending = spec.max_pending_calls;
        client.max_task_retries = spec.max_task_retries;
        self.owned_actors.insert(spec.handle, actor);
        let mut waits_for = Vec::new();
        for arg in &spec.args {
            if let ArgSpec::Stored { object, owner, .. } = arg {
                self.hold(*object, Hold::Task);
                client.held.push(*object);
                waits_for.push((*object, *owner));
            }
        }
        for object in nested {
            self.hold(object, Hold::Task);
            client.held.push(object);
        }
        client.creation = Some((spec, get_if_exists));
        self.actors.insert(actor, client);
        for (object, owner) in waits_for {
            if self.objects.add_interest(&object, Interest::Creation(actor)).is_ok() {
                self.subscribe(object, owner, out);
            }
        }
        self.try_create(actor, now, out);
    }

    /// Sends the creation once all arguments are ready.
    pub(super) fn try_create(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let Some((spec, get_if_exists)) = &mut client.creation else {
            return;
        };
        let mut failure = None;
        for arg in &mut spec.args {
            let ArgSpec::Stored { object, refs, .. } = arg else {
                continue;
            };
            match self.objects.slot(object) {
                Some(Slot::Pending) => return,
                Some(Slot::Inline(bytes)) => *arg = ArgSpec::Inline { object: bytes.clone() },
                Some(Slot::Native(_)) => {
                    let object = *object;
                    self.objects.want_encoded(object, Interest::Creation(actor), out);
                    return;
                }
                Some(Slot::Failed(error)) => failure = Some(error.clone()),
                Some(Slot::Stored { .. }) => *refs = contained(&self.refs, object),
                None => {}
            }
        }
        if let Some(error) = failure {
            client.creation = None;
            self.actor_unknown(actor, error, now, out);
            return;
        }
        let body = GcsRequest::CreateActor {
            spec: spec.clone(),
            get_if_exists: *get_if_exists,
        };
        client.creation = None;
        let request = self.new_number();
        self.creations.insert(request, actor);
        out.send(
            Dest::Raylet,
            Frame::GcsRequest {
                request,
                from: self.me,
                body: Box::new(body),
            },
        );
    }

    /// The GCS's answer to a creation or a question of this state.
    pub(crate) fn gcs_replied(&mut self, request: u64, reply: GcsReply, now: Instant, out: &mut Out) {
        let created = self.creations.remove(&request);
        match (created, reply) {
            // Under `get_if_exists` the answer may be an older actor of that name: calls go to it.
            (Some(asked), GcsReply::Actor { info }) if info.actor != asked => self.redirect(asked, info, now, out),
            (_, GcsReply::Actor { info }) => self.actor_changed(info, now, out),
            (Some(asked), GcsReply::Failed { error }) => self.actor_unknown(asked, error, now, out),
            (
                None,
                GcsReply::Failed {
                    error: error @ RayError::ActorDied { actor, .. },
                },
            ) => {
                self.actor_unknown(actor, error, now, out);
            }
            _ => {}
        }
    }

    /// Calls for `asked` go to an actor that was there before.
    fn redirect(&mut self, asked: ActorId, info: ActorInfo, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&asked) else {
            return;
        };
        // The handle stands for an actor that is not ours to end.
        let handle = client.handle.0;
        self.owned_actors.remove(&handle);
        self.aliases.insert(info.actor, asked);
        self.actor_changed(info, now, out);
    }

    /// An actor that was looked up by name: its handles here do not keep it alive.
    pub(crate) fn know_weakly(&mut self, actor: ActorId, type_name: &str, handle: ObjectId, out: &mut Out) {
        let me = self.me;
        self.know_actor(actor, type_name, (handle, me), out);
        self.owned_actors.remove(&handle);
    }

    /// Puts a call in line. One that comes again after a failure goes before those that were never sent.
    pub(super) fn enqueue_call(&mut self, actor: ActorId, task: TaskId, _now: Instant, out: &mut Out) {
        let _ = out;
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        client.queue.push_back(task);
        let handle = client.handle.0;
        self.hold(handle, Hold::Task);
    }

    /// Sends the calls whose turn it is.
    pub(super) fn drive_actor(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        loop {
            let Some(client) = self.actors.get_mut(&actor) else {
                return;
            };
            if let Some(ActorInfo {
                state: ActorState::Dead { error },
                ..
            }) = &client.info
            {
                let error = error.clone();
                let Some(task) = client.queue.pop_front() else { return };
                self.finish_failed(task, &error, now, out);
                continue;
            }
            if client.local.is_some() {
                return self.drive_local(actor, now, out);
            }
            let Some(worker) = client.worker() else { return };
            let Some(task) = client.queue.front().copied() else {
                return;
            };
            let Some(pending) = self.tasks.get_mut(&task) else {
                client.queue.pop_front();
                continue;
            };
            if pending.phase != Phase::Queued {
                return;
            }
            client.queue.pop_front();
            let sequence = client.next_sequence;
            client.next_sequence += 1;
            client.sent.push_back((sequence, task));
            let answered = client.sent.front().map_or(sequence, |(first, _)| *first);
            let real = client.info.as_ref().map_or(actor, |info| info.actor);
            if let Some(call) = &mut pending.spec.call {
                call.actor = real;
                call.sequence = sequence;
                call.answered = answered;
                call.order = client.next_order;
                client.next_order += 1;
            }
            self.push_to(task, worker, out);
        }
    }

    /// A call has its result or its error.
    pub(super) fn call_ended(&mut self, actor: ActorId, task: TaskId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let handle = client.handle.0;
        if let Ok(place) = client.sent.binary_search_by(|(_, sent)| {
            // Sequence numbers and task counters of one caller grow together, but for calls that came again.
            sent.cmp(&task)
        }) {
            client.sent.remove(place);
        } else if let Some(place) = client.sent.iter().position(|(_, sent)| *sent == task) {
            client.sent.remove(place);
        } else if let Some(place) = client.queue.iter().position(|queued| *queued == task) {
            client.queue.remove(place);
        } else if let Some(local) = &mut client.local {
            local.calls = local.calls.saturating_sub(1);
        }
        self.unhold(handle, Hold::Task, out);
        self.drive_actor(actor, now, out);
    }

    /// The actor's worker gives a call back that it cannot begin: it comes again before all that were not sent.
    pub(super) fn call_returned(&mut self, actor: ActorId, task: TaskId) {
        if let Some(client) = self.actors.get_mut(&actor)
            && let Some(place) = client.sent.iter().position(|(_, sent)| *sent == task)
        {
            client.sent.remove(place);
            client.queue.push_front(task);
        }
    }

    /// News of an actor.
    pub(crate) fn actor_changed(&mut self, info: ActorInfo, now: Instant, out: &mut Out) {
        let actor = self.aliases.get(&info.actor).copied().unwrap_or(info.actor);
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        client.max_pending = info.max_pending_calls;
        client.max_task_retries = info.max_task_retries;
        let newer = client
            .info
            .as_ref()
            .is_none_or(|old| !matches!(old.state, ActorState::Dead { .. }) && info.restarts >= old.restarts);
        if !newer {
            return;
        }
        if let ActorState::Alive { worker, pid } = info.state {
            self.pids.insert(worker, pid);
        }
        let state = info.state.clone();
        client.info = Some(info);
        match state {
            ActorState::Alive { worker, .. } => {
                if client.serving != Some(worker) {
                    client.serving = Some(worker);
                    client.next_order = 0;
                }
                if client.lost.is_some_and(|lost| lost != worker) {
                    client.lost = None;
                }
            }
            ActorState::Restarting { cause } => {
                let name = client.name();
                let error = RayError::ActorUnavailable { actor, name, cause };
                self.sent_calls_lost(actor, &error, now, out);
            }
            ActorState::Dead { error } => {
                let held = std::mem::take(&mut client.held);
                held.into_iter().for_each(|object| self.unhold(object, Hold::Task, out));
                self.sent_calls_lost(actor, &error, now, out);
            }
            ActorState::Pending {} => {}
        }
        self.drive_actor(actor, now, out);
    }

    /// The GCS does not know the actor: it died long ago, or belongs to another session.
    pub(crate) fn actor_unknown(&mut self, actor: ActorId, error: RayError, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get(&actor) else { return };
        let info = ActorInfo {
            actor,
            item: 0,
            type_name: client.type_name.clone(),
            name: None,
            namespace: String::new(),
            detached: false,
            owner: client.handle.1,
            handle: client.handle.0,
            state: ActorState::Dead { error },
            restarts: u32::MAX,
            max_task_retries: 0,
            max_pending_calls: -1,
        };
        self.actor_changed(info, now, out);
    }

    /// AC-2: calls that were sent to a worker that is gone.
    fn sent_calls_lost(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let dead = matches!(
            &client.info,
            Some(ActorInfo {
                state: ActorState::Dead { .. },
                ..
            })
        );
        let lost = std::mem::take(&mut client.sent);
        let mut again = Vec::new();
        let mut failed = Vec::new();
        for (_, task) in lost {
            let Some(pending) = self.tasks.get_mut(&task) else {
                continue;
            };
            if !dead && !pending.cancelled && pending.take_retry() {
                pending.spec.attempt += 1;
                pending.phase = Phase::Queued;
                again.push(task);
            } else {
                failed.push(task);
            }
        }
        for task in again.into_iter().rev() {
            client.queue.push_front(task);
        }
        for task in failed {
            self.free_untold(task, out);
            self.finish_failed(task, error, now, out);
        }
    }

    /// The process of an actor is dead: nothing is sent there any more; the GCS says what comes next.
    pub(super) fn actors_of_dead_worker(&mut self, worker: WorkerId, out: &mut Out) {
        self.hosted_actors_lost(worker, out.now, out);
        for client in self.actors.values_mut() {
            if client.worker() == Some(worker) {
                client.lost = Some(worker);
            }
        }
    }

    /// The object that stands for an actor's handles is out of scope: nobody can call the actor any more.
    pub(super) fn handle_out_of_scope(&mut self, object: ObjectId, out: &mut Out) {
        if let Some(actor) = self.owned_actors.remove(&object) {
            let client = self.actors.remove(&actor);
            if client.as_ref().is_some_and(|client| client.local.is_some()) {
                // LA-3. The GCS does not know it.
                out.garbage.push(Box::new(client));
                return;
            }
            let held = client.map(|client| client.held).unwrap_or_default();
            held.into_iter().for_each(|object| self.unhold(object, Hold::Task, out));
            let body = Box::new(GcsRequest::ActorOutOfScope { actor });
            out.send(
                Dest::Raylet,
                Frame::GcsRequest {
                    request: 0,
                    from: self.me,
                    body,
                },
            );
        }
    }
}
