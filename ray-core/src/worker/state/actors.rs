//! Calls to actors, seen from the caller: order, limits, and what becomes of calls when the actor is lost.
//!
//! - AC-1: calls of this process start at the actor in the order of submission: a call whose arguments are not ready holds
//!   back those after it. Calls that run once more, for lost results, stand in no line: what waits for them must not hold
//!   them back.
//! - AC-2: a call whose worker died may have run: it is sent again only while it has retries, before all later calls.
//! - AC-3: an answered call is never sent again: calls count as lost only when the last word of their worker was read.
//! - AC-4: as long as a call has not ended, it holds the object of the handle it was made with.

mod creation;
mod handles;
mod losses;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

pub(super) use handles::Handled;

use super::shared::LocalHost;
use super::{Out, State};
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::wire::{ActorInfo, ActorSpec, ActorState};
use crate::worker::refs::Hold;
use crate::worker::task::Phase;

/// An actor that this process holds a handle of.
#[derive(Debug)]
pub(crate) struct ActorClient {
    pub(crate) info: Option<Box<ActorInfo>>,
    pub(crate) type_name: Cow<'static, str>,
    /// Objects of this process's table that stand for handles of the actor.
    handles: usize,
    /// Calls that have not been sent, in order.
    queue: VecDeque<TaskId>,
    /// Calls that make lost results again and have not been sent.
    remakes: Vec<TaskId>,
    /// Calls that have been sent and not answered, in order; all to one worker.
    sent: VecDeque<Sent>,
    /// The worker that calls were sent to last, and how many.
    serving: Option<(WorkerId, u64)>,
    /// The worker that is known to be dead, everything that it sent having been read, and how it ended.
    lost: Option<Box<(WorkerId, String)>>,
    /// What is still to be sent to the GCS, and whether an existing actor of the name will do.
    creation: Option<Box<(ActorSpec, bool)>>,
    /// Objects that its constructor needs.
    held: Vec<ObjectId>,
    /// References inside the constructor's arguments, as they were sent.
    argument_refs: Vec<ObjectId>,
    max_pending: i64,
    max_task_retries: i64,
    /// How many calls are sent before the first is answered: more would only leave the ring, and wait there as they do
    /// here. 0: any number.
    calls_ahead: u32,
    /// Calls are being sent or failed: what follows from that must not begin anew.
    driving: bool,
    /// It lives in this process, beside other work.
    pub(crate) local: Option<Box<LocalHost>>,
    /// It lives so in another process, the one that owns its handles.
    pub(crate) host: Option<WorkerId>,
    /// The GCS knows it, and it will live in this process, beside other work.
    comes_here: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    sequence: u64,
    task: TaskId,
    worker: WorkerId,
}

impl ActorClient {
    pub(crate) fn new(type_name: Cow<'static, str>) -> Self {
        Self {
            info: None,
            type_name,
            handles: 0,
            queue: VecDeque::new(),
            remakes: Vec::new(),
            sent: VecDeque::new(),
            serving: None,
            lost: None,
            creation: None,
            held: Vec::new(),
            argument_refs: Vec::new(),
            max_pending: -1,
            max_task_retries: 0,
            calls_ahead: 0,
            driving: false,
            local: None,
            host: None,
            comes_here: false,
        }
    }

    pub(crate) fn set_limits(&mut self, max_pending: i64, max_task_retries: i64) {
        (self.max_pending, self.max_task_retries) = (max_pending, max_task_retries);
    }

    /// How often a call is sent again unless it says otherwise.
    pub(crate) fn max_task_retries(&self) -> i64 {
        self.max_task_retries
    }

    pub(crate) fn next_queued(&self) -> Option<TaskId> {
        self.queue.front().copied()
    }

    pub(crate) fn pop_queued(&mut self) {
        self.queue.pop_front();
    }

    /// Calls pending, and how many may be (-1: any number).
    pub(crate) fn limits(&self) -> (usize, i64) {
        let here = self.local.as_ref().map_or(0, |local| local.calls);
        // The constructor of an actor of this process stands in line as its calls do.
        let constructor = self.local.as_ref().is_some_and(|local| local.is_constructing());
        let all = self.queue.len() + self.sent.len() + here;
        (all.saturating_sub(usize::from(constructor)), self.max_pending)
    }

    /// Where calls can be sent now. Not to a new worker while the fate of those sent to the old one is open (AC-1).
    fn worker(&self) -> Option<WorkerId> {
        let Some(ActorState::Alive { worker, .. }) = self.info.as_ref().map(|info| &info.state) else {
            return None;
        };
        let lost = self.lost.as_ref().is_some_and(|lost| lost.0 == *worker);
        let open_elsewhere = self.sent.front().is_some_and(|sent| sent.worker != *worker);
        (!lost && !open_elsewhere).then_some(*worker)
    }

    /// The place of the next call among those sent to this worker.
    fn next_order(&mut self, worker: WorkerId) -> u64 {
        let order = match self.serving {
            Some((serving, count)) if serving == worker => count,
            _ => 0,
        };
        self.serving = Some((worker, order + 1));
        order
    }

    /// Takes a call out of those that were sent. Returns whether it was among them.
    fn take_back(&mut self, task: TaskId) -> bool {
        // Nearly always the first: answers come about as calls were sent.
        let place = self.sent.iter().position(|sent| sent.task == task);
        place.is_some_and(|place| self.sent.remove(place).is_some())
    }

