//! The consumer: sees answers, takes tasks, and sleeps when there is neither.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use bytes::Bytes;
use ray_core_ring::{RingError, Rung, wait};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Consumer, Errand, Inbox, Rings};
use crate::ids::WorkerId;
use crate::wire::{self, Frame, TaskSpec};
use crate::worker::Worker;
use crate::worker::waiter::Waiter;

/// Answers that are seen under one lock of the state.
const BATCH: usize = 64;

/// What the main thread of a worker gets.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A task for it to run, whose record ends with [`Rings::task_ended`].
    Task(WorkerId, Box<TaskSpec>),
    /// Something else may have come: look.
    Other,
}

impl Consumer {
    fn is_ready(&self, rings: &Rings, tasks: bool) -> bool {
        let eager = tasks || rings.eager.load(Ordering::Relaxed);
        self.answers.iter().any(|inbox| inbox.receiver.is_ready())
            || (eager && self.tasks.iter().any(|inbox| inbox.receiver.is_ready()))
            || rings.errand_count.load(Ordering::Acquire) > 0
    }
}

/// The consumer, locked. Whoever lets go of it has the reactor look if that was rung meanwhile and found it locked.
pub(super) struct Held<'a> {
    rings: &'a Rings,
    consumer: Option<MutexGuard<'a, Consumer>>,
}

impl Deref for Held<'_> {
    type Target = Consumer;

    #[expect(clippy::expect_used, reason = "the guard is taken by `drop` only")]
    fn deref(&self) -> &Consumer {
        self.consumer.as_ref().expect("held until dropped")
    }
}

impl DerefMut for Held<'_> {
    #[expect(clippy::expect_used, reason = "the guard is taken by `drop` only")]
    fn deref_mut(&mut self) -> &mut Consumer {
        self.consumer.as_mut().expect("held until dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.consumer.take());
        if self.rings.reactor_missed.swap(false, Ordering::SeqCst) {
            // An error means that the counter is full: then the reactor looks anyway.
            let _full = rustix::io::write(&self.rings.event, &1u64.to_ne_bytes());
        }
    }
}

