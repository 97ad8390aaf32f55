//! One actor as the GCS knows it, and what is told of it.

use std::collections::HashSet;

use crate::error::RayError;
use crate::gcs::state::{Asker, Outbox};
use crate::ids::NodeId;
use crate::wire::{ActorInfo, ActorSpec, ActorState, Frame, GcsEvent, SaveState};

#[derive(Debug)]
pub(super) struct Actor {
    pub(super) spec: ActorSpec,
    pub(super) state: ActorState,
    pub(super) restarts: u32,
    /// The node that was asked to start it.
    pub(super) node: Option<NodeId>,
    /// It was told to end, for this reason.
    pub(super) ending: Option<String>,
    pub(super) watchers: HashSet<Asker>,
    /// How its saves stand, if its state is saved.
    pub(super) saves: Option<Box<SaveState>>,
}

impl Actor {
    /// A new one that nobody but its creator watches.
    pub(super) fn new(spec: ActorSpec, creator: Asker) -> Self {
        let saves = spec.checkpoint.as_ref().map(|checkpoint| {
            Box::new(SaveState {
                every_calls: checkpoint.every_calls,
                every: checkpoint.every,
                saves: 0,
                unsaved: 0,
                error: None,
            })
        });
        Self {
            spec,
            saves,
            state: ActorState::Pending {},
            restarts: 0,
            node: None,
            ending: None,
            watchers: HashSet::from([creator]),
        }
    }

    pub(super) fn info(&self) -> ActorInfo {
        let spec = &self.spec;
        ActorInfo {
            actor: spec.actor,
            item: spec.item,
            type_name: spec.type_name.clone(),
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            detached: spec.detached,
            owner: spec.owner,
            handle: spec.handle,
            state: self.state.clone(),
            restarts: self.restarts,
            max_task_retries: spec.max_task_retries,
            max_pending_calls: spec.max_pending_calls,
            saves: self.saves.clone(),
            calls_ahead: spec.calls_ahead,
            shared: spec.shared,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, ActorState::Dead { .. })
    }

    /// Why calls of it fail, now that it is dead.
    pub(super) fn died(&self, cause: String) -> RayError {
        RayError::ActorDied {
            actor: self.spec.actor,
            name: self.shown_name(),
            cause,
        }
    }

    fn shown_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| self.spec.type_name.clone())
    }

    pub(super) fn publish(&self, out: &mut Outbox) {
        for watcher in &self.watchers {
            out.tell(*watcher, GcsEvent::Actor { info: self.info() });
        }
    }

    pub(super) fn may_restart(&self) -> bool {
        self.ending.is_none() && (self.spec.max_restarts < 0 || i64::from(self.restarts) < self.spec.max_restarts)
    }

    /// Has its node end it. `false`: no node has it.
    pub(super) fn stop(&self, how: Stop, why: &str, out: &mut Outbox) -> bool {
        let Some(node) = self.node else { return false };
        let (force, saves) = match how {
            Stop::AfterCalls { saves } => (false, saves),
            Stop::Now { saves } => (true, saves),
        };
        let stop = Frame::StopActor {
            actor: self.spec.actor,
            force,
            saves,
            why: why.to_owned(),
        };
        out.send(node, stop);
        true
    }
}

/// How an actor is ended, and whether its state is saved before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// When the calls that it has are done.
    AfterCalls { saves: bool },
    /// At once.
    Now { saves: bool },
}
