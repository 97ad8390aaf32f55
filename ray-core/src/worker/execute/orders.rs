//! The line of what the main thread of a worker process is to do, and that thread.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Executor, Job, actor, panic, run};
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::ActorSpec;
use crate::worker::Worker;
use crate::worker::rings::Arrival;

/// Cancels of unknown tasks that are remembered: those whose task is still in a ring are among the latest.
const CANCELS_KEPT: usize = 256;

/// What the main thread does next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every order is a job: a box would be an allocation a task"
)]
pub(super) enum Order {
    Run(Job),
    /// With the references inside the arguments, held by this process until the constructor has ended.
    Construct(Box<ActorSpec>, u32, Vec<(ObjectId, WorkerId)>),
    Exit(i32),
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) line: VecDeque<Order>,
    /// The task that has left the line last, and whether it was cancelled before it was known to run.
    begun: Option<TaskId>,
    begun_cancelled: bool,
    /// Tasks that were cancelled and not known here: a cancel comes by socket and may overtake its task in the ring.
    cancelled_unknown: VecDeque<TaskId>,
    /// The worker has reached a function's `max_calls` and takes no further task.
    pub(super) retired: bool,
    /// End when the line is empty.
    pub(super) ending: bool,
}

impl Orders {
    fn next(&mut self) -> Option<Order> {
        let order = self.line.pop_front()?;
        self.begins(match &order {
            Order::Run(job) => Some(job.spec.task),
            _ => None,
        });
        Some(order)
    }

    /// The main thread begins this task, or something else.
    fn begins(&mut self, task: Option<TaskId>) {
        self.begun = task;
        self.begun_cancelled = false;
    }

    /// Cancels a task. Returns its job if it stands in line; else it is remembered.
    pub(super) fn cancel(&mut self, task: TaskId) -> Option<Job> {
        let is_it = |order: &Order| matches!(order, Order::Run(job) if job.spec.task == task);
        let place = self.line.iter().position(is_it);
        if self.begun == Some(task) {
            self.begun_cancelled = true;
        } else if place.is_none() {
            self.cancelled_unknown.push_back(task);
            let surplus = self.cancelled_unknown.len().saturating_sub(CANCELS_KEPT);
            self.cancelled_unknown.drain(..surplus);
        }
        match self.line.remove(place?) {
            Some(Order::Run(job)) => Some(job),
            _ => None,
        }
    }

    /// Whether a cancel of the task came before it was known to run. It counts once: the task may run again later, for
    /// those who have lost what it made.
    pub(super) fn take_cancel(&mut self, task: TaskId) -> bool {
        self.forget_cancel(task) || (self.begun == Some(task) && self.begun_cancelled)
    }

    /// A cancel has reached its task. Returns whether it was remembered.
    pub(super) fn forget_cancel(&mut self, task: TaskId) -> bool {
        let place = self.cancelled_unknown.iter().position(|other| *other == task);
        place.is_some_and(|place| self.cancelled_unknown.remove(place).is_some())
    }
}

impl Executor {
    pub(super) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main loop of a worker process. Returns the exit code.
    pub(crate) fn serve(&self, worker: &Arc<Worker>) -> i32 {
        worker.rings.keep_for_this_thread();
        if std::panic::catch_unwind(crate::process::setup::run_worker_setup).is_err() {
            let panic::Panic { message, location } = panic::take_last();
            #[expect(
                clippy::print_stderr,
                reason = "it is the worker's log; there may be no subscriber yet"
            )]
            {
                eprintln!("a ray worker cannot start: a worker_setup function panicked: {message}, at {location}");
            }
            return 1;
        }
        // After it, since a program may want another subscriber.
        crate::logging::in_worker(&worker.config);
        loop {
            if let Some(order) = self.next_order(worker) {
                match order {
                    Order::Run(job) => run::task(worker, job),
                    Order::Construct(spec, restarts, references) => {
                        actor::construct(worker, &spec, restarts, &references);
                    }
                    Order::Exit(code) => return code,
                }
                continue;
            }
            let retired = self.orders().retired;
            let look = || self.look.load(Ordering::Acquire);
            if let Arrival::Task(owner, spec) = worker.rings.next_task(worker, !retired, look) {
                self.orders().begins(Some(spec.task));
                run::task(
                    worker,
                    Job {
                        spec: *spec,
                        from: owner,
                        held: Vec::new(),
                    },
                );
                worker.rings.task_ended();
            }
        }
    }

    /// What has come by socket, if anything.
    fn next_order(&self, worker: &Worker) -> Option<Order> {
        self.look.store(false, Ordering::SeqCst);
        let mut orders = self.orders();
        if let Some(order) = orders.next() {
            self.look.store(true, Ordering::Release);
            return Some(order);
        }
        // A worker that has what others use is not idle: it would end with it.
        let ends = orders.ending && worker.read(|state| !state.lends());
        ends.then_some(Order::Exit(0))
    }

    /// Has the main thread look again.
    pub(super) fn look_again(&self, worker: &Worker) {
        self.look.store(true, Ordering::Release);
        if let Some(host) = self.actor.get() {
            host.look_again();
        }
        // Last: whom it wakes finds nothing else, and sleeps again. Whether the main thread slept does not matter.
        let _found = worker.rings.ringer().ring();
    }

    pub(super) fn order(&self, worker: &Worker, order: Order) {
        self.orders().line.push_back(order);
        self.look_again(worker);
    }
}
