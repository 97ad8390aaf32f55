//! [`ActorPool`]: work for a fixed set of actors, each given the next piece as soon as it is free.
//!
//! The pool is plain data in the process that made it. Nothing runs in the background: what ended is noticed, and what is
//! queued is sent, when a method of the pool is called.

mod map;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::api::object_ref::ObjectRef;
use crate::api::{get, is_ready, wait, wait_async};
use crate::error::{RayError, Result};
use crate::ids::ActorId;
use crate::remote::ActorHandle;

pub use map::PoolMap;

/// Sends one call to an actor.
type QueuedCall<H, T> = Box<dyn FnOnce(&H) -> ObjectRef<T> + Send>;

/// Actors that share the work: each takes the next piece when it is free.
///
/// A piece of work is a closure that calls a method of the actor it is given. Results come in the order of submission
/// ([`get_next`](Self::get_next), [`map`](Self::map)) or as they end ([`get_next_unordered`](Self::get_next_unordered),
/// [`map_unordered`](Self::map_unordered)). Each of these has a form to await.
///
/// A call that fails gives its error, and the pool goes on. An actor that is dead leaves the pool: what is still queued
/// goes to the others. An actor that restarts stays.
///
/// ```
/// # use ray_core::prelude::*;
/// use ray_core::util::ActorPool;
///
/// struct Squarer;
///
/// #[remote(num_cpus = 0)]
/// impl Squarer {
///     fn new() -> Self { Self }
///     fn square(&self, number: u64) -> u64 { number * number }
/// }
///
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let mut pool = ActorPool::new([Squarer::remote(), Squarer::remote()])?;
/// let squares: Vec<u64> = pool.map(|actor, number| actor.square(number), 0..5).collect::<Result<_, _>>()?;
/// assert_eq!(squares, [0, 1, 4, 9, 16]);
///
/// pool.submit(|actor| actor.square(7));
/// assert_eq!(pool.get_next(None).transpose()?, Some(49));
/// # Ok(()) }
/// ```
pub struct ActorPool<H, T> {
    idle: Vec<H>,
    running: Vec<Running<H, T>>,
    /// What waits for an actor, by the number of its submission.
    queued: VecDeque<(u64, QueuedCall<H, T>)>,
    /// What has ended and was not taken yet.
    ended: BTreeMap<u64, Result<T>>,
    next: u64,
}

struct Running<H, T> {
    number: u64,
    actor: H,
    result: ObjectRef<T>,
    /// Whether somebody still wants the result.
    wanted: bool,
}

/// Which result is taken next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// That of the oldest submission.
    Submitted,
    /// Whichever is there.
    Ended,
}

impl<H: ActorHandle, T> fmt::Debug for ActorPool<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorPool")
            .field("idle", &self.idle.len())
            .field("running", &self.running.len())
            .field("queued", &self.queued.len())
            .field("ended", &self.ended.len())
            .finish()
    }
}

