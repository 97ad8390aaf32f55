//! What comes from each peer: answers to this process's tasks, and tasks for it.

use std::sync::Arc;

use bytes::Bytes;
use ray_core_ring::{Receiver, RingError, Ringer, Taken};

use crate::ids::WorkerId;
use crate::wire::{self, Frame, TaskSpec};
use crate::worker::Worker;

/// Answers that are seen under one lock of the state.
const BATCH: usize = 64;

/// What comes from one peer.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) peer: WorkerId,
    pub(super) receiver: Receiver,
    /// The peer's bell: it may wait for room.
    pub(super) ringer: Ringer,
}

impl Inbox {
    fn make_room(&mut self) {
        if self.receiver.frees_a_waiting_sender() {
            // Only its room matters to the peer, not whether it slept.
            let _found = self.ringer.ring();
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    /// Answers to this process's tasks.
    pub(super) answers: Vec<Inbox>,
    /// Tasks for this process.
    pub(super) tasks: Vec<Inbox>,
    /// Where the next task is looked for: owners take turns.
    turn: usize,
    /// The record of the task that runs.
    running: Option<(WorkerId, Taken)>,
}

impl Inboxes {
    /// Whether an answer has come, or a task where these count.
    pub(super) fn are_ready(&self, tasks: bool) -> bool {
        self.answers.iter().any(|inbox| inbox.receiver.is_ready())
            || (tasks && self.tasks.iter().any(|inbox| inbox.receiver.is_ready()))
    }

    /// The next task of any owner.
    pub(super) fn take_task(&mut self) -> Option<(WorkerId, Box<TaskSpec>)> {
        let count = self.tasks.len();
        for step in 0..count {
            let place = (self.turn + step) % count;
            let inbox = &mut self.tasks[place];
            let owner = inbox.peer;
            let spec = match inbox.receiver.take() {
                Ok(Some((taken, bytes))) => {
                    let decoded = wire::from_bytes::<Frame>(Bytes::copy_from_slice(bytes));
                    self.running = Some((owner, taken));
                    decoded
                }
                Ok(None) => continue,
                Err(error) => {
                    lost(owner, &error);
                    self.tasks.remove(place);
                    return None;
                }
            };
            self.turn = place + 1;
            match spec {
                Ok(Frame::PushTask { spec, .. }) => return Some((owner, spec)),
                other => {
                    tracing::error!(target: "ray_core::worker", ?other, %owner, "a record that is no task");
                    return None;
                }
            }
        }
        None
    }

    /// The task that was taken last has been answered.
    pub(super) fn task_ended(&mut self) {
        if let Some((owner, taken)) = self.running.take()
            && let Some(inbox) = self.tasks.iter_mut().find(|inbox| inbox.peer == owner)
        {
            inbox.receiver.finish(taken);
            inbox.make_room();
        }
    }

    /// Sees the answers that have come, of one peer only or of all.
    pub(super) fn drain_answers(&mut self, worker: &Arc<Worker>, only: Option<WorkerId>) {
        self.answers.retain_mut(|inbox| {
            if only.is_some_and(|peer| peer != inbox.peer) {
                return true;
            }
            loop {
                let mut frames = Vec::new();
                let popped = inbox.receiver.pop_batch(BATCH, |bytes| {
                    match wire::from_bytes::<Frame>(Bytes::copy_from_slice(bytes)) {
                        Ok(frame) => frames.push(frame),
                        Err(error) => tracing::error!(target: "ray_core::worker", %error, "a record that is no frame"),
                    }
                });
                if !frames.is_empty() {
                    worker.answers_arrived(inbox.peer, frames);
                }
                inbox.make_room();
                match popped {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => {
                        lost(inbox.peer, &error);
                        return false;
                    }
                }
            }
        });
    }

    /// Takes all tasks that have come.
    pub(super) fn drain_tasks(&mut self, worker: &Arc<Worker>) {
        self.tasks.retain_mut(|inbox| {
            let mut specs = Vec::new();
            let popped = inbox.receiver.pop_batch(BATCH, |bytes| {
                match wire::from_bytes::<Frame>(Bytes::copy_from_slice(bytes)) {
                    Ok(Frame::PushTask { spec, .. }) => specs.push(*spec),
                    other => tracing::error!(target: "ray_core::worker", ?other, "a record that is no task"),
                }
            });
            for spec in specs {
                worker.executor.push(worker, inbox.peer, spec, None);
            }
            inbox.make_room();
            match popped {
                Ok(_) => true,
                Err(error) => {
                    lost(inbox.peer, &error);
                    false
                }
            }
        });
    }

    /// Nothing of this peer comes any more.
    pub(super) fn forget(&mut self, peer: WorkerId) {
        self.answers.retain(|inbox| inbox.peer != peer);
        self.tasks.retain(|inbox| inbox.peer != peer);
    }
}

fn lost(peer: WorkerId, error: &RingError) {
    if !matches!(error, RingError::Closed) {
        tracing::error!(target: "ray_core::worker", %error, %peer, "a ring cannot be read");
    }
}
