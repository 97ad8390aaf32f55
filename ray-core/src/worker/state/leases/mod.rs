//! Leases: workers that the raylet has granted to this process, and the tasks that wait for one.
//!
//! *Absent:* leases under which this process runs shared tasks itself (`shared/leases`).
//!
//! - LE-1: a task is in the line of its shape or on one lease, never both.
//! - LE-2: a lease is returned when its shape has no task left and it was idle for `worker_lease_timeout_milliseconds`, or
//!   at once when the raylet says that others wait; then a busy lease is returned after the task that it runs. While other
//!   processes wait, a lease with nothing to do is never kept (`CROWD_LASTS`): of the owners that wait for their own
//!   tasks in turn each would else hold a CPU for nothing.
//! - LE-3: never more requests are open than tasks wait.
//! - LE-4: more than one task is sent to a worker at a time only while tasks of the shape have lately been short
//!   (`SHORT`), and only by ring, where it is known of each whether it has begun; what has not begun is taken back when
//!   the task before it waits for something or runs on for long (`LONG`), and when another lease has nothing to do. Nothing stands before a task that
//!   goes by socket: it could not be taken back, whatever that waits for.
//! - LE-5: a task goes to the lease that has the fewest. So what was taken back for an idle lease reaches it, and is not
//!   sent where it came from, to be taken back again without end.

mod ahead;
mod leave;
mod queue;
mod returns;
#[cfg(test)]
mod tests;

use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{TaskId, WorkerId};
use crate::wire::{DeathCause, Frame, HostLease};
use crate::worker::shape::Shape;
pub(super) use queue::{Lease, ShapeQueue};

/// Open requests a shape, at most: more would only lengthen the raylet's queue.
pub(super) const MAX_REQUESTS: usize = 16;

impl State {
    /// Puts a task in line for a lease.
    pub(super) fn enqueue(&mut self, shape: Shape, task: TaskId, now: Instant, out: &mut Out) {
        if shape.shared && self.shared.hosts {
            return self.shared_enqueue(&shape, task, out);
        }
        self.shapes.entry(shape.clone()).or_default().waiting.push_back(task);
        self.drive(&shape, now, out);
    }

    /// Pushes waiting tasks to idle leases and asks for as many more leases as help.
    pub(super) fn drive(&mut self, shape: &Shape, now: Instant, out: &mut Out) {
        let Some(queue) = self.shapes.get_mut(shape) else {
            return;
        };
        let (tasks, refs) = (&self.tasks, &self.refs);
        let at_a_time = |task: &TaskId| tasks.get(task).map_or(1, |pending| ahead::at_a_time(pending, refs));
        let pushes = queue.fill(&mut self.leases, &self.ringed, at_a_time, now);
        // Whether or not more is sent ahead by now: what was, may stand behind a long one.
        if queue.waiting.is_empty() && queue.leases.len() > 1 {
            self.balance(shape, out);
        }
        let Some(queue) = self.shapes.get_mut(shape) else {
            return;
        };
        let wanted = queue.waiting.len().min(MAX_REQUESTS);
        let mut frames = Vec::new();
        while queue.requests.len() > wanted {
            if let Some(request) = queue.requests.pop() {
                self.requests.remove(&request);
                frames.push(Frame::CancelLeaseRequest { request });
            }
        }
        while queue.requests.len() < wanted {
            self.next_number += 1;
            let request = self.next_number;
            queue.requests.push(request);
            self.requests.insert(request, shape.clone());
            frames.push(Frame::RequestLease {
                request,
                shape: (**shape).clone(),
            });
        }
        let idle = queue.waiting.is_empty() && queue.leases.is_empty() && queue.requests.is_empty();
        if idle {
            self.shapes.remove(shape);
        }
        for (task, worker) in pushes {
            self.push_to(task, worker, out);
        }
        frames.into_iter().for_each(|frame| out.send(Dest::Raylet, frame));
        if !self.leases.is_empty() {
            self.set_idle_check(out);
        }
        self.look_ahead(shape, out);
        if self.crowded_until.is_some_and(|until| now < until) {
            self.return_workless(shape, now, out);
        }
    }

