//! A line of local tasks that need the same resources, and the hands of the threads that serve it.
//!
//! A task that is not settled and not claimed out of turn is always in the queue or in a hand, so that
//! [`LocalLine::all`] finds every one. Locks are taken in the order queue, hands, one hand; nothing else is locked, and no
//! task dropped, under them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::LocalTask;
use crate::error::RayError;
use crate::worker::Worker;
use crate::worker::shape::Shape;
use crate::worker::state::Common;

/// How many short tasks a thread takes at a time: the line's lock is taken once for all of them.
const HANDFUL: usize = 16;
/// Room for so many tasks is kept when none waits.
const KEPT: usize = 4096;

/// Tasks that wait for a thread, in order. It neither owns nor looks for threads: that is the state's part.
#[derive(Debug)]
pub(crate) struct LocalLine {
    /// What its tasks need. `None`: it is that of actors' calls.
    pub(crate) shape: Option<Shape>,
    common: Arc<Common>,
    queue: Mutex<Queue>,
    /// How many stand in the queue, to be looked at without its lock.
    waiting: AtomicUsize,
    /// Threads that serve it and will look again.
    serving: AtomicUsize,
    /// Tasks are so short that a thread which serves them does all of them sooner than a further one wakes up.
    short: AtomicBool,
    hands: Mutex<Vec<Arc<Hand>>>,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Arc<LocalTask>>,
    /// Of these, about how many were claimed out of turn.
    stale: usize,
    /// Nothing more is taken.
    closed: bool,
}

/// The tasks that one thread has taken. Others may take from it those that it has not begun.
#[derive(Debug, Default)]
pub(crate) struct Hand(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    running: Option<Arc<LocalTask>>,
    next: VecDeque<Arc<LocalTask>>,
}

impl LocalLine {
    pub(super) fn new(shape: Option<Shape>, common: Arc<Common>) -> Self {
        Self {
            shape,
            common,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            hands: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hands(&self) -> MutexGuard<'_, Vec<Arc<Hand>>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, queue: &Queue) {
        self.waiting.store(queue.tasks.len(), Ordering::Release);
    }

    /// Adds a task; gives it back if the line is closed.
    pub(crate) fn push(&self, task: Arc<LocalTask>) -> Result<(), Arc<LocalTask>> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(task);
        }
        queue.tasks.push_back(task);
        self.publish(&queue);
        Ok(())
    }

    /// Whether a task that was just added will be seen by a thread that looks by itself (LT-4). Else the state must know.
    /// Who serves the line does not count: what it runs now may be long, and wait for this very task.
    pub(crate) fn is_served(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_short() && self.common.watched.load(Ordering::Relaxed)
    }

    /// How many tasks stand in line. Those in hands are not counted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether there is something to take, from the line or from a hand.
    pub(crate) fn has_work(&self) -> bool {
        self.waiting() > 0
            || (self.serving.load(Ordering::Relaxed) > 0 && self.hands().iter().any(|hand| hand.has_next()))
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// What the state has found out of its tasks' run time.
    pub(crate) fn set_short(&self, short: bool) {
        if self.is_short() != short {
            self.short.store(short, Ordering::Relaxed);
        }
    }

    /// A task was claimed by who waits for it, and need not stand in line any more.
    pub(crate) fn claimed_out_of_turn(&self, task: &Arc<LocalTask>) {
        let mut queue = self.queue();
        let same = |other: Option<&Arc<LocalTask>>| other.is_some_and(|other| Arc::ptr_eq(other, task));
        let gone: SmallVec<[Arc<LocalTask>; 1]> = if same(queue.tasks.back()) {
            queue.tasks.pop_back().into_iter().collect()
        } else if same(queue.tasks.front()) {
            queue.tasks.pop_front().into_iter().collect()
        } else {
            queue.stale += 1;
            queue.tidy()
        };
        self.publish(&queue);
        drop(queue);
        drop(gone);
    }

    /// Takes part in serving the line. The hand is empty and goes back by [`lay_down`](Self::lay_down).
    pub(crate) fn take_hand(&self) -> Arc<Hand> {
        let hand = Arc::new(Hand::default());
        self.hands().push(hand.clone());
        self.serving.fetch_add(1, Ordering::SeqCst);
        hand
    }

    /// Ceases to serve the line: what is left in the hand stands in line again, first.
    pub(crate) fn lay_down(&self, hand: &Arc<Hand>) {
        let mut queue = self.queue();
        self.hands().retain(|other| !Arc::ptr_eq(other, hand));
        let Held { running, mut next } = std::mem::take(&mut *hand.held());
        while let Some(task) = next.pop_back() {
            queue.tasks.push_front(task);
        }
        self.publish(&queue);
        drop(queue);
        drop(running);
        self.serving.fetch_sub(1, Ordering::SeqCst);
        // LT-4: who comes here looks for work once more after this.
        fence(Ordering::SeqCst);
    }

    /// The next task for the hand; the one before has ended.
    pub(crate) fn next(&self, hand: &Hand) -> Option<Arc<LocalTask>> {
        hand.begin_next()
            .or_else(|| self.take_from_queue(hand))
            .or_else(|| self.take_from_others(hand))
    }

    fn take_from_queue(&self, hand: &Hand) -> Option<Arc<LocalTask>> {
        let mut queue = self.queue();
        // Of several threads each gets its part.
        let part = queue.tasks.len() / self.serving.load(Ordering::Relaxed).max(1);
        let number = if self.is_short() { part.clamp(1, HANDFUL) } else { 1 };
        let number = number.min(queue.tasks.len());
        let first = hand.begin(queue.tasks.drain(..number));
        queue.stale = queue.stale.min(queue.tasks.len());
        if queue.tasks.is_empty() && queue.tasks.capacity() > KEPT {
            queue.tasks = VecDeque::new();
        }
        self.publish(&queue);
        first
    }

    /// Half of what some other hand has not begun.
    fn take_from_others(&self, mine: &Hand) -> Option<Arc<LocalTask>> {
        let hands = self.hands();
        let others = hands.iter().filter(|hand| !std::ptr::eq(Arc::as_ptr(hand), mine));
        let taken = others.map(|hand| hand.give_half()).find(|taken| !taken.is_empty())?;
        mine.begin(taken)
    }

    /// All tasks that stand in line or are in hands, those that run included.
    pub(crate) fn all(&self) -> Vec<Arc<LocalTask>> {
        let queue = self.queue();
        let mut all: Vec<_> = queue.tasks.iter().cloned().collect();
        for hand in self.hands().iter() {
            let held = hand.held();
            all.extend(held.running.iter().chain(&held.next).cloned());
        }
        all
    }

    /// Its tasks cannot run: takes out those that stand in line, for whom else a lease would be asked for again, and tells
    /// those in hands too. They are to be [refused](Self::refuse).
    pub(crate) fn give_up(&self) -> Vec<Arc<LocalTask>> {
        let mut queue = self.queue();
        let mut tasks: Vec<_> = queue.tasks.drain(..).collect();
        queue.stale = 0;
        for hand in self.hands().iter() {
            tasks.extend(hand.held().next.iter().cloned());
        }
        self.publish(&queue);
        tasks
    }

    /// Fails those of the tasks that wait.
    pub(crate) fn refuse(tasks: &[Arc<LocalTask>], worker: &Arc<Worker>, error: &RayError) {
        for task in tasks.iter().filter(|task| task.is_waiting()) {
            task.fail(worker, error.named_for(&task.template.name));
        }
    }

    /// Closes the line if nothing stands in it or serves it.
    pub(crate) fn close_if_unused(&self) -> bool {
        let mut queue = self.queue();
        let unused = queue.tasks.is_empty() && self.serving.load(Ordering::SeqCst) == 0;
        queue.closed |= unused;
        unused
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().closed
    }
}

