//! Tasks that yield a stream: each item becomes an object of the caller, which tells how far it has come. Where the caller
//! is this process itself, the items stay as they are.
//!
//! - ST-1: an item is sent once. A further attempt makes the items again that the caller has, and sends those after them;
//!   and once more those of the former that the store has lost since.
//! - ST-2: the producer is at most so many items ahead of the consumer, and knows how far it is from the task's arrival on.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::outcome::{failed, panicked, returned};
use super::{Job, panic};
use crate::error::RayError;
use crate::ids::TaskId;
use crate::remote::{self, ItemIterator, ItemStream, Outcome, TaskError};
use crate::wire::{Frame, MOST_INLINE, ObjectValue, StreamSpec, TaskOutcome};
use crate::worker::Worker;
use crate::worker::context::{self, TaskContext, WithContext};
use crate::worker::native::NativeValue;
use crate::worker::refs::Hold;
use crate::worker::state::{Dest, STREAM_STOPS};

/// How far the consumers of this process's streams have come.
#[derive(Debug, Default)]
pub(super) struct Producers(Mutex<HashMap<TaskId, watch::Sender<u64>>>);

impl Producers {
    pub(super) fn consumed(&self, task: TaskId, consumed: u64) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&task) {
            sender.send_if_modified(|seen| {
                let further = consumed > *seen;
                *seen = consumed.max(*seen);
                further
            });
        }
    }

    /// A stream's task has arrived: from now on its consumer may tell how far it is (ST-2).
    pub(super) fn open(&self, task: TaskId, consumed: u64) {
        let (sender, _) = watch::channel(consumed);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(task, sender);
    }

    /// As [`open`](Self::open), for a stream that this process consumes too.
    pub(super) fn open_here(&self, worker: &Worker, task: TaskId) {
        self.open(task, 0);
        // What is taken from now on is told; what was taken before is known by now.
        let taken = worker.read(|state| state.items_taken(task));
        self.consumed(task, taken);
    }

    fn subscribe(&self, task: TaskId, consumed: u64) -> watch::Receiver<u64> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = open.get(&task).map(watch::Sender::subscribe);
        opened.unwrap_or_else(|| watch::channel(consumed).1)
    }

    /// The stream's task has ended.
    pub(super) fn close(&self, task: TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}

/// One stream that is being produced.
struct Producer<'a> {
    worker: &'a Arc<Worker>,
    job: &'a Job,
    name: &'a str,
    context: &'a Arc<TaskContext>,
    consumed: watch::Receiver<u64>,
    /// What the owner said at the beginning of this attempt.
    stream: StreamSpec,
    made: u64,
}

impl<'a> Producer<'a> {
    fn new(worker: &'a Arc<Worker>, job: &'a Job, name: &'a str, context: &'a Arc<TaskContext>) -> Self {
        let stream = job.spec.stream.as_deref().cloned().unwrap_or_default();
        let consumed = worker.executor.streams.subscribe(job.spec.task, stream.consumed);
        Self {
            worker,
            job,
            name,
            context,
            consumed,
            stream,
            made: 0,
        }
    }

    /// Whether there is room for the next item now.
    fn has_room(&self) -> bool {
        let (made, ahead) = (self.made, u64::from(self.stream.ahead));
        ahead == 0 || made < self.consumed.borrow().saturating_add(ahead)
    }

    /// Waits until the consumer has room. `false`: the stream was cancelled or dropped, or a further attempt is to come.
    async fn room(&mut self) -> bool {
        if !self.has_room() {
            let (made, ahead) = (self.made, u64::from(self.stream.ahead));
            let _awaiting = self.context.await_others();
            let room = tokio::select! {
                biased;
                () = self.context.cancel.wait() => false,
                room = self.consumed.wait_for(|consumed| made < consumed.saturating_add(ahead)) => room.is_ok(),
            };
            if !room {
                return false;
            }
        }
        !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.context.cancel.is_set() || *self.consumed.borrow() == STREAM_STOPS
    }

    /// Whether all that is wanted has been sent, although there may be more.
    fn has_all(&self) -> bool {
        let last = self.stream.missing.last();
        self.stream.only_missing && last.is_none_or(|last| self.made > *last)
    }

    fn is_wanted(&self, index: u64) -> bool {
        let new = !self.stream.only_missing && index >= self.stream.received;
        new || self.stream.missing.binary_search(&index).is_ok()
    }

