//! Streams that this process consumes: the items that have come, and how many were taken.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::{Frame, ObjectValue, StreamSpec};
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::task::Phase;
use crate::worker::waiter::Waiter;

/// A stream from its submission until its consumer drops it.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Items that have come, without gaps.
    received: u64,
    taken: u64,
    /// How many items there are in all.
    ended: Option<u64>,
    failed: Option<RayError>,
    waiter: Weak<Waiter>,
}

impl Incoming {
    /// Tells a new attempt where to go on.
    pub(super) fn resume(&self, stream: &mut StreamSpec) {
        stream.received = self.received;
        stream.consumed = self.taken;
    }
}

/// What a consumer gets.
#[derive(Debug)]
pub(crate) enum NextItem {
    /// An item, with a local handle that the consumer owns.
    Item(ObjectId),
    End,
    Failed(RayError),
    /// None has come yet; the waiter is done when one has.
    Wait(Arc<Waiter>),
}

impl State {
    pub(crate) fn open_stream(&mut self, task: TaskId) {
        let failed = self.ended.clone();
        self.streams.insert(
            task,
            Incoming {
                failed,
                ..Incoming::default()
            },
        );
    }

    /// Takes the next item.
    pub(crate) fn next_item(&mut self, task: TaskId, out: &mut Out) -> NextItem {
        let Some(stream) = self.streams.get_mut(&task) else {
            return NextItem::Failed(RayError::Stream {
                task,
                why: "its session has ended".into(),
            });
        };
        if stream.taken < stream.received {
            stream.taken += 1;
            let consumed = stream.taken;
            if let Some(Phase::Pushed(worker)) = self.tasks.get(&task).map(|pending| pending.phase) {
                out.send(Dest::Worker(worker), Frame::StreamConsumed { task, consumed });
            }
            return match u32::try_from(consumed) {
                Ok(index) => NextItem::Item(task.object(index)),
                Err(_) => NextItem::Failed(RayError::Stream {
                    task,
                    why: "it has over 2^32 items".into(),
                }),
            };
        }
        if let Some(error) = &stream.failed {
            return NextItem::Failed(error.clone());
        }
        if stream.ended.is_some() {
            return NextItem::End;
        }
        let waiter = stream.waiter.upgrade().filter(|waiter| !waiter.is_done());
        let waiter = waiter.unwrap_or_else(|| Arc::new(Waiter::new(1)));
        stream.waiter = Arc::downgrade(&waiter);
        // The producer may be shared work that was left for somebody who waits.
        self.shared_waits(out);
        NextItem::Wait(waiter)
    }

    /// An item has come. One that came before, from an earlier attempt, is dropped.
    pub(crate) fn stream_item(
        &mut self,
        from: WorkerId,
        task: TaskId,
        attempt: u32,
        index: u64,
        value: ObjectValue,
        out: &mut Out,
    ) {
        let now = out.now;
        let Ok(number) = u32::try_from(index + 1) else { return };
        let object = task.object(number);
        if !self.expect_item(task, attempt, index, object) {
            self.drop_value(from, object, value, out);
            return;
        }
        self.accept_value(object, from, value, now, out);
        self.item_came(task, out);
    }

    /// An item of a task that runs in this process: it stays as it is.
    pub(crate) fn native_item(&mut self, task: TaskId, attempt: u32, index: u64, value: NativeValue, out: &mut Out) {
        let slot = Slot::Native(Arc::new(value));
        let object = u32::try_from(index + 1).map(|number| task.object(number));
        match object {
            Ok(object) if self.expect_item(task, attempt, index, object) => {
                self.settle(object, slot, out.now, out);
                self.item_came(task, out);
            }
            _ => out.garbage.push(Box::new(slot)),
        }
    }

    /// Makes the object of an item known, if it is the one that the consumer waits for.
    fn expect_item(&mut self, task: TaskId, attempt: u32, index: u64, object: ObjectId) -> bool {
        let current = self
            .tasks
            .get(&task)
            .is_some_and(|pending| pending.spec.attempt == attempt && !pending.cancelled);
        let wanted = current && self.streams.get(&task).is_some_and(|stream| stream.received == index);
        if wanted {
            self.refs.own(object, Hold::Handle);
            self.objects.expect(object);
        }
        wanted
    }

    fn item_came(&mut self, task: TaskId, out: &mut Out) {
        if let Some(stream) = self.streams.get_mut(&task) {
            stream.received += 1;
            out.wakes.extend(stream.waiter.upgrade());
        }
    }

    /// Where a new attempt of this process goes on.
    pub(super) fn resumed(&self, task: TaskId, spec: Option<StreamSpec>) -> Option<StreamSpec> {
        let mut spec = spec?;
        if let Some(incoming) = self.streams.get(&task) {
            incoming.resume(&mut spec);
        }
        Some(spec)
    }

    /// How many items the consumer has taken.
    pub(crate) fn items_taken(&self, task: TaskId) -> u64 {
        self.streams.get(&task).map_or(0, |stream| stream.taken)
    }

    pub(super) fn finish_stream(&mut self, task: TaskId, items: u64, now: Instant, out: &mut Out) {
        if let Some(stream) = self.streams.get_mut(&task) {
            stream.ended = Some(items);
            out.wakes.extend(stream.waiter.upgrade());
        }
        self.forget_task(task, now, out);
    }

    pub(super) fn fail_stream(&mut self, task: TaskId, error: &RayError, out: &mut Out) {
        if let Some(stream) = self.streams.get_mut(&task) {
            stream.failed.get_or_insert_with(|| error.clone());
            out.wakes.extend(stream.waiter.upgrade());
        }
    }

    /// The consumer is gone: the producer stops, and items that nobody took are dropped.
    pub(crate) fn close_stream(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(stream) = self.streams.remove(&task) else {
            return;
        };
        for index in stream.taken + 1..=stream.received {
            if let Ok(index) = u32::try_from(index) {
                self.drop_handle(task.object(index), out);
            }
        }
        let name = self
            .tasks
            .get(&task)
            .map(|pending| pending.name().to_owned())
            .unwrap_or_default();
        // A stream that has ended has no task left to cancel.
        self.cancel(task, &RayError::Cancelled { task, name }, true, now, out);
    }
}
