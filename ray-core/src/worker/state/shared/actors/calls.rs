//! Calls of an actor that lives here: they arrive at its mailbox, stand in line when their turn has come, and end (LA-1).

use std::time::Instant;

use crate::error::{RayError, Result};
use crate::ids::{ActorId, TaskId};
use crate::wire::{ActorInfo, ActorState, TaskSpec};
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Called, Startable};
use crate::worker::state::shared::{CALL_LINE, Entry};
use crate::worker::state::{Out, State};
use crate::worker::task::Phase;

impl State {
    /// Hands calls of this process, whose arguments are ready, to the actor's queue.
    pub(in crate::worker::state) fn drive_local(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
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

    pub(super) fn start_local(&mut self, actor: ActorId, out: &mut Out) {
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

    /// A call that was started has ended.
    pub(in super::super) fn local_call_ended(&mut self, actor: ActorId, kind: Kind, out: &mut Out) {
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
    pub(in super::super) fn shared_call_in_line(&self, actor: ActorId, task: TaskId) -> Option<(TaskId, Kind)> {
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
}
