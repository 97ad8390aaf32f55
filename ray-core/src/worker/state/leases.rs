//! Leases: workers that the raylet has granted to this process, and the tasks that wait for one.
//!
//! - LE-1: a task is in the line of its shape or on one lease, never both.
//! - LE-2: a lease is returned when its shape has no task left and it was idle for `worker_lease_timeout_milliseconds`, or
//!   at once when the raylet says that others wait; then a busy lease is returned after the task that it runs. While other
//!   processes wait, a lease with nothing to do is never kept ([`CROWD_LASTS`]): of the owners that wait for their own
//!   tasks in turn each would else hold a CPU for nothing.
//! - LE-3: never more requests are open than tasks wait.
//! - LE-4: more than one task is sent to a worker at a time only while tasks of the shape have lately been short
//!   ([`SHORT`]), and only by ring, where it is known of each whether it has begun; what has not begun is taken back when
//!   the task before it waits for something, and when another lease has nothing to do.
//! - LE-5: a task goes to the lease that has the fewest. So what was taken back for an idle lease reaches it, and is not
//!   sent where it came from, to be taken back again without end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::borrow::contained;
use super::{Dest, Out, State, Timer};
use crate::error::RayError;
use crate::ids::{IdHasher, TaskId, WorkerId};
use crate::wire::{ArgSpec, DeathCause, Frame, SchedulingStrategy, TaskSpec};
use crate::worker::shape::{Shape, cpus_alone};
use crate::worker::task::{Phase, Template};

/// A task that runs this long costs more than the round trip that sending it ahead saves.
const SHORT: u32 = 200;
/// So long others are taken to wait after the raylet has said so; while they do, it says so twice in this time.
const CROWD_LASTS: Duration = Duration::from_millis(200);
/// Tasks at a worker at a time, at most.
const MAX_WINDOW: usize = 128;
/// Open requests a shape, at most: more would only lengthen the raylet's queue.
pub(super) const MAX_REQUESTS: usize = 16;

/// The tasks of one shape that wait, and what serves them.
#[derive(Debug, Default)]
pub(super) struct ShapeQueue {
    waiting: VecDeque<TaskId>,
    leases: Vec<u64>,
    requests: Vec<u64>,
    /// Tasks that may be at one worker.
    window: usize,
}

impl ShapeQueue {
    /// Takes tasks out of the line and gives each to the lease that has the fewest (LE-5).
    fn fill(
        &mut self,
        leases: &mut HashMap<u64, Lease, IdHasher>,
        ringed: &HashSet<WorkerId, IdHasher>,
    ) -> Vec<(TaskId, WorkerId)> {
        let mut pushes = Vec::new();
        while !self.waiting.is_empty() {
            let window = |lease: &Lease| {
                if ringed.contains(&lease.worker) {
                    self.window.max(1)
                } else {
                    1
                }
            };
            let has_room = |lease: &Lease| !lease.yielding && !lease.stalled && lease.running.len() < window(lease);
            let fewest = self.leases.iter().filter(|id| leases.get(id).is_some_and(has_room));
            let fewest = fewest.min_by_key(|id| leases.get(id).map_or(0, |lease| lease.running.len()));
            let Some(lease) = fewest.and_then(|id| leases.get_mut(id)) else {
                break;
            };
            let Some(task) = self.waiting.pop_front() else { break };
            lease.running.push_back(task);
            pushes.push((task, lease.worker));
        }
        pushes
    }
}

