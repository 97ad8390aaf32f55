//! Tasks that leave their line without a lease: the one that waits for them runs them, or they are cancelled.

use std::time::Instant;

use super::super::borrow::contained;
use super::super::{Out, State};
use crate::ids::TaskId;
use crate::wire::{ArgSpec, SchedulingStrategy, TaskSpec};
use crate::worker::shape::{Shape, cpus_alone};
use crate::worker::task::{Phase, Template};

impl State {
    /// The CPUs that a task needs which stands in line and needs nothing else, nor a process of its own (IL-2).
    pub(crate) fn inline_cpus(&self, task: TaskId) -> Option<i64> {
        let pending = self.tasks.get(&task)?;
        let Template {
            shape,
            runs_on_caller,
            item,
            ..
        } = &*pending.template;
        let in_line = pending.phase == Phase::Queued && pending.actor.is_none() && !pending.cancelled;
        let plain = *runs_on_caller && pending.due.is_none() && !shape.shared;
        let anywhere = shape.strategy == SchedulingStrategy::Default {};
        let stays = item.as_function()?.defaults().max_calls == 0;
        if !(in_line && plain && anywhere && stays) {
            return None;
        }
        cpus_alone(&shape.resources)
    }

    /// Takes a task out of its line, for this thread to run it. `None` if it has left the line, or stands within it.
    pub(crate) fn take_inline(&mut self, task: TaskId, now: Instant, out: &mut Out) -> Option<TaskSpec> {
        let shape = self.tasks.get(&task)?.template.shape.clone();
        let queue = self.shapes.get_mut(&shape)?;
        if queue.waiting.front() == Some(&task) {
            queue.waiting.pop_front();
        } else if queue.waiting.back() == Some(&task) {
            queue.waiting.pop_back();
        } else {
            return None;
        }
        self.drive(&shape, now, out);
        let pending = self.tasks.get_mut(&task)?;
        pending.phase = Phase::Pushed(self.me);
        for arg in &mut pending.spec.args {
            if let ArgSpec::Stored { object, refs, .. } = arg {
                *refs = contained(&self.refs, object);
            }
        }
        Some(pending.spec.clone())
    }

    /// Takes a task out of its line. Returns whether it stood there.
    pub(in super::super) fn leave_queue(&mut self, task: TaskId, shape: &Shape, now: Instant, out: &mut Out) -> bool {
        if shape.shared && self.shared.hosts {
            self.shared_leave(shape, out);
            return true;
        }
        let Some(queue) = self.shapes.get_mut(shape) else {
            return false;
        };
        let before = queue.waiting.len();
        queue.waiting.retain(|waiting| *waiting != task);
        let left = queue.waiting.len() < before;
        if left {
            self.drive(&shape.clone(), now, out);
        }
        left
    }
}
