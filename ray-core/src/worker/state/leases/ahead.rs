//! Tasks that are sent ahead by ring, and taken back where they would wait for nothing (LE-4).

use std::time::Instant;

use super::super::{Out, State};
use super::Lease;
use crate::ids::{TaskId, WorkerId};
use crate::worker::shape::Shape;
use crate::worker::task::Phase;

impl State {
    /// LE-4: a lease that has nothing to do, while another has tasks ahead: these are taken back, and stand in line again.
    pub(super) fn balance(&self, shape: &Shape, out: &mut Out) {
        let Some(queue) = self.shapes.get(shape) else { return };
        let of_shape = || queue.leases.iter().filter_map(|id| self.leases.get(id));
        if of_shape().any(|lease| lease.is_idle() && !lease.yielding && !lease.stalled) {
            let fullest = of_shape().max_by_key(|lease| lease.running.len());
            if let Some(lease) = fullest.filter(|lease| lease.running.len() > 2) {
                out.take_back.push((lease.worker, None));
            }
        }
    }

    /// Tasks that a worker had not taken are in line again, before those that were never sent.
    pub(crate) fn taken_back(&mut self, worker: WorkerId, tasks: &[TaskId], now: Instant, out: &mut Out) {
        let mut shapes = Vec::new();
        for task in tasks.iter().rev() {
            for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
                lease.running.retain(|running| running != task);
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