impl Queue {
    /// Takes out what is stale, where that is most of the queue.
    fn tidy(&mut self) -> SmallVec<[Arc<LocalTask>; 1]> {
        if self.tasks.len() <= 2 * (self.tasks.len() - self.stale.min(self.tasks.len())) + 32 {
            return SmallVec::new();
        }
        self.stale = 0;
        let tasks = std::mem::take(&mut self.tasks);
        let (waiting, stale) = tasks.into_iter().partition(|task| task.is_waiting());
        self.tasks = waiting;
        Vec::from(stale).into()
    }
}

impl Hand {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_next(&self) -> bool {
        !self.held().next.is_empty()
    }

    fn begin_next(&self) -> Option<Arc<LocalTask>> {
        let mut held = self.held();
        let next = held.next.pop_front();
        let before = std::mem::replace(&mut held.running, next.clone());
        drop(held);
        // It may be the last to hold a value of the user's.
        drop(before);
        next
    }

    fn begin(&self, taken: impl IntoIterator<Item = Arc<LocalTask>>) -> Option<Arc<LocalTask>> {
        let mut taken = taken.into_iter();
        let first = taken.next()?;
        let mut held = self.held();
        held.running = Some(first.clone());
        held.next.extend(taken);
        Some(first)
    }

    /// Calls whose turn came when this hand ended another one's.
    pub(crate) fn add(&self, tasks: impl IntoIterator<Item = Arc<LocalTask>>) {
        self.held().next.extend(tasks);
    }

    /// Takes out a task that is about to be claimed, if it is the next.
    pub(crate) fn begin_if_next(&self, task: &Arc<LocalTask>) -> bool {
        let mut held = self.held();
        let is_next = held.next.front().is_some_and(|next| Arc::ptr_eq(next, task));
        if is_next {
            held.next.pop_front();
        }
        let before = held.running.replace(task.clone());
        drop(held);
        drop(before);
        is_next
    }

    fn give_half(&self) -> VecDeque<Arc<LocalTask>> {
        let mut held = self.held();
        let kept = held.next.len() / 2;
        held.next.split_off(kept)
    }
}
