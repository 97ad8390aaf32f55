//! Streams of references: what a function gives that returns an iterator or a stream.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::api::blocking;
use crate::api::object_ref::{ObjectRef, RawRef};
use crate::error::{RayError, Result};
use crate::ids::TaskId;
use crate::worker::Worker;
use crate::worker::context::{self, Awaiting};
use crate::worker::state::streams::NextItem;
use crate::worker::waiter::Waiter;

/// A stream without its type. Dropping it cancels the task that produces it.
#[derive(Debug)]
pub struct RawStream(Kind);

#[derive(Debug)]
enum Kind {
    Open { task: TaskId, session: Weak<Worker> },
    Failed(Option<Box<RayError>>),
}

impl RawStream {
    pub(crate) fn open(worker: &Arc<Worker>, task: TaskId) -> Self {
        Self(Kind::Open {
            task,
            session: Arc::downgrade(worker),
        })
    }

    pub(crate) fn failed(error: RayError) -> Self {
        Self(Kind::Failed(Some(Box::new(error))))
    }

    /// The next item if it is there, or what to wait for.
    fn try_next(&mut self) -> Result<Option<RawRef>, Option<Arc<Waiter>>> {
        match &mut self.0 {
            Kind::Failed(error) => match error.take() {
                Some(error) => Ok(Some(RawRef::failed(*error))),
                None => Ok(None),
            },
            Kind::Open { task, session } => {
                let Some(worker) = session.upgrade() else {
                    self.0 = Kind::Failed(None);
                    return Ok(Some(RawRef::failed(RayError::SessionEnded {})));
                };
                let task = *task;
                match worker.with(|state, _, out| state.next_item(task, out)) {
                    NextItem::Item(object) => Ok(Some(RawRef::counted(&worker, object, worker.identity.worker))),
                    NextItem::End => Ok(None),
                    NextItem::Failed(error) => {
                        // The error is the last item.
                        self.close();
                        self.0 = Kind::Failed(None);
                        Ok(Some(RawRef::failed(error)))
                    }
                    NextItem::Wait(waiter) => Err(Some(waiter)),
                }
            }
        }
    }

    fn close(&self) {
        if let Kind::Open { task, session } = &self.0
            && let Some(worker) = session.upgrade()
        {
            worker.with(|state, now, out| state.close_stream(*task, now, out));
        }
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        self.close();
    }
}

/// The references that a function gives that returns an iterator or a stream, one after another, while it runs.
///
/// Iterate over it (which blocks), or use it as a [`Stream`]. An error of the function is the last item. The producer
/// pauses when the consumer is a bounded number of items behind, and is cancelled when the stream drops.
///
/// ```
/// # #[ray_core::remote]
/// # fn count(to: u64) -> impl Iterator<Item = u64> { 0..to }
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let mut sum = 0;
/// for item in count::remote(5) {
///     sum += ray_core::get(&item)?;
/// }
/// assert_eq!(sum, 10);
/// # Ok(()) }
/// ```
pub struct ObjectRefStream<T> {
    raw: RawStream,
    waiter: Option<Arc<Waiter>>,
    awaiting: Option<Awaiting>,
    items: PhantomData<fn() -> T>,
}

impl<T> ObjectRefStream<T> {
    /// Gives a stream its type.
    pub fn from_raw(raw: RawStream) -> Self {
        Self {
            raw,
            waiter: None,
            awaiting: None,
            items: PhantomData,
        }
    }
}

impl<T> Iterator for ObjectRefStream<T> {
    type Item = ObjectRef<T>;

    fn next(&mut self) -> Option<ObjectRef<T>> {
        loop {
            match self.raw.try_next() {
                Ok(item) => return item.map(ObjectRef::from_raw),
                Err(waiter) => {
                    let waiter = waiter?;
                    let worker = match &self.raw.0 {
                        Kind::Open { session, .. } => session.upgrade(),
                        Kind::Failed(_) => None,
                    };
                    let waited = blocking::allow("iterating over a stream", "it as an async Stream", || {
                        let _released = worker.as_ref().and_then(Worker::release_cpu);
                        waiter.block(None)
                    });
                    if let Err(error) = waited {
                        return Some(ObjectRef::from_raw(RawRef::failed(error)));
                    }
                }
            }
        }
    }
}

impl<T> Stream for ObjectRefStream<T> {
    type Item = ObjectRef<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ObjectRef<T>>> {
        loop {
            match self.raw.try_next() {
                Ok(item) => {
                    self.awaiting = None;
                    return Poll::Ready(item.map(ObjectRef::from_raw));
                }
                Err(None) => return Poll::Ready(None),
                Err(Some(waiter)) => {
                    let done = waiter.register(cx.waker());
                    self.waiter = Some(waiter);
                    if !done {
                        if self.awaiting.is_none() {
                            self.awaiting = context::await_others();
                        }
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<T> fmt::Debug for ObjectRefStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectRefStream").field(&self.raw).finish()
    }
}
