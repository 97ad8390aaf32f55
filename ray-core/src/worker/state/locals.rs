//! Local tasks, as far as the state knows them: the leases and threads of their lines, and objects that were handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::admission::Pending;
use super::{Out, State};
use crate::config;
use crate::error::RayError;
use crate::ids::{TaskId, WorkerId};
use crate::worker::local::LocalTask;
use crate::worker::objects::Slot;

/// What the state and those that make local tasks change both, each without waiting for the other.
#[derive(Debug)]
pub(crate) struct Common {
    me: WorkerId,
    next_task: AtomicU64,
    pub(crate) pending: Pending,
    /// A thread of the pool looks for work by itself, or is on its way to do so.
    pub(crate) watched: AtomicBool,
}

impl Common {
    pub(super) fn new(me: WorkerId, config: &config::Cluster) -> Self {
        Self {
            me,
            next_task: AtomicU64::new(2),
            pending: Pending::new(config.max_pending_task_bytes.unwrap_or(u64::MAX)),
            watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn new_task_id(&self) -> TaskId {
        TaskId::new(self.me, self.next_task.fetch_add(1, Ordering::Relaxed))
    }
}

impl State {
    /// The error of what cannot run because the session is over.
    pub(crate) fn why_ended(&self) -> RayError {
        self.ended.clone().unwrap_or(RayError::SessionEnded {})
    }

    pub(crate) fn common(&self) -> Arc<Common> {
        self.common.clone()
    }

    /// The result of a local task that has not ended is known here from now on.
    pub(crate) fn local_expected(&mut self, task: Arc<LocalTask>) {
        self.locals.insert(task.id, task);
    }

    /// The result of a local task is known here, and is settled now.
    pub(crate) fn local_settled(&mut self, task: &LocalTask, slot: Slot, now: Instant, out: &mut Out) {
        if let Some(task) = self.locals.remove(&task.id) {
            out.garbage.push(Box::new(task));
        }
        self.settle(task.object(), slot, now, out);
        self.keep_local_lineage(task, out);
    }

    /// A local task that has not ended and whose result is known here.
    pub(crate) fn local(&self, task: TaskId) -> Option<Arc<LocalTask>> {
        self.locals.get(&task).cloned()
    }

    /// Local tasks have ended, or will not run.
    pub(crate) fn locals_ended(&mut self, number: u32, out: &mut Out) {
        if number > 0 {
            self.room_freed(u64::from(number) * LocalTask::BYTES, out);
        }
    }
}
