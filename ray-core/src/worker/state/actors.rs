//! Calls to actors, seen from the caller: order, limits, and what becomes of calls when the actor is lost.
//!
//! - AC-1: calls of this process start at the actor in the order of submission: a call whose arguments are not ready holds
//!   back those after it.
//! - AC-2: a call whose worker died may have run: it is sent again only while it has retries, before all later calls.
//! - AC-3: an answered call is never sent again.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::wire::{ActorInfo, ActorSpec, ActorState, ArgSpec, DeathCause, Frame, GcsReply, GcsRequest};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Hold;
use crate::worker::task::Phase;

/// An actor that this process holds a handle of.
#[derive(Debug)]
pub(crate) struct ActorClient {
    info: Option<ActorInfo>,
    type_name: String,
    /// Objects of this process's table that stand for handles of the actor.
    handles: usize,
    /// Calls that have not been sent, in order.
    queue: VecDeque<TaskId>,
    /// Calls that have been sent and not answered, in order; all to one worker.
    sent: VecDeque<Sent>,
    /// The worker that is known to be dead, everything that it sent having been read, and how it ended.
    lost: Option<(WorkerId, DeathCause)>,
    /// What is still to be sent to the GCS, and whether an existing actor of the name will do.
    creation: Option<(ActorSpec, bool)>,
    /// Objects that its constructor needs.
    held: Vec<ObjectId>,
    /// References inside the constructor's arguments, as they were sent.
    argument_refs: Vec<ObjectId>,
    max_pending: i64,
    max_task_retries: i64,
    /// Calls are being sent or failed: what follows from that must not begin anew.
    driving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    sequence: u64,
    task: TaskId,
    worker: WorkerId,
}

/// What an object that stands for handles is to this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handled {
    /// The actor as the handle names it. Under `get_if_exists` another may take its place.
    asked: ActorId,
    actor: ActorId,
    /// The actor ends when this object goes out of scope.
    owned: bool,
}

impl ActorClient {
    fn new(type_name: String) -> Self {
        Self {
            info: None,
            type_name,
            handles: 0,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            lost: None,
            creation: None,
            held: Vec::new(),
            argument_refs: Vec::new(),
            max_pending: -1,
            max_task_retries: 0,
            driving: false,
        }
    }

    /// Calls pending, and how many may be (-1: any number).
    pub(crate) fn limits(&self) -> (usize, i64) {
        (self.queue.len() + self.sent.len(), self.max_pending)
    }

    /// Where calls can be sent now. Not to a new worker while the fate of those sent to the old one is open (AC-1).
    fn worker(&self) -> Option<WorkerId> {
        let Some(ActorState::Alive { worker, .. }) = self.info.as_ref().map(|info| &info.state) else {
            return None;
        };
        let lost = self.lost.as_ref().is_some_and(|(lost, _)| lost == worker);
        let open_elsewhere = self.sent.front().is_some_and(|sent| sent.worker != *worker);
        (!lost && !open_elsewhere).then_some(*worker)
    }

    fn name(&self) -> String {
        let given = self.info.as_ref().and_then(|info| info.name.clone());
        given.unwrap_or_else(|| self.type_name.clone())
    }

    fn is_dead(&self) -> bool {
        matches!(
            self.info.as_ref().map(|info| &info.state),
            Some(ActorState::Dead { .. })
        )
    }
}

impl State {
    /// The actor that takes the calls for `asked`: under `get_if_exists` an older one.
    pub(crate) fn real_actor(&self, asked: ActorId) -> ActorId {
        self.redirects.get(&asked).copied().unwrap_or(asked)
    }

    /// What is known of the actor that takes the calls for `asked`.
    pub(crate) fn actor_client(&self, asked: ActorId) -> Option<&ActorClient> {
        self.actors.get(&self.real_actor(asked))
    }

    /// A handle has come from another process. Its object tells which actor it is once that has been created.
    pub(crate) fn know_actor(&mut self, asked: ActorId, type_name: &str, handle: (ObjectId, WorkerId), out: &mut Out) {
        let (object, owner) = handle;
        if self.handles.contains_key(&object) {
            return;
        }
        self.add_handle(object, asked, type_name, false);
        if self.objects.add_interest(&object, Interest::Handle).is_ok() {
            self.subscribe(object, owner, out);
        } else {
            self.handle_ready(object, out.now, out);
        }
    }