    /// Whether it lives, or will live, in this process, if this is the host of shared work.
    pub(super) fn is_of_host(&self) -> bool {
        self.comes_here || self.local.is_some() || self.info.as_ref().is_some_and(|info| info.shared)
    }

    /// Whether calls of it go to a process that serves many.
    pub(super) fn is_hosted(&self) -> bool {
        self.host.is_some() || self.info.as_ref().is_some_and(|info| info.shared)
    }

    fn name(&self) -> String {
        let given = self.info.as_ref().and_then(|info| info.name.clone());
        given.unwrap_or_else(|| self.type_name.clone().into_owned())
    }

    /// Takes a call out of those that were not sent. Returns whether it was among them.
    fn leave(&mut self, task: TaskId) -> bool {
        if let Some(place) = self.queue.iter().position(|queued| *queued == task) {
            return self.queue.remove(place).is_some();
        }
        let before = self.remakes.len();
        self.remakes.retain(|remake| *remake != task);
        self.remakes.len() < before
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(
            self.info.as_ref().map(|info| &info.state),
            Some(ActorState::Dead { .. })
        )
    }
}

impl State {
    /// Puts a call in line.
    pub(super) fn enqueue_call(&mut self, actor: ActorId, task: TaskId) {
        let remakes = self.remakes(task);
        if let Some(client) = self.actors.get_mut(&actor) {
            if remakes {
                client.remakes.push(task);
            } else {
                client.queue.push_back(task);
                if let Some(local) = &client.local {
                    local.is_behind();
                }
            }
        }
    }

    /// A call that was sent comes again before all that were not.
    fn enqueue_first(&mut self, actor: ActorId, task: TaskId) {
        let remakes = self.remakes(task);
        if let Some(client) = self.actors.get_mut(&actor) {
            if remakes {
                client.remakes.push(task);
            } else {
                client.queue.push_front(task);
            }
        }
    }

    /// Whether a task runs once more to make lost results again.
    fn remakes(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|pending| pending.runs > 0)
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
        let dead = match client.info.as_ref().map(|info| &info.state) {
            Some(ActorState::Dead { error }) => Some(error),
            _ => None,
        };
        if dead.is_none() && client.local.is_some() {
            self.drive_local(actor, now, out);
            return false;
        }
        if let Some(error) = dead.cloned() {
            let Some(task) = client.remakes.pop().or_else(|| client.queue.pop_front()) else {
                return false;
            };
            self.finish_failed(task, &error, now, out);
            return true;
        }
        let is_ready = |task: &TaskId| {
            let pending = self.tasks.get(task);
            pending.is_none_or(|pending| pending.phase == Phase::Queued)
        };
        let remake = client.remakes.iter().position(&is_ready);
        if remake.is_none() && !client.queue.front().is_some_and(is_ready) {
            return false;
        }
        let Some(worker) = client.worker() else { return false };
        if client.calls_ahead > 0 && client.sent.len() >= client.calls_ahead as usize {
            return false;
        }
        let next = match remake {
            Some(place) => Some(client.remakes.remove(place)),
            None => client.queue.pop_front(),
        };
        let Some(task) = next else { return false };
        let Some(pending) = self.tasks.get_mut(&task) else {
            return true;
        };
        if pending.retries_left.is_none() {
            pending.retries_left = Some(client.max_task_retries);
            pending.spec.retriable = client.max_task_retries != 0;
        }
        if let Some(call) = &mut pending.spec.call {
            call.actor = actor;
            if call.sequence == 0 {
                self.next_sequence += 1;
                call.sequence = self.next_sequence;
            }
            call.order = client.next_order(worker);
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
            && !client.leave(task)
            && let Some(local) = &mut client.local
        {
            local.calls = local.calls.saturating_sub(1);
        }
        self.drive_actor(actor, now, out);
    }

    /// A call that failed by its own code is to run again: as a new call, in line after those that are there.
    pub(super) fn call_runs_again(&mut self, actor: ActorId, task: TaskId) {
        if let Some(client) = self.actors.get_mut(&actor)
            && !client.take_back(task)
            && let Some(local) = &mut client.local
        {
            local.calls = local.calls.saturating_sub(1);
        }
        if let Some(call) = self.tasks.get_mut(&task).and_then(|pending| pending.spec.call.as_mut()) {
            call.sequence = 0;
        }
    }

    /// The actor's worker gives a call back that it cannot begin: it comes again before all that were not sent.
    pub(super) fn call_returned(&mut self, actor: ActorId, task: TaskId) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let was_there = client.take_back(task);
        if let (false, Some(local)) = (was_there, &mut client.local) {
            local.calls = local.calls.saturating_sub(1);
        }
        if was_there || client.local.is_some() {
            self.enqueue_first(actor, task);
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
        client.calls_ahead = info.calls_ahead;
        if let ActorState::Alive { worker, pid } = info.state {
            if self.refs.is_dead(&worker) {
                // The news of its death, which is not told twice, was faster than that of its birth.
                let cause = "its process ended before this one heard of it".to_owned();
                client.lost = Some(Box::new((worker, cause)));
            } else {
                self.pids.insert(worker, pid);
            }
        }
        client.info = Some(Box::new(info));
        if client.is_dead() {
            client.argument_refs = Vec::new();
            let held = std::mem::take(&mut client.held);
            held.into_iter().for_each(|object| self.unhold(object, Hold::Task, out));
        }
        self.settle_losses(actor, now, out);
        self.drive_actor(actor, now, out);
    }
}