/// A worker granted for a shape.
#[derive(Debug)]
pub(super) struct Lease {
    shape: Shape,
    worker: WorkerId,
    running: VecDeque<TaskId>,
    idle_since: Instant,
    /// Others wait: it goes back after the running task.
    yielding: bool,
    /// The running task waits for something: nothing is sent after it.
    stalled: bool,
}

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
        let pushes = queue.fill(&mut self.leases, &self.ringed);
        if queue.waiting.is_empty() && queue.window > 1 {
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
        if !self.idle_check_set && !self.leases.is_empty() {
            self.idle_check_set = true;
            out.timers.push((self.lease_linger, Timer::IdleLeases));
        }
        if self.crowded_until.is_some_and(|until| now < until) {
            self.return_workless(shape, now, out);
        }
    }

    /// Other processes wait for leases, or none of them does as far as the raylet knows.
    pub(crate) fn note_crowd(&mut self, crowded: bool, now: Instant) {
        if crowded {
            self.crowded_until = now.checked_add(CROWD_LASTS);
        }
    }

    /// Returns the leases of a shape that have nothing to do.
    fn return_workless(&mut self, shape: &Shape, now: Instant, out: &mut Out) {
        let Some(queue) = self.shapes.get(shape).filter(|queue| queue.waiting.is_empty()) else {
            return;
        };
        let is_idle = |id: &&u64| self.leases.get(id).is_some_and(|lease| lease.running.is_empty());
        let idle: Vec<u64> = queue.leases.iter().filter(is_idle).copied().collect();
        idle.into_iter().for_each(|id| self.return_lease(id, true, now, out));
    }

    /// The raylet grants a worker.
    pub(crate) fn lease_granted(
        &mut self,
        request: u64,
        id: u64,
        worker: WorkerId,
        pid: u32,
        now: Instant,
        out: &mut Out,
    ) {
        self.pids.insert(worker, pid);
        if worker == self.me && self.shared_granted(request, id, now, out) {
            return;
        }
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
        let lease = Lease {
            shape: shape.clone(),
            worker,
            running: VecDeque::new(),
            idle_since: now,
            yielding: false,
            stalled: false,
        };
        self.leases.insert(id, lease);
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

    /// Others wait for resources.
    pub(crate) fn reclaim_idle(&mut self, now: Instant, out: &mut Out) {
        self.shared_reclaim(out);
        let (idle, busy): (Vec<u64>, Vec<u64>) = self
            .leases
            .keys()
            .partition(|id| self.leases.get(id).is_some_and(|lease| lease.running.is_empty()));
        for id in busy {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.yielding = true;
            }
        }
        idle.into_iter().for_each(|id| self.return_lease(id, true, now, out));
    }

    /// Returns leases that have been idle for long.
    pub(crate) fn check_idle_leases(&mut self, now: Instant, out: &mut Out) {
        self.idle_check_set = false;
        let linger = self.lease_linger;
        let expired = |lease: &Lease| lease.running.is_empty() && now.duration_since(lease.idle_since) >= linger;
        let idle: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| expired(lease))
            .map(|(id, _)| *id)
            .collect();
        idle.into_iter().for_each(|id| self.return_lease(id, true, now, out));
        let shared_left = self.shared_check_idle(now, out);
        if !self.leases.is_empty() || shared_left {
            self.idle_check_set = true;
            out.timers.push((self.lease_linger, Timer::IdleLeases));
        }
    }

    fn return_lease(&mut self, id: u64, reusable: bool, now: Instant, out: &mut Out) {
        let Some(lease) = self.leases.remove(&id) else { return };
        if let Some(queue) = self.shapes.get_mut(&lease.shape) {
            queue.leases.retain(|other| *other != id);
        }
        if !lease.running.is_empty() {
            // A worker that ends gives back what it has not begun.
            out.take_back.push((lease.worker, None));
        }
        out.send(Dest::Raylet, Frame::ReturnLease { lease: id, reusable });
        self.drive(&lease.shape, now, out);
    }

    /// The lease under which a worker was given this task; 0 if it is none.
    pub(super) fn lease_of(&self, task: TaskId, worker: WorkerId) -> u64 {
        let serves = |lease: &Lease| lease.worker == worker && lease.running.contains(&task);
        let shared = self
            .tasks
            .get(&task)
            .is_some_and(|pending| pending.template.shape.shared);
        let found = shared.then(|| self.leases.iter().find(|(_, lease)| serves(lease)));
        found.flatten().map_or(0, |(id, _)| *id)
    }

    /// LE-4: a lease that has nothing to do, while another has tasks ahead: these are taken back, and stand in line again.
    fn balance(&self, shape: &Shape, out: &mut Out) {
        let Some(queue) = self.shapes.get(shape) else { return };
        let of_shape = || queue.leases.iter().filter_map(|id| self.leases.get(id));
        if of_shape().any(|lease| lease.running.is_empty() && !lease.yielding && !lease.stalled) {
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
        let done = |lease: &Lease| lease.worker == worker && lease.running.is_empty() && lease.yielding;
        let done: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| done(lease))
            .map(|(id, _)| *id)
            .collect();
        done.into_iter().for_each(|id| self.return_lease(id, true, now, out));
        for shape in shapes {
            self.drive(&shape, now, out);
        }
    }

    /// The task that runs in the worker waits for something.
    pub(crate) fn stalled(&mut self, worker: WorkerId, out: &mut Out) {
        let mut shapes = Vec::new();
        for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
            lease.stalled = !lease.running.is_empty();
            shapes.push(lease.shape.clone());
        }
        for shape in shapes {
            if let Some(queue) = self.shapes.get_mut(&shape) {
                queue.window = 1;
            }
        }
        out.take_back.push((worker, None));
    }

    /// From now on tasks go to the worker by ring.
    pub(crate) fn ring_up(&mut self, worker: WorkerId) {
        self.ringed.insert(worker);
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
        if lease.running.front() == Some(&task) {
            lease.running.pop_front();
        } else {
            lease.running.retain(|running| *running != task);
        }
        lease.idle_since = now;
        lease.stalled = false;
        let shape = lease.shape.clone();
        let done = lease.running.is_empty() && lease.yielding;
        if let Some(queue) = self.shapes.get_mut(&shape) {
            queue.window = if ran > SHORT {
                1
            } else {
                (queue.window.max(1) * 2).min(MAX_WINDOW)
            };
        }
        if done || !reusable {
            self.return_lease(id, reusable, now, out);
        } else {
            self.drive(&shape, now, out);
        }
    }

    /// The worker is about to be killed: nothing more is pushed to it.
    pub(super) fn use_no_more(&mut self, worker: WorkerId) {
        for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
            lease.yielding = true;
        }
    }

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
    pub(super) fn leave_queue(&mut self, task: TaskId, shape: &Shape, now: Instant, out: &mut Out) -> bool {
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

    /// A worker is dead: its leases are gone, and the tasks it had run again or fail.
    pub(super) fn leases_of_dead_worker(
        &mut self,
        worker: WorkerId,
        cause: &DeathCause,
        not_begun: &[TaskId],
        now: Instant,
        out: &mut Out,
    ) {
        let gone: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.worker == worker)
            .map(|(id, _)| *id)
            .collect();
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
