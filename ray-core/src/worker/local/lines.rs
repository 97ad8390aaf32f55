//! All lines of a process, and what its local tasks have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{LocalLine, LocalTask};
use crate::error::RayError;
use crate::ids::{IdHasher, TaskId};
use crate::memory::RunningTask;
use crate::worker::Worker;
use crate::worker::shape::Shape;
use crate::worker::state::{Common, LocalActor};

/// The lines of a process, by what their tasks need.
#[derive(Debug)]
pub(crate) struct LocalLines {
    pub(crate) common: Arc<Common>,
    lines: RwLock<HashMap<Shape, Arc<LocalLine>, IdHasher>>,
    /// The line of actors' calls.
    pub(crate) calls: Arc<LocalLine>,
    ended: AtomicBool,
}

impl LocalLines {
    pub(crate) fn new(common: Arc<Common>) -> Self {
        Self {
            calls: Arc::new(LocalLine::new(None, common.clone())),
            common,
            lines: RwLock::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// The line for tasks of this shape. `None`: the session has ended.
    pub(crate) fn of(&self, worker: &Arc<Worker>, shape: &Shape) -> Option<Arc<LocalLine>> {
        let known = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = known.get(shape) {
            return Some(line.clone());
        }
        drop(known);
        self.renew(worker, shape)
    }

    /// The line for tasks of this shape, if that which was known is closed.
    pub(crate) fn renew(&self, worker: &Arc<Worker>, shape: &Shape) -> Option<Arc<LocalLine>> {
        let line = {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            lines.retain(|_, line| !line.is_closed());
            let new = || Arc::new(LocalLine::new(Some(shape.clone()), self.common.clone()));
            lines.entry(shape.clone()).or_insert_with(new).clone()
        };
        worker.with(|state, _, _| state.local_line(&line));
        Some(line)
    }

    fn all(&self) -> Vec<Arc<LocalTask>> {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.values().chain([&self.calls]);
        lines.flat_map(|line| line.all()).collect()
    }

    /// What a task has submitted that has not ended.
    pub(crate) fn children(&self, worker: &Worker, parent: TaskId) -> Vec<Arc<LocalTask>> {
        let mut all = self.all();
        let hosts = worker.read(|state| state.local_actors());
        all.extend(hosts.iter().flat_map(|host| host.mailbox.local()));
        all.retain(|task| task.parent == parent);
        all
    }

    /// What runs.
    pub(crate) fn running(&self) -> Vec<RunningTask> {
        let all = self.all();
        let running = all.iter().filter_map(|task| task.running());
        running.map(|context| context.told()).collect()
    }

    /// The session ends: what has not ended fails.
    pub(crate) fn end(&self, worker: &Arc<Worker>, hosts: &[Arc<LocalActor>], error: &RayError) {
        self.ended.store(true, Ordering::Release);
        let lines: Vec<_> = {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            lines
                .drain()
                .map(|(_, line)| line)
                .chain([self.calls.clone()])
                .collect()
        };
        for host in hosts {
            host.end_local(worker, error);
        }
        for line in lines {
            line.close();
            for task in line.all() {
                task.fail(worker, error.clone());
            }
        }
    }
}
