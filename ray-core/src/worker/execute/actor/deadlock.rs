//! Waits that would never end: an exclusive call waits for a result that this very actor is to make.
//!
//! - DL-1: what an exclusive call waits for is noted under the lock of the calls, with a look at those that have arrived; an
//!   arriving call is held against the notes under the same lock. So whichever of the two comes second sees the other.
//!
//! The caller's own calls are found before this, by its own process. Here come those of other owners, who make a lost result
//! again while it is waited for. Absent: results that the actor makes by way of other tasks.

use std::sync::Arc;

use super::{ActorHost, Turn};
use crate::error::{RayError, Result};
use crate::ids::{ActorId, ObjectId, TaskId};
use crate::worker::execute::{Executor, Job};

impl Executor {
    /// Notes that the exclusive call of the actor of this process which runs now waits for these objects, until the guard
    /// drops. `None`: the actor lives elsewhere.
    ///
    /// # Errors
    /// [`RayError::WouldDeadlock`] if a call that makes one of them stands behind it.
    pub(crate) fn waits_exclusively(&self, actor: ActorId, objects: &[ObjectId]) -> Result<Option<ExclusiveWait>> {
        match self.actor.get().filter(|host| host.spec.actor == actor) {
            Some(host) => host.clone().note_wait(objects).map(Some),
            None => Ok(None),
        }
    }
}

impl ActorHost {
    fn note_wait(self: Arc<Self>, objects: &[ObjectId]) -> Result<ExclusiveWait> {
        let makers: Vec<TaskId> = objects
            .iter()
            .filter(|object| !object.is_put())
            .map(ObjectId::task)
            .collect();
        {
            let mut calls = self.calls();
            let is_maker = |turn: &Turn| matches!(turn, Turn::Call(job) if makers.contains(&job.spec.task));
            if calls.queue.has(is_maker) {
                return Err(self.would_deadlock());
            }
            calls.awaited.extend(&makers);
        }
        Ok(ExclusiveWait { host: self, makers })
    }

    /// Why a call that arrives can never start.
    pub(super) fn refuse_awaited(&self, job: &Job, awaited: &[TaskId]) -> Option<RayError> {
        awaited.contains(&job.spec.task).then(|| self.would_deadlock())
    }

    fn would_deadlock(&self) -> RayError {
        RayError::WouldDeadlock { actor: self.spec.actor }
    }
}

/// An exclusive call waits for what these tasks make.
#[derive(Debug)]
pub(crate) struct ExclusiveWait {
    host: Arc<ActorHost>,
    makers: Vec<TaskId>,
}

impl Drop for ExclusiveWait {
    fn drop(&mut self) {
        let mut calls = self.host.calls();
        for maker in &self.makers {
            // As often as it was noted.
            if let Some(place) = calls.awaited.iter().position(|task| task == maker) {
                calls.awaited.swap_remove(place);
            }
        }
    }
}
