//! The results of a mapping over a pool.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;

use super::{ActorPool, Order};
use crate::api::object_ref::ObjectRef;
use crate::api::{wait, wait_async};
use crate::error::{RayError, Result};
use crate::remote::ActorHandle;

/// The results of [`ActorPool::map`] and [`ActorPool::map_unordered`]: an iterator that blocks, or
/// [`next_async`](Self::next_async).
///
/// After the error that no living actor is left it ends.
#[must_use = "an iterator does nothing unless it is consumed"]
pub struct PoolMap<'p, H: ActorHandle, T: DeserializeOwned + 'static, I, F> {
    pool: &'p mut ActorPool<H, T>,
    call: F,
    values: I,
    order: Order,
    /// What was sent and not yielded yet.
    open: BTreeSet<u64>,
    /// Whether there is no value left.
    dry: bool,
}

impl<H: ActorHandle, T: DeserializeOwned + 'static, I, F> fmt::Debug for PoolMap<'_, H, T, I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolMap")
            .field("pool", &self.pool)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl<'p, H, T, V, I, F> PoolMap<'p, H, T, I, F>
where
    H: ActorHandle,
    T: DeserializeOwned + 'static,
    I: Iterator<Item = V>,
    F: FnMut(&H, V) -> ObjectRef<T>,
{
    pub(super) fn new(pool: &'p mut ActorPool<H, T>, call: F, values: I, order: Order) -> Self {
        Self {
            pool,
            call,
            values,
            order,
            open: BTreeSet::new(),
            dry: false,
        }
    }

    /// The next result, without blocking; `None` when all are yielded.
    ///
    /// # Errors
    /// The error of the call, and [`RayError::Unsupported`] when no living actor is left.
    pub async fn next_async(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(result) = self.look() {
                return result;
            }
            match wait_async(self.pool.open(), 1, None).await {
                Ok(_) => self.notice(),
                Err(error) => return self.end_with(error),
            }
        }
    }

    /// Takes note of what has ended; the actors go on while a result is looked at.
    fn notice(&mut self) {
        self.pool.notice();
        self.fill();
    }

    fn fill(&mut self) {
        self.pool.send_queued();
        while !self.dry && !self.pool.idle.is_empty() {
            let Some(value) = self.values.next() else {
                self.dry = true;
                return;
            };
            // The iterator may have been at work for long, but nobody else had the pool meanwhile.
            let Some(actor) = self.pool.idle.pop() else { return };
            let number = self.pool.number();
            self.open.insert(number);
            let call = &mut self.call;
            self.pool.send(number, actor, |actor| call(actor, value));
        }
    }

    /// The next result or the end, if either is there.
    fn look(&mut self) -> Option<Option<Result<T>>> {
        self.fill();
        if let Some(number) = self.pool.due(self.order, Some(&self.open)) {
            self.open.remove(&number);
            return Some(self.pool.ended.remove(&number));
        }
        if !self.pool.running.is_empty() {
            return (self.dry && self.open.is_empty()).then_some(None);
        }
        if self.dry {
            return Some(None);
        }
        // Nobody works and nobody is free.
        Some(self.end_with(RayError::Unsupported {
            call: "ActorPool::map()".into(),
            why: "values are left and no living actor is in the pool: push() one".into(),
        }))
    }

    fn end_with(&mut self, error: RayError) -> Option<Result<T>> {
        self.dry = true;
        self.abandon();
        Some(Err(error))
    }
}

impl<H: ActorHandle, T: DeserializeOwned + 'static, I, F> PoolMap<'_, H, T, I, F> {
    /// Nobody will ask for what is still open.
    fn abandon(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.pool.ended.retain(|number, _| !open.contains(number));
        for call in &mut self.pool.running {
            call.wanted &= !open.contains(&call.number);
        }
    }
}

impl<H, T, V, I, F> Iterator for PoolMap<'_, H, T, I, F>
where
    H: ActorHandle,
    T: DeserializeOwned + 'static,
    I: Iterator<Item = V>,
    F: FnMut(&H, V) -> ObjectRef<T>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(result) = self.look() {
                return result;
            }
            match wait(self.pool.open(), 1, None) {
                Ok(_) => self.notice(),
                Err(error) => return self.end_with(error),
            }
        }
    }
}

impl<H: ActorHandle, T: DeserializeOwned + 'static, I, F> Drop for PoolMap<'_, H, T, I, F> {
    fn drop(&mut self) {
        self.abandon();
    }
}
