//! The line of one shape and the workers that serve it: which task goes where, and how many go ahead.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::ids::{IdHasher, TaskId, WorkerId};
use crate::worker::shape::Shape;

/// A task that runs this long costs more than the round trip that sending it ahead saves.
const SHORT: u32 = 200;
/// Tasks at a worker at a time, at most.
const MAX_WINDOW: usize = 128;

/// The tasks of one shape that wait, and what serves them.
#[derive(Debug, Default)]
pub(in super::super) struct ShapeQueue {
    pub(super) waiting: VecDeque<TaskId>,
    pub(super) leases: Vec<u64>,
    pub(super) requests: Vec<u64>,
    /// Tasks that may be at one worker.
    window: usize,
}

impl ShapeQueue {
    /// Takes tasks out of the line and gives each to the lease that has the fewest (LE-5). `at_a_time`: how many tasks like
    /// this one may be at a worker.
    pub(super) fn fill(
        &mut self,
        leases: &mut HashMap<u64, Lease, IdHasher>,
        ringed: &HashSet<WorkerId, IdHasher>,
        at_a_time: impl Fn(&TaskId) -> usize,
        now: Instant,
    ) -> Vec<(TaskId, WorkerId)> {
        let mut pushes = Vec::new();
        while let Some(first) = self.waiting.front() {
            let most = if self.window > 1 {
                self.window.min(at_a_time(first))
            } else {
                1
            };
            let window = |lease: &Lease| {
                if ringed.contains(&lease.worker) { most } else { 1 }
            };
            let has_room = |lease: &Lease| !lease.yielding && !lease.stalled && lease.running.len() < window(lease);
            let fewest = self.leases.iter().filter(|id| leases.get(id).is_some_and(has_room));
            let fewest = fewest.min_by_key(|id| leases.get(id).map_or(0, |lease| lease.running.len()));
            let Some(lease) = fewest.and_then(|id| leases.get_mut(id)) else {
                break;
            };
            let Some(task) = self.waiting.pop_front() else { break };
            if lease.is_idle() {
                lease.idle_since = now;
            }
            lease.running.push_back(task);
            pushes.push((task, lease.worker));
        }
        pushes
    }

    /// LE-4: a task of the shape has run for so many microseconds.
    pub(super) fn note_run_time(&mut self, ran: u32) {
        self.window = if ran > SHORT {
            1
        } else {
            (self.window.max(1) * 2).min(MAX_WINDOW)
        };
    }

    /// LE-4: a task of the shape waits for something.
    pub(super) fn send_none_ahead(&mut self) {
        self.window = 1;
    }
}

/// A worker granted for a shape.
#[derive(Debug)]
pub(in super::super) struct Lease {
    pub(super) shape: Shape,
    pub(super) worker: WorkerId,
    /// Its GPUs, by the node's index.
    pub(super) gpus: Vec<u32>,
    pub(super) running: VecDeque<TaskId>,
    /// Since when it has nothing to do, or runs the task that it runs.
    pub(super) idle_since: Instant,
    /// Others wait: it goes back after the running task.
    pub(super) yielding: bool,
    /// The running task waits for something: nothing is sent after it.
    pub(super) stalled: bool,
}

impl Lease {
    pub(super) fn new(shape: Shape, worker: WorkerId, gpus: Vec<u32>, now: Instant) -> Self {
        Self {
            shape,
            worker,
            gpus,
            running: VecDeque::new(),
            idle_since: now,
            yielding: false,
            stalled: false,
        }
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether tasks stand behind the one that runs.
    pub(super) fn has_ahead(&self) -> bool {
        self.running.len() > 1
    }

    /// Its worker has ended the task.
    pub(super) fn ended(&mut self, task: TaskId, now: Instant) {
        if self.running.front() == Some(&task) {
            self.running.pop_front();
        } else {
            self.running.retain(|running| *running != task);
        }
        self.idle_since = now;
        self.stalled = false;
    }
}