    /// The raylet grants a worker.
    pub(crate) fn lease_granted(
        &mut self,
        request: u64,
        lease: HostLease,
        worker: WorkerId,
        pid: u32,
        now: Instant,
        out: &mut Out,
    ) {
        self.pids.insert(worker, pid);
        if worker == self.me && self.shared_granted(request, &lease, now, out) {
            return;
        }
        let HostLease { id, gpus } = lease;
        let Some(shape) = self.requests.remove(&request) else {
            // The request was cancelled while the grant was under way.
            out.send(
                Dest::Raylet,
                Frame::ReturnLease {
                    lease: id,
                    reusable: true,
                },
            );
            return;
        };
        let queue = self.shapes.entry(shape.clone()).or_default();
        queue.requests.retain(|open| *open != request);
        queue.leases.push(id);
        self.leases.insert(id, Lease::new(shape.clone(), worker, gpus, now));
        self.drive(&shape, now, out);
    }

    /// No worker will come: all tasks of the shape fail.
    pub(crate) fn lease_refused(&mut self, request: u64, error: &RayError, now: Instant, out: &mut Out) {
        if self.shared_refused(request, error, now, out) {
            return;
        }
        let Some(shape) = self.requests.remove(&request) else {
            return;
        };
        let Some(queue) = self.shapes.get_mut(&shape) else {
            return;
        };
        queue.requests.retain(|open| *open != request);
        let failed = std::mem::take(&mut queue.waiting);
        for task in failed {
            if let Some(pending) = self.tasks.get(&task) {
                let error = error.named_for(pending.name());
                self.finish_failed(task, &error, now, out);
            }
        }
        self.drive(&shape, now, out);
    }

    /// The worker has ended a task: its lease takes the next one.
    pub(super) fn lease_idle(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        (reusable, ran): (bool, u32),
        now: Instant,
        out: &mut Out,
    ) {
        let found = self
            .leases
            .iter_mut()
            .find(|(_, lease)| lease.worker == worker && lease.running.contains(&task));
        let Some((id, lease)) = found else { return };
        let id = *id;
        lease.ended(task, now);
        let shape = lease.shape.clone();
        let done = lease.is_idle() && lease.yielding;
        if let Some(queue) = self.shapes.get_mut(&shape) {
            queue.note_run_time(ran);
        }
        if done || !reusable {
            self.return_lease(id, reusable, now, out);
        } else {
            self.drive(&shape, now, out);
        }
    }

    /// The lease under which a host was given this task, if it is one.
    pub(super) fn lease_of(&self, task: TaskId, worker: WorkerId) -> Option<Box<HostLease>> {
        let serves = |lease: &Lease| lease.worker == worker && lease.running.contains(&task);
        let shared = self
            .tasks
            .get(&task)
            .is_some_and(|pending| pending.template.shape.shared);
        let found = shared.then(|| self.leases.iter().find(|(_, lease)| serves(lease)));
        let (id, lease) = found.flatten()?;
        Some(Box::new(HostLease {
            id: *id,
            gpus: lease.gpus.clone(),
        }))
    }

    fn leases_where(&self, which: impl Fn(&Lease) -> bool) -> Vec<u64> {
        let found = self.leases.iter().filter(|(_, lease)| which(lease));
        found.map(|(id, _)| *id).collect()
    }

    /// A worker is dead: its leases are gone, and the tasks it had run again or fail.
    pub(super) fn leases_of_dead_worker(
        &mut self,
        worker: WorkerId,
        cause: &DeathCause,
        not_begun: &[TaskId],
        now: Instant,
        out: &mut Out,
    ) {
        let gone = self.leases_where(|lease| lease.worker == worker);
        let (mut shapes, mut lost) = (Vec::new(), Vec::new());
        for id in gone {
            let Some(lease) = self.leases.remove(&id) else { continue };
            if let Some(queue) = self.shapes.get_mut(&lease.shape) {
                queue.leases.retain(|other| *other != id);
            }
            shapes.push(lease.shape);
            // LE-1: what it ran is on the lease.
            lost.extend(lease.running);
        }
        // Those that had not begun lose nothing. Calls of an actor do not wait for a lease, but for the actor (AC-2).
        let of_lease = |task: &&TaskId| self.tasks.get(task).is_some_and(|pending| pending.actor.is_none());
        let back: Vec<TaskId> = not_begun.iter().filter(of_lease).copied().collect();
        self.taken_back(worker, &back, now, out);
        for task in lost.into_iter().filter(|task| !back.contains(task)) {
            self.attempt_lost(task, worker, cause, now, out);
        }
        for shape in shapes {
            self.drive(&shape, now, out);
        }
    }
}
