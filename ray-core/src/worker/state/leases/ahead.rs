//! Tasks that are sent ahead by ring, and taken back where they would wait for nothing (LE-4).

use std::time::{Duration, Instant};

use super::super::borrow::contained;
use super::super::{Out, State, Timer};
use super::Lease;
use crate::ids::{TaskId, WorkerId};
use crate::wire::ArgSpec;
use crate::worker::refs::RefTable;
use crate::worker::shape::Shape;
use crate::worker::task::{PendingTask, Phase};

/// A task that runs this long holds up those that were sent after it: that it would be short was a guess, and it may even
/// wait for one of them, by means of its own.
const LONG: Duration = Duration::from_millis(10);
/// So many bytes of tasks that wait at one worker find room in its ring.
const RING_ROOM: usize = 64 << 10;
/// What a task takes there beside its arguments, about.
const TASK_BYTES: usize = 256;

/// LE-4: how many tasks like this one may be at a worker at a time: what does not go by ring is not taken back, so that
/// nothing may stand before it.
pub(super) fn at_a_time(pending: &PendingTask, refs: &RefTable) -> usize {
    let holds_references = |arg: &ArgSpec| match arg {
        ArgSpec::Inline { .. } => !arg.references().is_empty(),
        ArgSpec::Stored { object, .. } => !contained(refs, object).is_empty(),
    };
    let args = &pending.spec.args;
    let may_hold = !pending.dependencies.is_empty() || !pending.nested.is_empty();
    if pending.spec.stream.is_some() || (may_hold && args.iter().any(holds_references)) {
        return 1;
    }
    let bytes = args.iter().map(|arg| match arg {
        ArgSpec::Inline { object } => object.len(),
        ArgSpec::Stored { .. } => 0,
    });
    (RING_ROOM / (TASK_BYTES + bytes.sum::<usize>())).max(1)
}

impl State {
    /// LE-4: a lease that has nothing to do, while another has tasks ahead: these are taken back, and stand in line again.
    pub(super) fn balance(&self, shape: &Shape, out: &mut Out) {
        let Some(queue) = self.shapes.get(shape) else { return };
        let of_shape = || queue.leases.iter().filter_map(|id| self.leases.get(id));
        if of_shape().any(|lease| lease.is_idle() && !lease.yielding && !lease.stalled) {
            let fullest = of_shape().max_by_key(|lease| lease.running.len());
            // Also one that has a single task ahead: the one before that may wait for it by means of its own.
            if let Some(lease) = fullest.filter(|lease| lease.running.len() > 1) {
                out.take_back.push((lease.worker, None));
            }
        }
    }

    /// LE-4: has those leases looked after that have tasks ahead.
    pub(super) fn look_ahead(&mut self, shape: &Shape, out: &mut Out) {
        let leases = self.shapes.get(shape).map(|queue| &queue.leases);
        let mut leases = leases.into_iter().flatten().filter_map(|id| self.leases.get(id));
        if !self.ahead_check_set && leases.any(Lease::has_ahead) {
            self.ahead_check_set = true;
            out.timers.push((LONG, Timer::Ahead));
        }
    }

    /// LE-4: what was sent behind a task that runs on comes back, and is not sent ahead again for now.
    pub(crate) fn check_ahead(&mut self, now: Instant, out: &mut Out) {
        self.ahead_check_set = false;
        let mut shapes: Vec<Shape> = Vec::new();
        for lease in self.leases.values().filter(|lease| lease.has_ahead()) {
            if now.duration_since(lease.idle_since) >= LONG {
                out.take_back.push((lease.worker, None));
                if let Some(queue) = self.shapes.get_mut(&lease.shape) {
                    queue.send_none_ahead();
                }
            }
            shapes.push(lease.shape.clone());
        }
        shapes.iter().for_each(|shape| self.look_ahead(shape, out));
    }

    /// Tasks that a worker had not taken are in line again, before those that were never sent.
    pub(crate) fn taken_back(&mut self, worker: WorkerId, tasks: &[TaskId], now: Instant, out: &mut Out) {
        let mut shapes = Vec::new();
        for task in tasks.iter().rev() {
            for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
                let before = lease.running.len();
                lease.running.retain(|running| running != task);
                if lease.running.len() < before && !shapes.contains(&lease.shape) {
                    // It has room, also where nothing comes back in line.
                    shapes.push(lease.shape.clone());
                }
                // The task that waited for something has ended.
                lease.stalled &= !lease.is_idle();
            }
            let Some(pending) = self.tasks.get_mut(task) else {
                continue;
            };
            if pending.cancelled {
                self.forget_task(*task, now, out);
                continue;
            }
            pending.phase = Phase::Queued;
            let shape = pending.template.shape.clone();
            let queue = self.shapes.entry(shape.clone()).or_default();
            queue.waiting.push_front(*task);
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        let done = |lease: &Lease| lease.worker == worker && lease.is_idle() && lease.yielding;
        self.leases_where(done)
            .into_iter()
            .for_each(|id| self.return_lease(id, true, now, out));
        for shape in shapes {
            self.drive(&shape, now, out);
        }
    }

    /// The task that runs in the worker waits for something.
    pub(crate) fn stalled(&mut self, worker: WorkerId, out: &mut Out) {
        let mut shapes = Vec::new();
        for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
            lease.stalled = !lease.is_idle();
            shapes.push(lease.shape.clone());
        }
        for shape in shapes {
            if let Some(queue) = self.shapes.get_mut(&shape) {
                queue.send_none_ahead();
            }
        }
        out.take_back.push((worker, None));
    }

    /// From now on tasks go to the worker by ring.
    pub(crate) fn ring_up(&mut self, worker: WorkerId) {
        self.ringed.insert(worker);
    }
}