impl<H: ActorHandle, T: DeserializeOwned + 'static> ActorPool<H, T> {
    /// A pool of these actors. There may be none yet: [`push`](Self::push) adds some later.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn new(actors: impl IntoIterator<Item = H>) -> Result<Self> {
        let mut pool = Self {
            idle: Vec::new(),
            running: Vec::new(),
            queued: VecDeque::new(),
            ended: BTreeMap::new(),
            next: 0,
        };
        actors.into_iter().try_for_each(|actor| pool.push(actor))?;
        Ok(pool)
    }

    /// Sends a call to a free actor, or notes it down for the first that becomes free. What goes wrong is the result's error.
    pub fn submit(&mut self, call: impl FnOnce(&H) -> ObjectRef<T> + Send + 'static) {
        let number = self.number();
        self.queued.push_back((number, Box::new(call)));
        self.notice();
    }

    /// The result of the oldest submission that has not been taken, waiting for it for this long at most; `None` when there
    /// is none to come.
    ///
    /// # Errors
    /// The error of the call. [`RayError::GetTimeout`] when the time is over: the result can be asked for again.
    /// [`RayError::Unsupported`] when work is queued and no actor is left: it runs once one is pushed.
    pub fn get_next(&mut self, timeout: Option<Duration>) -> Option<Result<T>> {
        self.take_blocking(Order::Submitted, timeout)
    }

    /// As [`get_next`](Self::get_next), of whichever submission ends first.
    ///
    /// # Errors
    /// As [`get_next`](Self::get_next).
    pub fn get_next_unordered(&mut self, timeout: Option<Duration>) -> Option<Result<T>> {
        self.take_blocking(Order::Ended, timeout)
    }

    /// As [`get_next`](Self::get_next), without blocking.
    ///
    /// # Errors
    /// As [`get_next`](Self::get_next).
    pub async fn get_next_async(&mut self, timeout: Option<Duration>) -> Option<Result<T>> {
        self.take_async(Order::Submitted, timeout).await
    }

    /// As [`get_next_unordered`](Self::get_next_unordered), without blocking.
    ///
    /// # Errors
    /// As [`get_next`](Self::get_next).
    pub async fn get_next_unordered_async(&mut self, timeout: Option<Duration>) -> Option<Result<T>> {
        self.take_async(Order::Ended, timeout).await
    }

    /// Gives each value to an actor and yields the results in the order of the values.
    ///
    /// Values are taken from the iterator as actors become free, so that it may be endless. Results of earlier
    /// submissions stay in the pool. When the iterator is dropped early, what runs goes on and its results are dropped.
    pub fn map<V, I, F>(&mut self, call: F, values: I) -> PoolMap<'_, H, T, I::IntoIter, F>
    where
        I: IntoIterator<Item = V>,
        F: FnMut(&H, V) -> ObjectRef<T>,
    {
        PoolMap::new(self, call, values.into_iter(), Order::Submitted)
    }

    /// As [`map`](Self::map), each result as soon as it is there.
    pub fn map_unordered<V, I, F>(&mut self, call: F, values: I) -> PoolMap<'_, H, T, I::IntoIter, F>
    where
        I: IntoIterator<Item = V>,
        F: FnMut(&H, V) -> ObjectRef<T>,
    {
        PoolMap::new(self, call, values.into_iter(), Order::Ended)
    }

    /// Whether there are results to come, or to take.
    pub fn has_next(&self) -> bool {
        !self.ended.is_empty() || !self.queued.is_empty() || self.running.iter().any(|call| call.wanted)
    }

    /// Whether an actor is free: then a submission starts at once.
    pub fn has_free(&mut self) -> bool {
        self.notice();
        !self.idle.is_empty()
    }

    /// Adds an actor, which takes queued work at once.
    ///
    /// # Errors
    /// [`RayError::Unsupported`] if it is in the pool; the error of its creation if that failed at the caller.
    pub fn push(&mut self, actor: H) -> Result<()> {
        actor.raw().handle.target()?;
        let id = actor.raw().id();
        if self.actors().any(|other| other == id) {
            return Err(RayError::Unsupported {
                call: "ActorPool::push()".into(),
                why: format!("actor {id} is in the pool already: push each actor once"),
            });
        }
        self.idle.push(actor);
        self.send_queued();
        Ok(())
    }

    /// Takes a free actor out of the pool; `None` if all are at work.
    pub fn pop_idle(&mut self) -> Option<H> {
        self.notice();
        self.idle.pop()
    }

    fn actors(&self) -> impl Iterator<Item = ActorId> {
        let running = self.running.iter().map(|call| &call.actor);
        self.idle.iter().chain(running).map(|actor| actor.raw().id())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn send_queued(&mut self) {
        while let Some(actor) = self.idle.pop() {
            let Some((number, call)) = self.queued.pop_front() else {
                self.idle.push(actor);
                return;
            };
            self.send(number, actor, call);
        }
    }

    fn send(&mut self, number: u64, actor: H, call: impl FnOnce(&H) -> ObjectRef<T>) {
        let result = call(&actor);
        self.running.push(Running {
            number,
            actor,
            result,
            wanted: true,
        });
    }

    /// The results that are waited for.
    fn open(&self) -> Vec<ObjectRef<T>> {
        self.running.iter().map(|call| call.result.clone()).collect()
    }

    /// Takes note of all calls that have ended, and lets their actors go on.
    fn notice(&mut self) {
        let (ended, running) = std::mem::take(&mut self.running)
            .into_iter()
            .partition::<Vec<_>, _>(|call| is_ready(&call.result));
        self.running = running;
        for Running {
            number,
            actor,
            result,
            wanted,
        } in ended
        {
            // It is ready: nothing blocks here.
            let result = get(result);
            let id = actor.raw().id();
            if !matches!(&result, Err(RayError::ActorDied { actor, .. }) if *actor == id) {
                self.idle.push(actor);
            }
            if wanted {
                self.ended.insert(number, result);
            }
        }
        self.send_queued();
    }

    /// The number of the submission whose result is next, among all or among some.
    fn due(&self, order: Order, among: Option<&BTreeSet<u64>>) -> Option<u64> {
        let of_interest = |number: &u64| among.is_none_or(|among| among.contains(number));
        let ended = self.ended.keys().copied().find(of_interest);
        match order {
            Order::Ended => ended,
            Order::Submitted => {
                let running = self.running.iter().filter(|call| call.wanted).map(|call| call.number);
                let open = running.chain(self.queued.iter().map(|(number, _)| *number));
                let oldest_open = open.filter(of_interest).min();
                ended.filter(|ended| oldest_open.is_none_or(|open| *ended < open))
            }
        }
    }

    /// The next result if it is there, or what it is that keeps it from coming.
    fn look(&mut self, order: Order, among: Option<&BTreeSet<u64>>) -> Look<T> {
        self.send_queued();
        if let Some(result) = self.due(order, among).and_then(|number| self.ended.remove(&number)) {
            return Look::There(result);
        }
        if self.running.iter().any(|call| call.wanted) || (!self.running.is_empty() && !self.queued.is_empty()) {
            Look::Running
        } else if self.queued.is_empty() {
            Look::Nothing
        } else {
            Look::There(Err(RayError::Unsupported {
                call: "ActorPool::get_next()".into(),
                why: format!(
                    "{} calls wait and no living actor is left in the pool: push() one",
                    self.queued.len()
                ),
            }))
        }
    }

    fn take_blocking(&mut self, order: Order, timeout: Option<Duration>) -> Option<Result<T>> {
        let limit = Limit::new(timeout);
        loop {
            match self.look(order, None) {
                Look::There(result) => return Some(result),
                Look::Nothing => return None,
                Look::Running => {}
            }
            match wait(self.open(), 1, limit.left()) {
                Ok((ready, rest)) if ready.is_empty() => return Some(Err(limit.over(rest.len()))),
                Ok(_) => self.notice(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn take_async(&mut self, order: Order, timeout: Option<Duration>) -> Option<Result<T>> {
        let limit = Limit::new(timeout);
        loop {
            match self.look(order, None) {
                Look::There(result) => return Some(result),
                Look::Nothing => return None,
                Look::Running => {}
            }
            match wait_async(self.open(), 1, limit.left()).await {
                Ok((ready, rest)) if ready.is_empty() => return Some(Err(limit.over(rest.len()))),
                Ok(_) => self.notice(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

enum Look<T> {
    There(Result<T>),
    /// Something runs that may bring it.
    Running,
    /// Nothing is to come.
    Nothing,
}

/// A time limit over several waits.
struct Limit {
    given: Option<Duration>,
    ends: Option<Instant>,
}

impl Limit {
    fn new(given: Option<Duration>) -> Self {
        let ends = given.and_then(|limit| Instant::now().checked_add(limit));
        Self { given, ends }
    }

    fn left(&self) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_duration_since(Instant::now()))
    }

    fn over(&self, pending: usize) -> RayError {
        RayError::GetTimeout {
            pending: pending as u64,
            of: pending as u64,
            waited: self.given.unwrap_or_default(),
        }
    }
}
