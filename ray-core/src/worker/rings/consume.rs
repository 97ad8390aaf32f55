//! The consumer: sees answers, takes tasks, and sleeps when there is neither.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use ray_core_ring::{Rung, wait};

use super::held::Consumer;
use super::{Errand, Rings};
use crate::ids::WorkerId;
use crate::wire::TaskSpec;
use crate::worker::Worker;
use crate::worker::waiter::Waiter;

/// What the main thread of a worker gets.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A task for it to run, whose record ends with [`Rings::task_ended`].
    Task(WorkerId, Box<TaskSpec>),
    /// Something else may have come: look.
    Other,
}

impl Rings {
    /// Sees everything that has come, but for tasks unless they are taken eagerly.
    pub(super) fn drain(&self, worker: &Arc<Worker>, consumer: &mut Consumer) {
        let inboxes = &mut consumer.inboxes;
        for errand in self.errands_left() {
            match errand {
                Errand::Answers(inbox) => inboxes.answers.push(inbox),
                Errand::Tasks(inbox) => inboxes.tasks.push(inbox),
                Errand::Death(peer, cause) => {
                    // RI-4.
                    inboxes.drain_answers(worker, Some(peer));
                    inboxes.forget(peer);
                    self.task_owners
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .retain(|owner| *owner != peer);
                    worker.peer_is_dead(peer, &cause);
                }
            }
        }
        inboxes.drain_answers(worker, None);
        if self.eager.load(Ordering::Relaxed) {
            inboxes.drain_tasks(worker);
        }
    }

    /// A worker's main thread runs code and listens to nothing: what has come is seen here. `false` if somebody listens.
    pub(super) fn drain_for_busy_main(&self, worker: &Arc<Worker>) -> bool {
        if !self.unarmed.load(Ordering::Relaxed) {
            return false;
        }
        let Some(mut consumer) = self.try_consumer() else {
            return false;
        };
        self.drain(worker, &mut consumer);
        true
    }

    fn errands_left(&self) -> Vec<Errand> {
        if !self.has_errands() {
            return Vec::new();
        }
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        self.errand_count.store(0, Ordering::Release);
        std::mem::take(&mut errands)
    }

    pub(super) fn has_errands(&self) -> bool {
        self.errand_count.load(Ordering::Acquire) > 0
    }

    fn apply_posts(&self, consumer: &mut Consumer) {
        let posted = self.posted.swap(0, Ordering::Relaxed);
        if posted & 2 != 0 {
            consumer.policy.posted(Rung::Woke);
        } else if posted & 1 != 0 {
            consumer.policy.posted(Rung::Awake);
        }
    }

    /// Waits until something has come, a task only where these count, or until `other` holds. Returns whether it was in
    /// time.
    fn sleep(&self, consumer: &mut Consumer, tasks: bool, deadline: Option<Instant>, other: impl Fn() -> bool) -> bool {
        self.apply_posts(consumer);
        let Consumer { bell, policy, inboxes } = consumer;
        wait(bell, policy, deadline, || {
            other() || inboxes.are_ready(tasks) || self.has_errands()
        })
    }

    /// Waits for a waiter on this thread, as the consumer if nobody else is. Returns whether it is done.
    pub(crate) fn wait_for(&self, worker: &Arc<Worker>, waiter: &Waiter, deadline: Option<Instant>) -> bool {
        if self.main.get().is_some_and(|main| *main != std::thread::current().id()) {
            // The consumer is kept for the main thread: it takes the next task, whatever others wait for.
            self.listen();
            return waiter.block(deadline);
        }
        let Some(mut consumer) = self.try_consumer() else {
            return waiter.block(deadline);
        };
        self.unarmed.store(false, Ordering::Relaxed);
        waiter.wake_by(self.ringer());
        consumer.bell.take_over();
        let mut in_time = true;
        while !waiter.is_done() && in_time {
            self.drain(worker, &mut consumer);
            if waiter.is_done() {
                break;
            }
            let eager = self.eager.load(Ordering::Relaxed);
            in_time = self.sleep(&mut consumer, eager, deadline, || waiter.is_done());
        }
        self.let_go(&mut consumer);
        waiter.is_done()
    }

    /// This is the main thread of a worker: the consumer is kept for it from now on, before anything runs here.
    pub(crate) fn keep_for_this_thread(&self) {
        self.main.get_or_init(|| std::thread::current().id());
    }

    /// The main thread of a worker waits for a task, if it takes any, or until `other` holds.
    pub(crate) fn next_task(&self, worker: &Arc<Worker>, takes_tasks: bool, other: impl Fn() -> bool) -> Arrival {
        let mut consumer = self.consumer();
        consumer.bell.take_over();
        self.unarmed.store(false, Ordering::Relaxed);
        loop {
            self.drain(worker, &mut consumer);
            if other() {
                self.let_go(&mut consumer);
                return Arrival::Other;
            }
            if takes_tasks && let Some((owner, spec)) = consumer.inboxes.take_task() {
                // A task that waits for nothing needs nobody to listen meanwhile.
                if worker.awaits_nothing() {
                    self.unarmed.store(true, Ordering::Relaxed);
                } else {
                    self.let_go(&mut consumer);
                }
                return Arrival::Task(owner, spec);
            }
            self.sleep(&mut consumer, takes_tasks, None, &other);
        }
    }

    /// The task that was taken last has been answered.
    pub(crate) fn task_ended(&self) {
        self.consumer().inboxes.task_ended();
    }

    /// The main thread of an actor waits until `ready` holds; calls that come are taken at once. `brief`: it runs what it then
    /// finds for so short a time that it may look itself after that.
    pub(crate) fn wait_until(&self, worker: &Arc<Worker>, ready: impl Fn() -> bool, brief: impl Fn() -> bool) {
        let mut consumer = self.consumer();
        consumer.bell.take_over();
        self.unarmed.store(false, Ordering::Relaxed);
        loop {
            self.drain(worker, &mut consumer);
            if ready() {
                break;
            }
            self.sleep(&mut consumer, true, None, &ready);
        }
        if worker.awaits_nothing() && !self.overlapping.load(Ordering::Relaxed) {
            self.unarmed.store(true, Ordering::Relaxed);
        } else if brief() {
            self.duty.looked();
            self.leave_unarmed(worker);
        } else {
            self.let_go(&mut consumer);
        }
    }

    /// The owners that send tasks by ring: some may wait behind the one that runs.
    pub(crate) fn owners(&self) -> Vec<WorkerId> {
        if self.eager.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.task_owners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
