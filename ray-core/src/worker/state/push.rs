//! The way of a task to the worker that runs it.

use super::borrow::contained;
use super::{Dest, Out, Outgoing, State};
use crate::ids::{TaskId, WorkerId};
use crate::wire::{ArgSpec, Frame};
use crate::worker::task::Phase;

impl State {
    /// Hands a task to a worker: from here on the references among its arguments are in two processes.
    pub(super) fn push_to(&mut self, task: TaskId, worker: WorkerId, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Pushed(worker);
        pending.spec.deadline = pending.due.map(|due| due.saturating_duration_since(out.now));
        if pending.spec.stream.is_some() {
            self.resume_stream(task);
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        let mut inner = Vec::new();
        for arg in &mut pending.spec.args {
            if let ArgSpec::Stored { object, refs, .. } = arg {
                *refs = contained(&self.refs, object);
            }
            inner.extend(arg.references());
        }
        if worker == self.me {
            let spec = Box::new(pending.spec.clone());
            out.send(Dest::Worker(worker), Frame::PushTask { spec, lease: None });
            return;
        }
        let plain = inner.is_empty() && pending.spec.stream.is_none();
        inner
            .iter()
            .for_each(|(object, _)| self.hand_over(*object, worker, out));
        if self.goes_to_host(task) {
            let lease = self.lease_of(task, worker);
            if let Some(pending) = self.tasks.get(&task) {
                let spec = Box::new(pending.spec.clone());
                out.send(Dest::Worker(worker), Frame::PushTask { spec, lease });
            }
        } else {
            out.sends.push((Dest::Worker(worker), Outgoing::Task { task, plain }));
        }
    }

    /// Whether the process that runs it serves many: such a one takes no tasks by ring.
    fn goes_to_host(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|pending| {
            let actor = pending.actor.and_then(|actor| self.actors.get(&actor));
            pending.template.shape.shared || actor.is_some_and(|client| client.is_hosted())
        })
    }
}