    /// Sends one item, unless the owner has it (ST-1). An item that is an error ends the stream.
    fn send(&mut self, item: Outcome) -> Result<(), TaskOutcome> {
        let values = match item {
            Outcome::Returned(values) => values,
            Outcome::Failed(error) => return Err(failed(self.worker, &self.job.spec, self.name, &error)),
        };
        let fail = |error| TaskOutcome::Failed { error, retry: false };
        for value in values {
            if !self.is_wanted(self.made) {
                self.made += 1;
                continue;
            }
            let index = u32::try_from(self.made + 1).map_err(|_| fail(RayError::internal("over 2^32 items")))?;
            if self.job.from == self.worker.identity.worker {
                self.keep(value);
                continue;
            }
            let value = returned(self.worker, &self.job.spec, self.name, index, &value, MOST_INLINE)?;
            self.send_value(value);
        }
        Ok(())
    }

    fn send_value(&mut self, value: ObjectValue) {
        let (task, attempt, index) = (self.job.spec.task, self.job.spec.attempt, self.made);
        self.made += 1;
        let inner = value.references();
        let frame = Frame::StreamItem {
            task,
            attempt,
            index,
            value,
        };
        self.worker.with(|state, _, out| {
            out.send(Dest::Worker(self.job.from), frame);
            inner
                .iter()
                .for_each(|(object, _)| state.unhold(*object, Hold::Task, out));
        });
    }

    /// The consumer is in this process: the item is its own as it is.
    fn keep(&mut self, value: remote::NativeValue) {
        let (task, attempt, index) = (self.job.spec.task, self.job.spec.attempt, self.made);
        self.made += 1;
        let value = NativeValue::new(value);
        self.worker
            .with(|state, _, out| state.native_item(task, attempt, index, value, out));
    }

    fn cancelled(&self) -> TaskOutcome {
        let error = RayError::Cancelled {
            task: self.job.spec.task,
            name: self.name.to_owned(),
        };
        TaskOutcome::Failed { error, retry: false }
    }

    fn refused(&self, error: &TaskError) -> TaskOutcome {
        failed(self.worker, &self.job.spec, self.name, error)
    }

    fn panicked(&self) -> TaskOutcome {
        panicked(self.worker, &self.job.spec, self.name, panic::take_last())
    }
}

/// Drives an iterator on this thread.
pub(super) fn produce_iter<'a>(
    worker: &Arc<Worker>,
    job: &Job,
    name: &str,
    context: &Arc<TaskContext>,
    body: impl FnOnce() -> Result<ItemIterator<'a>, TaskError>,
) -> TaskOutcome {
    let mut producer = Producer::new(worker, job, name, context);
    let entered = context::enter(context.clone());
    let mut items = match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(items)) => items,
        Ok(Err(error)) => return producer.refused(&error),
        Err(_payload) => return producer.panicked(),
    };
    while !producer.has_all() {
        // Who consumes may need the CPU to come to the next item.
        let room = if producer.has_room() {
            !producer.is_stopped()
        } else {
            let _lent = worker.release_cpu();
            worker.executor.runtime().block_on(producer.room())
        };
        if !room {
            return producer.cancelled();
        }
        match std::panic::catch_unwind(AssertUnwindSafe(|| items.next())) {
            Ok(None) => break,
            Ok(Some(item)) => {
                if let Err(ended) = producer.send(item) {
                    return ended;
                }
            }
            Err(_payload) => return producer.panicked(),
        }
    }
    drop(entered);
    TaskOutcome::StreamEnded { items: producer.made }
}

/// Drives a stream.
pub(super) async fn produce_stream<'a>(
    worker: &Arc<Worker>,
    job: &Job,
    name: &str,
    context: &Arc<TaskContext>,
    body: impl Future<Output = Result<ItemStream<'a>, TaskError>>,
) -> TaskOutcome {
    let mut producer = Producer::new(worker, job, name, context);
    let mut items = match caught(context, body).await {
        None => return producer.panicked(),
        Some(Ok(items)) => items,
        Some(Err(error)) => return producer.refused(&error),
    };
    while !producer.has_all() {
        if !producer.room().await {
            return producer.cancelled();
        }
        let next = tokio::select! {
            biased;
            () = context.cancel.wait() => return producer.cancelled(),
            next = caught(context, poll_fn(|cx| items.as_mut().poll_next(cx))) => next,
        };
        match next {
            None => return producer.panicked(),
            Some(None) => return TaskOutcome::StreamEnded { items: producer.made },
            Some(Some(item)) => {
                if let Err(ended) = producer.send(item) {
                    return ended;
                }
            }
        }
    }
    TaskOutcome::StreamEnded { items: producer.made }
}

/// Runs user code that waits, in its context; `None` if it panicked.
async fn caught<F: Future>(context: &Arc<TaskContext>, future: F) -> Option<F::Output> {
    let mut future = Box::pin(WithContext::new(context.clone(), future));
    poll_fn(
        move |cx| match std::panic::catch_unwind(AssertUnwindSafe(|| Future::poll(future.as_mut(), cx))) {
            Ok(poll) => poll.map(Some),
            Err(_payload) => std::task::Poll::Ready(None),
        },
    )
    .await
}
