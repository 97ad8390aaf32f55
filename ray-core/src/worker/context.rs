//! What runs on this thread: the task, its attempt, its actor, whether it was cancelled.
//!
//! A future carries its context along: it is set for the time of each poll, so that it holds on whatever thread the future
//! runs, and for what it calls.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock;
use crate::ids::{ActorId, PlacementGroupId, TaskId};
use crate::memory::RunningTask;
use crate::worker::shape::Shape;
use crate::worker::state::Permit;

/// The running task.
#[derive(Debug, Default)]
pub(crate) struct TaskContext {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    pub(crate) name: Arc<str>,
    pub(crate) actor: Option<ActorId>,
    /// Whether it is a call with `&mut self`: nothing else of the actor runs meanwhile.
    pub(crate) exclusive: bool,
    pub(crate) group: Option<PlacementGroupId>,
    /// Whether what it starts runs in the group too.
    pub(crate) captures: bool,
    pub(crate) resources: Resources,
    pub(crate) hosting: Hosting,
    /// The GPUs it was given in a process that sees more, by the node's index.
    pub(crate) gpus: Vec<u32>,
    pub(crate) cancel: CancelFlag,
    /// When its time is over.
    pub(crate) due: Option<Instant>,
    /// How many of its futures wait for objects or for its consumer.
    pub(crate) awaiting: AtomicUsize,
    /// Whether the task is run again if this process is lost.
    pub(crate) retriable: bool,
    /// When it started.
    pub(crate) started: Option<Instant>,
}

impl TaskContext {
    /// The time it has left, if it has a limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        Some(self.due?.saturating_duration_since(Instant::now()))
    }

    /// For the `memory` report and the memory monitor.
    pub(crate) fn told(&self) -> RunningTask {
        let ran = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        RunningTask {
            name: self.name.as_ref().to_owned(),
            task: self.task,
            actor: self.actor,
            attempt: self.attempt,
            retriable: self.retriable,
            started: clock::monotonic().saturating_sub(ran),
        }
    }

    /// Whether a future of the task waits for what other tasks bring about.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaiting.load(Ordering::Acquire) > 0
    }

    /// Notes that a future of the task waits, until the guard drops.
    pub(crate) fn await_others(self: &Arc<Self>) -> Awaiting {
        self.awaiting.fetch_add(1, Ordering::AcqRel);
        Awaiting(self.clone())
    }
}

/// A future of a task waits for what other tasks bring about.
#[derive(Debug)]
pub(crate) struct Awaiting(Arc<TaskContext>);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.awaiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the task was given, in units of 1/10000.
#[derive(Debug)]
pub(crate) enum Resources {
    Own(BTreeMap<String, i64>),
    /// Those of its shape, which is in this process already.
    OfShape(Shape),
    /// Those that the attribute of the function with this key names.
    OfFunction(u64),
}

impl Default for Resources {
    fn default() -> Self {
        Self::Own(BTreeMap::new())
    }
}

/// What a task that blocks gives up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Hosting {
    /// The CPU of its process, which runs nothing else.
    #[default]
    Process,
    /// Its permit in a process that hosts many.
    Shared(Permit),
}

/// Whether a task was cancelled.
#[derive(Debug, Default)]
pub(crate) struct CancelFlag {
    set: AtomicBool,
    changed: Notify,
}

impl CancelFlag {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Returns when the task was cancelled.
    pub(crate) async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_set() {
                return;
            }
            changed.await;
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<TaskContext>>> = const { RefCell::new(None) };
}

/// The task that runs on this thread.
pub(crate) fn current() -> Option<Arc<TaskContext>> {
    // A thread that is ending has no task any more.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

pub(crate) fn current_task() -> Option<TaskId> {
    CURRENT
        .try_with(|current| current.borrow().as_ref().map(|context| context.task))
        .ok()
        .flatten()
}

/// Whether the task of this thread has a deadline, which holds for what it submits too.
pub(crate) fn has_deadline() -> bool {
    let due = |context: &Arc<TaskContext>| context.due.is_some();
    CURRENT
        .try_with(|current| current.borrow().as_ref().is_some_and(due))
        .unwrap_or(false)
}

/// The placement group in which the task of this thread starts its own.
pub(crate) fn capturing_group() -> Option<PlacementGroupId> {
    let group = |context: &Arc<TaskContext>| context.group.filter(|_| context.captures);
    CURRENT
        .try_with(|current| current.borrow().as_ref().and_then(group))
        .ok()
        .flatten()
}

/// What the task of this thread gives up while it blocks; `None` outside of tasks.
pub(crate) fn hosting() -> Option<Hosting> {
    CURRENT
        .try_with(|current| current.borrow().as_ref().map(|context| context.hosting))
        .ok()
        .flatten()
}

/// Notes that a future of the task that runs on this thread waits, until the guard drops.
pub(crate) fn await_others() -> Option<Awaiting> {
    current().map(|context| context.await_others())
}

/// Sets the context until the guard drops.
pub(crate) fn enter(context: Arc<TaskContext>) -> Entered {
    Entered(CURRENT.replace(Some(context)))
}

/// Puts back what was before.
#[derive(Debug)]
pub(crate) struct Entered(Option<Arc<TaskContext>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        // The context of this scope may hold the last reference to something that looks for its own context as it drops.
        let ended = CURRENT.try_with(|current| current.replace(before));
        drop(ended);
    }
}

/// A future that carries its context along.
pub(crate) struct WithContext<F> {
    future: Pin<Box<F>>,
    context: Arc<TaskContext>,
}

impl<F> WithContext<F> {
    pub(crate) fn new(context: Arc<TaskContext>, future: F) -> Self {
        Self {
            future: Box::pin(future),
            context,
        }
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = enter(self.context.clone());
        self.future.as_mut().poll(cx)
    }
}
