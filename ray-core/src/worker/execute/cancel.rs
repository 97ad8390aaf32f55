//! What others have submitted and runs here, and its cancels.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::outcome::cancelled;
use super::{Executor, answer, ending, shared};
use crate::error::RayError;
use crate::ids::{IdHasher, TaskId};
use crate::memory::RunningTask;
use crate::worker::Worker;
use crate::worker::context::TaskContext;

impl Executor {
    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<TaskContext>, IdHasher>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a task's context known, so that it can be cancelled. A cancel that came before counts too.
    pub(super) fn enter_running(&self, context: &Arc<TaskContext>) {
        self.running().insert(context.task, context.clone());
        if self.orders().take_cancel(context.task) {
            context.cancel.set();
        }
    }

    /// What others have submitted and runs here now.
    pub(crate) fn running_tasks(&self) -> Vec<RunningTask> {
        self.running().values().map(|context| context.told()).collect()
    }

    /// Cancels a task that has arrived here, and on demand what it has submitted.
    pub(crate) fn cancel(&self, worker: &Arc<Worker>, task: TaskId, recursive: bool) {
        let waiting = self.orders().cancel(task);
        if let Some(job) = waiting.or_else(|| shared::take_waiting(worker, task)) {
            let outcome = cancelled(&job);
            answer(worker, job, outcome, true);
            return;
        }
        if let Some(host) = self.actor.get() {
            host.cancel_waiting(worker, task);
        }
        let running = self.running().get(&task).cloned();
        match running.or_else(|| worker.read(|state| state.running_here(task))) {
            Some(context) => {
                self.orders().forget_cancel(task);
                context.cancel.set();
            }
            None => {
                worker.with(|state, now, out| state.cancel_waiting_call(task, now, out));
            }
        }
        if recursive {
            self.cancel_children(worker, task);
        }
    }

    /// Cancels what a task has submitted.
    pub(crate) fn cancel_children(&self, worker: &Arc<Worker>, parent: TaskId) {
        for child in worker.locals.children(worker, parent) {
            child.cancel(worker, true);
        }
        worker.with(|state, now, out| {
            let children: Vec<(TaskId, String)> = state
                .tasks
                .values()
                .filter(|child| child.spec.parent == parent)
                .map(|child| (child.id(), child.name().to_owned()))
                .collect();
            for (task, name) in children {
                let error = RayError::Cancelled { task, name };
                state.cancel(task, &error, true, now, out);
            }
        });
    }

    /// Ends this process at once if it runs the task, and no other.
    pub(crate) fn end_if_running(&self, task: TaskId) {
        // The lock is not released: as long as it is held, the task cannot end and no other begins.
        let running = self.running();
        if running.contains_key(&task) {
            ending::end_process();
        }
    }
}
