//! The calls of an actor that lives in this process: those of the state, and local ones, in one order.
//!
//! - MB-1: all calls that have arrived stand in one [`ActorQueue`], whatever way they came, so that its rules hold for all.
//! - MB-2: a local call arrives at once; it is not taken while calls of this process that were made before it have not
//!   arrived, since their arguments are not ready.
//! - MB-3: a local call keeps the actor alive until it has ended, as calls of the state do (AC-4).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::LocalTask;
use crate::ids::TaskId;
use crate::worker::execute::actor_queue::{ActorQueue, Kind, Limits};

/// A call that the state knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// Of this process.
    Own(TaskId),
    /// The executor has it under this number.
    Foreign(u64),
}

/// What keeps an actor alive.
pub(crate) type Keeper = Arc<dyn std::fmt::Debug + Send + Sync>;

#[derive(Debug)]
enum Arrived {
    InState(Called),
    Local(Arc<LocalTask>, Keeper),
}

/// Calls that may start.
#[derive(Debug, Default)]
pub(crate) struct Startable {
    pub(crate) of_state: SmallVec<[(Kind, Called); 1]>,
    /// They are released: whoever comes first may claim them.
    pub(crate) local: SmallVec<[Arc<LocalTask>; 1]>,
}

impl Startable {
    pub(crate) fn is_empty(&self) -> bool {
        self.of_state.is_empty() && self.local.is_empty()
    }
}

/// The calls of one actor.
#[derive(Debug)]
pub(crate) struct Mailbox {
    calls: Mutex<Calls>,
    /// Its calls are counted, which is the state's part.
    is_limited: bool,
    /// Calls of this process have not arrived yet.
    is_behind: AtomicBool,
}

#[derive(Debug)]
struct Calls {
    queue: ActorQueue<Arrived>,
    /// Local calls that were released and have not ended.
    begun: SmallVec<[(Arc<LocalTask>, Keeper); 1]>,
    closed: bool,
}

impl Mailbox {
    /// `max_concurrency`: 0 for what the kinds of methods have by default.
    pub(crate) fn new(
        max_concurrency: u32,
        groups: impl IntoIterator<Item = (String, u32)>,
        max_pending_calls: i64,
    ) -> Self {
        Self {
            calls: Mutex::new(Calls {
                queue: ActorQueue::new(Limits::of_actor(max_concurrency), groups),
                begun: SmallVec::new(),
                closed: false,
            }),
            is_limited: max_pending_calls >= 0,
            is_behind: AtomicBool::new(false),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a concurrency group; the known names if there is none of this name.
    pub(crate) fn group(&self, name: &str) -> Result<usize, Vec<String>> {
        self.calls().queue.group(name)
    }

    /// Notes whether calls of this process wait before they can arrive (MB-2).
    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }

    /// Whether local calls can be taken now.
    pub(crate) fn takes_local(&self) -> bool {
        !self.is_limited && !self.is_behind.load(Ordering::Acquire)
    }

    /// A local call arrives. `None`: the actor has ended.
    pub(crate) fn push_local(&self, kind: Kind, task: Arc<LocalTask>, keeper: Keeper) -> Option<Startable> {
        let mut calls = self.calls();
        if calls.closed {
            return None;
        }
        calls.queue.push(kind, Arrived::Local(task, keeper));
        Some(calls.start())
    }

    /// A call of the state arrives.
    pub(crate) fn push(&self, kind: Kind, called: Called) {
        self.calls().queue.push(kind, Arrived::InState(called));
    }

    /// The calls that may start now.
    pub(crate) fn start(&self) -> Startable {
        self.calls().start()
    }

    /// A call of the state has ended.
    pub(crate) fn ended(&self, kind: Kind) -> Startable {
        let mut calls = self.calls();
        calls.queue.ended(kind);
        calls.start()
    }

    /// A local call has ended, or was withdrawn. What is returned besides may be the actor's end, when it drops.
    pub(crate) fn local_ended(&self, kind: Kind, task: &Arc<LocalTask>) -> (Startable, Option<Keeper>) {
        let mut calls = self.calls();
        let place = calls.begun.iter().position(|(begun, _)| Arc::ptr_eq(begun, task));
        let keeper = match place {
            Some(place) => {
                calls.queue.ended(kind);
                Some(calls.begun.swap_remove(place).1)
            }
            None => calls
                .queue
                .remove(|call| call.is_local(task))
                .and_then(|call| match call {
                    Arrived::Local(_, keeper) => Some(keeper),
                    Arrived::InState(_) => None,
                }),
        };
        (calls.start(), keeper)
    }

    /// Whether a call of the state waits for its turn.
    pub(crate) fn is_waiting(&self, called: Called) -> bool {
        self.calls().queue.has(|call| call.is(called))
    }

    /// Takes a call of the state out that waits for its turn. Returns whether it did.
    pub(crate) fn remove(&self, called: Called) -> bool {
        self.calls().queue.remove(|call| call.is(called)).is_some()
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.calls().queue.is_quiet()
    }

    /// Local calls that have not ended.
    pub(crate) fn local(&self) -> Vec<Arc<LocalTask>> {
        let calls = self.calls();
        let waiting = calls.queue.iter().filter_map(|call| match call {
            Arrived::Local(task, _) => Some(task.clone()),
            Arrived::InState(_) => None,
        });
        let begun = calls.begun.iter().map(|(task, _)| task.clone());
        waiting.chain(begun).collect()
    }

    /// The actor has ended: no local call is taken any more. Returns the calls of the state that waited.
    pub(crate) fn close(&self) -> Vec<Called> {
        let mut calls = self.calls();
        calls.closed = true;
        let (of_state, local): (Vec<_>, Vec<_>) = calls
            .queue
            .take_all()
            .into_iter()
            .partition(|call| matches!(call, Arrived::InState(_)));
        // Those that waited are found among the begun ones until they have failed.
        for call in local {
            if let Arrived::Local(task, keeper) = call {
                calls.begun.push((task, keeper));
            }
        }
        let called = of_state.into_iter().filter_map(|call| match call {
            Arrived::InState(called) => Some(called),
            Arrived::Local(..) => None,
        });
        called.collect()
    }
}

impl Calls {
    fn start(&mut self) -> Startable {
        let mut startable = Startable::default();
        while let Some((kind, call)) = self.queue.start_next() {
            match call {
                Arrived::InState(called) => startable.of_state.push((kind, called)),
                Arrived::Local(task, keeper) => {
                    task.release();
                    startable.local.push(task.clone());
                    self.begun.push((task, keeper));
                }
            }
        }
        startable
    }
}

impl Arrived {
    fn is(&self, called: Called) -> bool {
        matches!(self, Self::InState(other) if *other == called)
    }

    fn is_local(&self, task: &Arc<LocalTask>) -> bool {
        matches!(self, Self::Local(other, _) if Arc::ptr_eq(other, task))
    }
}
