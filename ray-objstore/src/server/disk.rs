//! The threads that do what may block: spill, restore, punch, remove. They know files and ranges, not the state.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::spill_file;
use crate::alloc::Range;
use crate::error::Error;
use crate::ids::Key;
use crate::memory::Segment;

/// One object on its way to or from disk.
#[derive(Debug, Clone)]
pub(super) struct SpillItem {
    pub(super) generation: u64,
    pub(super) key: Key,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) segment: Segment,
}

#[derive(Debug)]
pub(super) enum DiskTask {
    Spill {
        file: u64,
        path: PathBuf,
        items: Vec<SpillItem>,
    },
    Restore {
        path: PathBuf,
        position: u64,
        item: SpillItem,
    },
    Punch {
        job: u32,
        segment: Segment,
        ranges: Vec<Range>,
    },
    Remove {
        path: PathBuf,
    },
}

#[derive(Debug)]
pub(super) enum DiskDone {
    Spilled {
        file: u64,
        items: Vec<SpillItem>,
        result: Result<Vec<u64>, String>,
    },
    Restored {
        generation: u64,
        result: Result<(), RestoreError>,
    },
    Punched {
        job: u32,
        ranges: Vec<Range>,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum RestoreError {
    /// The copy on disk is missing or damaged.
    Lost(String),
    /// The machine has no memory to read it into.
    NoMemory(String),
}

/// A queue and the threads that serve it.
#[derive(Debug)]
pub(super) struct Disk {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: Mutex<(VecDeque<DiskTask>, bool)>,
    changed: Condvar,
}

impl Disk {
    /// Two threads, so that a restore need not wait for a long spill. `done` is called on them.
    pub(super) fn start(done: impl Fn(DiskDone) + Send + Clone + 'static) -> Result<Self, Error> {
        let queue = Arc::new(Queue::default());
        let mut disk = Self {
            queue: Arc::clone(&queue),
            threads: Vec::new(),
        };
        for _ in 0..2 {
            let (queue, done) = (Arc::clone(&queue), done.clone());
            let thread = std::thread::Builder::new().name("ray-store-disk".into());
            let thread = thread.spawn(move || {
                while let Some(task) = queue.next() {
                    if let Some(result) = perform(task) {
                        done(result);
                    }
                }
            });
            disk.threads.push(thread.map_err(Error::io("starting a disk thread"))?);
        }
        Ok(disk)
    }

    /// Someone waits for a restore, nobody for the rest.
    pub(super) fn push(&self, task: DiskTask) {
        let mut tasks = self.queue.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match task {
            DiskTask::Restore { .. } => tasks.0.push_front(task),
            _ => tasks.0.push_back(task),
        }
        drop(tasks);
        self.queue.changed.notify_one();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.tasks.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a disk thread of the object store panicked");
            }
        }
    }
}

impl Queue {
    fn next(&self) -> Option<DiskTask> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if tasks.1 {
                return None;
            }
            if let Some(task) = tasks.0.pop_front() {
                return Some(task);
            }
            tasks = self.changed.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn perform(task: DiskTask) -> Option<DiskDone> {
    match task {
        DiskTask::Spill { file, path, items } => {
            let result = spill_file::write(&path, &items).map_err(|error| {
                remove(&path);
                format!("writing {}: {error}", path.display())
            });
            Some(DiskDone::Spilled { file, items, result })
        }
        DiskTask::Restore { path, position, item } => {
            let result = spill_file::read(&path, position, &item);
            Some(DiskDone::Restored {
                generation: item.generation,
                result,
            })
        }
        DiskTask::Punch { job, segment, ranges } => {
            for range in &ranges {
                if let Err(error) = segment.punch(range.offset, range.len) {
                    tracing::warn!(%error, "memory of freed objects could not be given back");
                }
            }
            Some(DiskDone::Punched { job, ranges })
        }
        DiskTask::Remove { path } => {
            remove(&path);
            None
        }
    }
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a spill file could not be removed");
        }
        _ => {}
    }
}