impl Rings {
    fn consumer(&self) -> Held<'_> {
        // A panic under the lock is a bug; rings stay consistent record by record.
        Held {
            rings: self,
            consumer: Some(self.consumer.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub(super) fn try_consumer(&self) -> Option<Held<'_>> {
        let consumer = match self.consumer.try_lock() {
            Ok(consumer) => consumer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Held {
            rings: self,
            consumer: Some(consumer),
        })
    }

    /// Sees everything that has come, but for tasks unless they are taken eagerly.
    pub(super) fn drain(&self, worker: &Arc<Worker>, consumer: &mut Consumer) {
        for errand in self.errands_left() {
            match errand {
                Errand::Answers(inbox) => consumer.answers.push(inbox),
                Errand::Tasks(inbox) => consumer.tasks.push(inbox),
                Errand::Death(peer, cause) => {
                    // RI-4.
                    drain_answers(worker, &mut consumer.answers, Some(peer));
                    consumer.answers.retain(|inbox| inbox.peer != peer);
                    consumer.tasks.retain(|inbox| inbox.peer != peer);
                    self.task_owners
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .retain(|owner| *owner != peer);
                    worker.peer_is_dead(peer, &cause);
                }
            }
        }
        drain_answers(worker, &mut consumer.answers, None);
        if self.eager.load(Ordering::Relaxed) {
            drain_tasks(worker, &mut consumer.tasks);
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
        if self.errand_count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        self.errand_count.store(0, Ordering::Release);
        std::mem::take(&mut errands)
    }

    fn apply_posts(&self, consumer: &mut Consumer) {
        let posted = self.posted.swap(0, Ordering::Relaxed);
        if posted & 2 != 0 {
            consumer.policy.posted(Rung::Woke);
        } else if posted & 1 != 0 {
            consumer.policy.posted(Rung::Awake);
        }
    }

    /// RI-3.
    pub(super) fn let_go(&self, consumer: &mut Consumer) {
        self.unarmed.store(false, Ordering::Relaxed);
        let Consumer {
            bell, answers, tasks, ..
        } = consumer;
        let eager = self.eager.load(Ordering::Relaxed);
        let armed = bell.arm(|| {
            answers.iter().any(|inbox| inbox.receiver.is_ready())
                || (eager && tasks.iter().any(|inbox| inbox.receiver.is_ready()))
                || self.errand_count.load(Ordering::Acquire) > 0
        });
        if !armed {
            bell.nudge();
        }
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
            self.apply_posts(&mut consumer);
            let Consumer {
                bell,
                policy,
                answers,
                tasks,
                ..
            } = &mut *consumer;
            let eager = self.eager.load(Ordering::Relaxed);
            in_time = wait(bell, policy, deadline, || {
                waiter.is_done()
                    || answers.iter().any(|inbox| inbox.receiver.is_ready())
                    || (eager && tasks.iter().any(|inbox| inbox.receiver.is_ready()))
                    || self.errand_count.load(Ordering::Acquire) > 0
            });
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
            if takes_tasks && let Some((owner, spec)) = take_task(&mut consumer) {
                // A task that waits for nothing needs nobody to listen meanwhile.
                if worker.awaits_nothing() {
                    self.unarmed.store(true, Ordering::Relaxed);
                } else {
                    self.let_go(&mut consumer);
                }
                return Arrival::Task(owner, spec);
            }
            self.apply_posts(&mut consumer);
            let Consumer {
                bell,
                policy,
                answers,
                tasks,
                ..
            } = &mut *consumer;
            wait(bell, policy, None, || {
                other()
                    || (takes_tasks && tasks.iter().any(|inbox| inbox.receiver.is_ready()))
                    || answers.iter().any(|inbox| inbox.receiver.is_ready())
                    || self.errand_count.load(Ordering::Acquire) > 0
            });
        }
    }

    /// The task that was taken last has been answered.
    pub(crate) fn task_ended(&self) {
        let mut consumer = self.consumer();
        if let Some((owner, taken)) = consumer.running.take()
            && let Some(inbox) = consumer.tasks.iter_mut().find(|inbox| inbox.peer == owner)
        {
            inbox.receiver.finish(taken);
            make_room(inbox);
        }
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
            self.apply_posts(&mut consumer);
            let Consumer {
                bell,
                policy,
                answers,
                tasks,
                ..
            } = &mut *consumer;
            wait(bell, policy, None, || {
                ready()
                    || tasks.iter().any(|inbox| inbox.receiver.is_ready())
                    || answers.iter().any(|inbox| inbox.receiver.is_ready())
                    || self.errand_count.load(Ordering::Acquire) > 0
            });
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

    /// The running task begins to wait for something: the reactor listens from now on.
    pub(crate) fn listen(&self) {
        while self.unarmed.load(Ordering::Relaxed) {
            // Who comes to wait as the consumer says that somebody listens; who only looks is soon gone.
            match self.try_consumer() {
                Some(mut consumer) => return self.let_go(&mut consumer),
                None => std::thread::yield_now(),
            }
        }
    }
}

fn take_task(consumer: &mut Consumer) -> Option<(WorkerId, Box<TaskSpec>)> {
    let count = consumer.tasks.len();
    for step in 0..count {
        let place = (consumer.turn + step) % count;
        let inbox = &mut consumer.tasks[place];
        let owner = inbox.peer;
        let spec = match inbox.receiver.take() {
            Ok(Some((taken, bytes))) => {
                let decoded = wire::from_bytes::<Frame>(Bytes::copy_from_slice(bytes));
                consumer.running = Some((owner, taken));
                decoded
            }
            Ok(None) => continue,
            Err(error) => {
                lost(owner, &error);
                consumer.tasks.remove(place);
                return None;
            }
        };
        consumer.turn = place + 1;
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

fn lost(peer: WorkerId, error: &RingError) {
    if !matches!(error, RingError::Closed) {
        tracing::error!(target: "ray_core::worker", %error, %peer, "a ring cannot be read");
    }
}

fn make_room(inbox: &Inbox) {
    if inbox.receiver.frees_a_waiting_sender() {
        // Only its room matters to the peer, not whether it slept.
        let _found = inbox.ringer.ring();
    }
}

fn drain_answers(worker: &Arc<Worker>, inboxes: &mut Vec<Inbox>, only: Option<WorkerId>) {
    inboxes.retain_mut(|inbox| {
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
            make_room(inbox);
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

fn drain_tasks(worker: &Arc<Worker>, inboxes: &mut Vec<Inbox>) {
    inboxes.retain_mut(|inbox| {
        let mut specs = Vec::new();
        let popped = inbox.receiver.pop_batch(BATCH, |bytes| {
            match wire::from_bytes::<Frame>(Bytes::copy_from_slice(bytes)) {
                Ok(Frame::PushTask { spec, .. }) => specs.push(*spec),
                other => tracing::error!(target: "ray_core::worker", ?other, "a record that is no task"),
            }
        });
        for spec in specs {
            worker.executor.push(worker, inbox.peer, spec, 0);
        }
        make_room(inbox);
        match popped {
            Ok(_) => true,
            Err(error) => {
                lost(inbox.peer, &error);
                false
            }
        }
    });
}

/// The reactor's part: it is the consumer while no thread waits.
pub(crate) async fn serve_reactor(worker: Arc<Worker>) {
    let descriptor = match worker.rings.event.try_clone() {
        Ok(descriptor) => descriptor,
        Err(error) => {
            tracing::error!(target: "ray_core::worker", %error, "no descriptor for the bell: answers come late");
            return;
        }
    };
    // SAFETY: the descriptor is an open one of our own, which the registration owns and closes after itself.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    let event = match registered {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(target: "ray_core::worker", ?error, "the bell cannot be watched: answers come late");
            return;
        }
    };
    let weak = Arc::downgrade(&worker);
    // A thread that is the consumer already leaves the bell to us when it lets go.
    if let Some(mut consumer) = worker.rings.try_consumer() {
        worker.rings.let_go(&mut consumer);
    }
    drop(worker);
    loop {
        let Ok(mut readable) = event.readable().await else {
            return;
        };
        readable.clear_ready();
        let Some(worker) = weak.upgrade() else { return };
        let rings = &worker.rings;
        // A thread that waits is the consumer now, and will leave the bell to us again.
        rings.reactor_missed.store(true, Ordering::SeqCst);
        let Some(mut consumer) = rings.try_consumer() else {
            continue;
        };
        rings.reactor_missed.store(false, Ordering::SeqCst);
        if rings.unarmed.load(Ordering::Relaxed) {
            continue;
        }
        consumer.bell.disarm();
        while consumer.is_ready(rings, false) {
            rings.drain(&worker, &mut consumer);
        }
        if rings.is_burst(&worker) {
            rings.leave_unarmed(&worker);
        } else {
            rings.let_go(&mut consumer);
        }
    }
}
