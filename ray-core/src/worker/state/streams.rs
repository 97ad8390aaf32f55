//! Streams that this process consumes: the items that have come, and how many were taken.
//!
//! - SI-1: an item is counted once. One that the store has lost comes again in its place, and the consumer goes on as if
//!   nothing had happened.
//! - SI-2: while the stream's task runs its first course, a loss ends the attempt and a further one follows, since the
//!   producer may be waiting for a consumer that waits for the lost item. Afterwards the task runs for the lost items only.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::wire::{Frame, ObjectValue};
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
    /// The attempt that runs was told to end, for a further one (SI-2).
    restarting: bool,
}

/// As a number of items consumed: the attempt is to end.
pub(crate) const STREAM_STOPS: u64 = u64::MAX;

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
    pub(super) fn open_stream(&mut self, task: TaskId) {
        self.streams.insert(task, Incoming::default());
    }

    /// Tells a new attempt where to go on, and what was lost.
    pub(super) fn resume_stream(&mut self, task: TaskId) {
        let missing = self.missing_items(task);
        let incoming = self.streams.get_mut(&task);
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        let only_missing = pending.runs > 0;
        let Some(stream) = &mut pending.spec.stream else { return };
        if let Some(incoming) = incoming {
            incoming.restarting = false;
            (stream.received, stream.consumed) = (incoming.received, incoming.taken);
        }
        if let Some(items) = &mut pending.items {
            items.remade.extend(&missing);
            items.remade.sort_unstable();
            items.remade.dedup();
            if only_missing {
                // Nobody waits for these in turn.
                (stream.received, stream.consumed) = (items.received, items.received);
            }
        }
        (stream.missing, stream.only_missing) = (missing, only_missing);
    }

    /// The items of a pending stream that have come and were lost since, in order.
    fn missing_items(&self, task: TaskId) -> Vec<u64> {
        // A stream of small items has nothing to lose, however long it is.
        let items = self.tasks.get(&task).and_then(|pending| pending.items.as_deref());
        let is_lost = |index: &u64| {
            let object = item(task, *index);
            object.is_some_and(|object| self.objects.slot(&object).is_some_and(Slot::is_pending))
        };
        (0..items.map_or(0, |items| items.received)).filter(is_lost).collect()
    }

    /// SI-2: the store has lost an item of a stream whose task runs its first course. Else: why it cannot be made again.
    pub(super) fn item_lost(&mut self, object: ObjectId, out: &mut Out) -> Result<(), String> {
        let task = object.task();
        let Some(pending) = self.tasks.get(&task) else {
            return Err(format!("task {task} is not known any more"));
        };
        if !pending.spec.retriable || self.runs_here(task) {
            return Err(format!("task `{}` ({task}) cannot be run again", pending.name()));
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return Ok(());
        };
        let runs_in = match pending.phase {
            Phase::Pushed(worker) if !pending.cancelled => Some(worker),
            _ => None,
        };
        // An attempt that has not begun, or is about to end, is followed by none for this alone.
        if let (Some(worker), Some(stream)) = (runs_in, self.streams.get_mut(&task).filter(|stream| !stream.restarting))
        {
            if !pending.pay_for(&object) {
                return Err(pending.no_retries());
            }
            stream.restarting = true;
            let consumed = STREAM_STOPS;
            out.send(Dest::Worker(worker), Frame::StreamConsumed { task, consumed });
        }
        self.objects.reset(&object);
        Ok(())
    }

    /// Whether an attempt has ended because it was told to, for a further one: once.
    pub(super) fn ended_to_restart(&mut self, task: TaskId) -> bool {
        let restarting = |stream: &mut Incoming| std::mem::take(&mut stream.restarting);
        self.streams.get_mut(&task).is_some_and(restarting)
    }

    /// The first course of a stream's task is over, or a run for its lost items: those that were lost meanwhile are made
    /// again. `items` are those that were found missing before the task was forgotten.
    pub(super) fn remake_items(&mut self, items: &[ObjectId], now: Instant, out: &mut Out) {
        let Some(first) = items.first() else { return };
        match self.plan(*first) {
            Ok(order) => order
                .into_iter()
                .for_each(|task| self.run_again(task, *first, now, out)),
            Err(reason) => {
                for object in items {
                    let reason = format!("the store has lost it; and it cannot be made again: {reason}");
                    self.lost_for_good(*object, reason, now, out);
                }
            }
        }
    }

    /// The objects among the items of a pending stream that were lost.
    pub(super) fn missing_objects(&self, task: TaskId) -> Vec<ObjectId> {
        let missing = self.missing_items(task);
        missing.into_iter().filter_map(|index| item(task, index)).collect()
    }

    /// What an attempt was to make again and has not, since it has ended without: it never comes. `made`: as many items
    /// it has yielded.
    fn settle_missing(&mut self, task: TaskId, made: u64, error: Option<&RayError>, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        let name = pending.name().to_owned();
        let missing = pending
            .spec
            .stream
            .as_deref_mut()
            .map(|stream| std::mem::take(&mut stream.missing));
        for index in missing.unwrap_or_default() {
            let Some(object) = item(task, index).filter(|_| index >= made) else {
                continue;
            };
            if self.objects.slot(&object).is_some_and(Slot::is_pending) {
                match error {
                    Some(error) => self.settle(object, Slot::failed(error.clone()), now, out),
                    None => {
                        let reason = format!(
                            "the store has lost it, and task `{name}` ({task}), run again, yielded {made} items only"
                        );
                        self.lost_for_good(object, reason, now, out);
                    }
                }
            }
        }
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

    /// An item has come. One that is there, from an earlier attempt, is dropped.
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
        let Some(object) = item(task, index) else { return };
        if self.is_current(task, attempt) && self.objects.slot(&object).is_some_and(Slot::is_pending) {
            // SI-1.
            self.accept_value(object, from, value, now, out);
            return;
        }
        if !self.expect_item(task, attempt, index, object) {
            self.drop_value(from, object, value, out);
            return;
        }
        if let Some(pending) = self.tasks.get_mut(&task) {
            if matches!(value, ObjectValue::Stored { .. }) {
                pending.items.get_or_insert_default();
            }
            if let Some(items) = &mut pending.items {
                items.received = index + 1;
            }
        }
        self.accept_value(object, from, value, now, out);
        self.item_came(task, out);
    }

    /// An item of a task that runs in this process: it stays as it is.
    pub(crate) fn native_item(&mut self, task: TaskId, attempt: u32, index: u64, value: NativeValue, out: &mut Out) {
        let slot = Slot::Native(Arc::new(value));
        match item(task, index) {
            Some(object) if self.expect_item(task, attempt, index, object) => {
                self.settle(object, slot, out.now, out);
                self.item_came(task, out);
            }
            _ => out.garbage.push(Box::new(slot)),
        }
    }

    fn is_current(&self, task: TaskId, attempt: u32) -> bool {
        let pending = self.tasks.get(&task);
        pending.is_some_and(|pending| pending.spec.attempt == attempt && !pending.cancelled)
    }

    /// Makes the object of an item known, if it is the one that the consumer waits for.
    fn expect_item(&mut self, task: TaskId, attempt: u32, index: u64, object: ObjectId) -> bool {
        let next = self.streams.get(&task).is_some_and(|stream| stream.received == index);
        let wanted = next && self.is_current(task, attempt);
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

    /// How many items the consumer has taken.
    pub(crate) fn items_taken(&self, task: TaskId) -> u64 {
        self.streams.get(&task).map_or(0, |stream| stream.taken)
    }

    pub(super) fn finish_stream(&mut self, task: TaskId, items: u64, now: Instant, out: &mut Out) {
        let first = self.tasks.get(&task).is_some_and(|pending| pending.runs == 0);
        if let Some(stream) = self.streams.get_mut(&task).filter(|_| first) {
            stream.ended = Some(items);
            out.wakes.extend(stream.waiter.upgrade());
        }
        self.settle_missing(task, items, None, now, out);
        self.forget_task(task, now, out);
    }

    /// The task of a stream has failed, and with it what it was to make again.
    pub(super) fn fail_course(&mut self, task: TaskId, error: &RayError, now: Instant, out: &mut Out) {
        if self.tasks.get(&task).is_some_and(|pending| pending.runs == 0) {
            self.fail_stream(task, error, out);
        }
        self.settle_missing(task, 0, Some(error), now, out);
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
        let Some(pending) = self.tasks.get_mut(&task).filter(|pending| pending.runs == 0) else {
            // It has ended. What it makes again is for those who hold items.
            return;
        };
        let name = pending.name().to_owned();
        if let Some(spec) = &mut pending.spec.stream {
            // They are not cancelled, but made again when the task has ended.
            spec.missing.clear();
        }
        self.cancel(task, &RayError::Cancelled { task, name }, true, now, out);
    }
}

/// An item of a stream, counted from 0.
fn item(task: TaskId, index: u64) -> Option<ObjectId> {
    Some(task.object(u32::try_from(index.checked_add(1)?).ok()?))
}