    fn add_handle(&mut self, object: ObjectId, actor: ActorId, type_name: &str, owned: bool) {
        let handled = Handled {
            asked: actor,
            actor,
            owned,
        };
        self.handles.insert(object, handled);
        let new = || ActorClient::new(type_name.to_owned());
        self.actors.entry(actor).or_insert_with(new).handles += 1;
    }

    /// The object of a handle tells which actor it stands for.
    pub(super) fn handle_ready(&mut self, object: ObjectId, now: Instant, out: &mut Out) {
        let Some(handled) = self.handles.get(&object).copied() else {
            return;
        };
        let real = match self.objects.slot(&object) {
            Some(Slot::Inline(bytes)) => crate::value::decode(bytes).unwrap_or(handled.asked),
            // A detached actor outlives whoever created it.
            Some(Slot::Failed(RayError::OwnerDied { .. })) => handled.asked,
            Some(Slot::Failed(error)) => {
                let error = error.clone();
                return self.actor_unknown(handled.actor, error, now, out);
            }
            _ => return,
        };
        if real != handled.actor {
            self.redirect(handled.actor, real, out);
        }
        let body = Box::new(GcsRequest::WatchActor { actor: real });
        let (request, from) = (self.new_number(), self.me);
        out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
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
        let mut client = ActorClient::new(spec.type_name.clone());
        client.handles = 1;
        client.max_pending = spec.max_pending_calls;
        client.max_task_retries = spec.max_task_retries;
        let handled = Handled {
            asked: actor,
            actor,
            owned: true,
        };
        self.handles.insert(spec.handle, handled);
        let mut waits_for = Vec::new();
        for arg in &spec.args {
            if let ArgSpec::Stored { object, owner } = arg {
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
            let ArgSpec::Stored { object, .. } = arg else { continue };
            match self.objects.slot(object) {
                Some(Slot::Pending) => return,
                Some(Slot::Inline(bytes)) => *arg = ArgSpec::Inline { object: bytes.clone() },
                Some(Slot::Native(native)) => match native.encoded() {
                    Ok(bytes) => *arg = ArgSpec::Inline { object: bytes },
                    Err(error) => failure = Some(error),
                },
                Some(Slot::Failed(error)) => failure = Some(error.clone()),
                Some(Slot::Stored { .. }) | None => {}
            }
        }
        let handle = spec.handle;
        if let Some(error) = failure {
            client.creation = None;
            self.settle(handle, Slot::Failed(error.clone()), now, out);
            self.actor_unknown(actor, error, now, out);
            return;
        }
        client.argument_refs = references_in(&spec.args);
        let body = GcsRequest::CreateActor {
            spec: spec.clone(),
            get_if_exists: *get_if_exists,
        };
        client.creation = None;
        let request = self.new_number();
        self.creations.insert(request, (actor, handle));
        out.send(
            Dest::Raylet,
            Frame::GcsRequest {
                request,
                from: self.me,
                body: Box::new(body),
            },
        );
    }

    /// The actor's worker is about to construct it: the references inside the arguments are handed over to it. `false`:
    /// nobody holds them any more, since nobody holds the actor.
    pub(crate) fn hand_over_arguments(&mut self, actor: ActorId, to: WorkerId, out: &mut Out) -> bool {
        let Some(client) = self.actors.get(&actor).filter(|client| !client.is_dead()) else {
            return false;
        };
        for object in client.argument_refs.clone() {
            self.hand_over(object, to, out);
        }
        true
    }

    /// The GCS's answer to a creation or a question of this state.
    pub(crate) fn gcs_replied(&mut self, request: u64, reply: GcsReply, now: Instant, out: &mut Out) {
        let created = self.creations.remove(&request);
        match (created, reply) {
            (Some((asked, handle)), GcsReply::Actor { info }) => {
                // Under `get_if_exists` the answer may be an older actor of that name: calls go to it.
                if info.actor != asked {
                    self.redirect(asked, info.actor, out);
                }
                self.settle_handle(handle, info.actor, now, out);
                self.actor_changed(info, now, out);
            }
            (Some((asked, handle)), GcsReply::Failed { error }) => {
                self.settle(handle, Slot::Failed(error.clone()), now, out);
                self.actor_unknown(asked, error, now, out);
            }
            (None, GcsReply::Actor { info }) => self.actor_changed(info, now, out),
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

    /// From now on the handle's object tells whoever holds it which actor it is.
    fn settle_handle(&mut self, handle: ObjectId, actor: ActorId, now: Instant, out: &mut Out) {
        let slot = match crate::value::encode(&actor) {
            Ok(encoded) => Slot::Inline(encoded.to_bytes()),
            Err(error) => Slot::Failed(RayError::internal(error)),
        };
        self.settle(handle, slot, now, out);
    }

    /// Calls for `asked` go to an actor that was there before, and is not ours to end.
    fn redirect(&mut self, asked: ActorId, real: ActorId, out: &mut Out) {
        let Some(old) = self.actors.remove(&asked) else { return };
        self.redirects.insert(asked, real);
        for handled in self.handles.values_mut().filter(|handled| handled.actor == asked) {
            handled.actor = real;
            handled.owned = false;
        }
        for task in &old.queue {
            if let Some(pending) = self.tasks.get_mut(task) {
                pending.actor = Some(real);
            }
        }
        let new = || ActorClient::new(old.type_name.clone());
        let client = self.actors.entry(real).or_insert_with(new);
        client.handles += old.handles;
        client.queue.extend(old.queue);
        old.held
            .into_iter()
            .for_each(|object| self.unhold(object, Hold::Task, out));
    }

    /// An actor that was looked up by name: its handles here do not keep it alive.
    pub(crate) fn know_weakly(&mut self, info: ActorInfo, handle: ObjectId, now: Instant, out: &mut Out) {
        let actor = info.actor;
        self.add_handle(handle, actor, &info.type_name, false);
        self.settle_handle(handle, actor, now, out);
        // This process hears of changes from now on, and what changed since the answer comes with the next one.
        let body = Box::new(GcsRequest::WatchActor { actor });
        let (request, from) = (self.new_number(), self.me);
        out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
        self.actor_changed(info, now, out);
    }

    /// Puts a call in line.
    pub(super) fn enqueue_call(&mut self, actor: ActorId, task: TaskId) {
        if let Some(client) = self.actors.get_mut(&actor) {
            client.queue.push_back(task);
        }
    }

    /// Sends the calls whose turn it is; fails them if the actor is dead.
    pub(super) fn drive_actor(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        match self.actors.get_mut(&actor) {
            Some(client) if !client.driving => client.driving = true,
            _ => return,
        }
        while self.drive_first(actor, now, out) {}
        if let Some(client) = self.actors.get_mut(&actor) {
            client.driving = false;
        }
    }

    /// Sends or fails the first call in line. `false`: its turn has not come.
    fn drive_first(&mut self, actor: ActorId, now: Instant, out: &mut Out) -> bool {
        let Some(client) = self.actors.get_mut(&actor) else {
            return false;
        };
        let Some(task) = client.queue.front().copied() else {
            return false;
        };
        if let Some(ActorInfo {
            state: ActorState::Dead { error },
            ..
        }) = &client.info
        {
            let error = error.clone();
            client.queue.pop_front();
            self.finish_failed(task, &error, now, out);
            return true;
        }
        let Some(worker) = client.worker() else { return false };
        let Some(pending) = self.tasks.get_mut(&task) else {
            client.queue.pop_front();
            return true;
        };
        if pending.phase != Phase::Queued {
            return false;
        }
        client.queue.pop_front();
        pending.retries_left.get_or_insert(client.max_task_retries);
        if let Some(call) = &mut pending.spec.call {
            call.actor = actor;
            if call.sequence == 0 {
                self.next_sequence += 1;
                call.sequence = self.next_sequence;
            }
            let (sequence, task) = (call.sequence, task);
            client.sent.push_back(Sent { sequence, task, worker });
            call.answered = client.sent.front().map_or(sequence, |first| first.sequence);
        }
        self.push_to(task, worker, out);
        true
    }

    /// A call has its result or its error.
    pub(super) fn call_ended(&mut self, actor: ActorId, task: TaskId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        if !client.take_back(task)
            && let Some(place) = client.queue.iter().position(|queued| *queued == task)
        {
            client.queue.remove(place);
        }
        self.drive_actor(actor, now, out);
    }

    /// A call that failed by its own code is to run again: as a new call, in line after those that are there.
    pub(super) fn call_runs_again(&mut self, actor: ActorId, task: TaskId) {
        if let Some(client) = self.actors.get_mut(&actor) {
            client.take_back(task);
        }
        if let Some(call) = self.tasks.get_mut(&task).and_then(|pending| pending.spec.call.as_mut()) {
            call.sequence = 0;
        }
    }

    /// News of an actor.
    pub(crate) fn actor_changed(&mut self, info: ActorInfo, now: Instant, out: &mut Out) {
        let actor = info.actor;
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let newer = client
            .info
            .as_ref()
            .is_none_or(|old| !matches!(old.state, ActorState::Dead { .. }) && info.restarts >= old.restarts);
        if !newer {
            return;
        }
        client.max_pending = info.max_pending_calls;
        client.max_task_retries = info.max_task_retries;
        if let ActorState::Alive { worker, pid } = info.state {
            self.pids.insert(worker, pid);
        }
        client.info = Some(info);
        if client.is_dead() {
            client.argument_refs = Vec::new();
            let held = std::mem::take(&mut client.held);
            held.into_iter().for_each(|object| self.unhold(object, Hold::Task, out));
        }
        self.settle_losses(actor, now, out);
        self.drive_actor(actor, now, out);
    }

    /// AC-2 and AC-3: calls were lost only when everything has been read that their worker sent before it died, and what
    /// becomes of them is known only when the GCS has told whether the actor comes again.
    fn settle_losses(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get(&actor) else { return };
        let Some((first, info)) = client.sent.front().zip(client.info.as_ref()) else {
            return;
        };
        let Some((_, death)) = client.lost.as_ref().filter(|(lost, _)| *lost == first.worker) else {
            return;
        };
        let unavailable = |cause: String| RayError::ActorUnavailable {
            actor,
            name: client.name(),
            cause,
        };
        let error = match &info.state {
            ActorState::Dead { error } => error.clone(),
            ActorState::Restarting { cause } => unavailable(cause.clone()),
            ActorState::Alive { worker, .. } if *worker != first.worker => unavailable(death.to_string()),
            ActorState::Alive { .. } | ActorState::Pending {} => return,
        };
        self.sent_calls_lost(actor, &error, now, out);
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
            owner: WorkerId::default(),
            handle: ObjectId::default(),
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
        let dead = client.is_dead();
        let mut again = Vec::new();
        let mut failed = Vec::new();
        for Sent { task, .. } in std::mem::take(&mut client.sent) {
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
            self.finish_failed(task, error, now, out);
        }
    }

    /// The process of an actor is dead: nothing is sent there any more; the GCS says what comes next.
    pub(super) fn actors_of_dead_worker(&mut self, worker: WorkerId, cause: &DeathCause, now: Instant, out: &mut Out) {
        let lives_in = |client: &ActorClient| {
            client.worker() == Some(worker) || client.sent.front().is_some_and(|sent| sent.worker == worker)
        };
        let lost = self.actors.iter_mut().filter(|(_, client)| lives_in(client));
        let lost: Vec<ActorId> = lost
            .map(|(actor, client)| {
                client.lost = Some((worker, cause.clone()));
                *actor
            })
            .collect();
        for actor in lost {
            self.settle_losses(actor, now, out);
            self.drive_actor(actor, now, out);
        }
    }

    /// An object that stood for handles of an actor is out of scope. If it is the one that the creator counts, nobody can
    /// call the actor any more.
    pub(super) fn handle_out_of_scope(&mut self, object: ObjectId, out: &mut Out) {
        let Some(handled) = self.handles.remove(&object) else {
            return;
        };
        if handled.asked != handled.actor {
            self.redirects.remove(&handled.asked);
        }
        let Some(client) = self.actors.get_mut(&handled.actor) else {
            return;
        };
        client.handles -= 1;
        if client.handles == 0
            && let Some(client) = self.actors.remove(&handled.actor)
        {
            client
                .held
                .into_iter()
                .for_each(|object| self.unhold(object, Hold::Task, out));
        }
        if handled.owned {
            let body = Box::new(GcsRequest::ActorOutOfScope { actor: handled.actor });
            let (request, from) = (0, self.me);
            out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
        }
    }
}

impl ActorClient {
    /// Takes a call out of those that were sent. Returns whether it was among them.
    fn take_back(&mut self, task: TaskId) -> bool {
        // Nearly always the first: answers come about as calls were sent.
        let place = self.sent.iter().position(|sent| sent.task == task);
        place.is_some_and(|place| self.sent.remove(place).is_some())
    }
}

/// The references inside arguments that travel whole.
fn references_in(args: &[ArgSpec]) -> Vec<ObjectId> {
    let inline = args.iter().filter_map(|arg| match arg {
        ArgSpec::Inline { object } => crate::value::refs_of(object).ok(),
        ArgSpec::Stored { .. } => None,
    });
    inline.flatten().map(|token| token.object).collect()
}
