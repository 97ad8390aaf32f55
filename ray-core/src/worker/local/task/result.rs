//! The result of a local task: settled once (LT-2), told to who waits, and read.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Cell, FAILED, LocalTask, RETURNED, Stage};
use crate::error::{RayError, Result};
use crate::remote::NativeValue;
use crate::worker::context::TaskContext;
use crate::worker::native::{self, NativeValue as Shareable};
use crate::worker::objects::Slot;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, drop_value};

/// What a reference reads.
pub(crate) enum Read {
    Pending,
    Encoded(Bytes),
    Failed(RayError),
    /// The state knows.
    HandedIn,
}

/// What follows when a result is settled: done without the task's lock.
struct Settled {
    waiters: SmallVec<[Weak<Waiter>; 1]>,
    failed: bool,
    /// For the state.
    slot: Option<Slot>,
    /// Nobody wants it.
    garbage: Option<NativeValue>,
}

impl LocalTask {
    /// The task that was claimed has ended. What it yields is dropped if it was cancelled meanwhile (LT-2).
    pub(crate) fn finish(&self, worker: &Arc<Worker>, result: Result<NativeValue>) {
        let mut cell = self.cell();
        if !matches!(cell.stage, Stage::Running(_)) {
            drop(cell);
            drop_value(result);
            return;
        }
        let settled = self.settle(&mut cell, result);
        drop(cell);
        self.tell(worker, settled);
    }

    /// Fails the task if it is not settled. Returns the context of its run, if it runs.
    pub(crate) fn fail(self: &Arc<Self>, worker: &Arc<Worker>, error: RayError) -> Option<Arc<TaskContext>> {
        let mut cell = self.cell();
        let (arguments, context) = match &mut cell.stage {
            Stage::Waiting(arguments) => (Some(std::mem::take(arguments)), None),
            Stage::Running(context) => (None, Some(context.clone())),
            _ => return None,
        };
        let settled = self.settle(&mut cell, Err(error));
        drop(cell);
        self.tell(worker, settled);
        if let Some(arguments) = arguments {
            worker.with(|state, _, out| state.locals_ended(1, out));
            self.turn_over(worker);
            arguments.into_iter().for_each(drop_value);
        }
        context
    }

    /// A call that was withdrawn takes no turn of its actor: others may have it.
    fn turn_over(self: &Arc<Self>, worker: &Arc<Worker>) {
        let Some(call) = &self.call else { return };
        let Some(host) = call.host.upgrade() else { return };
        let (startable, keeper) = host.mailbox.local_ended(call.kind, self);
        worker.start_calls(call.actor, startable);
        drop(keeper);
    }

    /// Completes the result as cancelled. A run is told to stop, and on demand what it has submitted is cancelled too.
    pub(crate) fn cancel(self: &Arc<Self>, worker: &Arc<Worker>, recursive: bool) {
        let name = self.template.name.as_ref().to_owned();
        let error = RayError::Cancelled { task: self.id, name };
        if let Some(context) = self.fail(worker, error) {
            context.cancel.set();
            if recursive {
                worker.executor.cancel_children(worker, self.id);
            }
        }
    }

    fn settle(&self, cell: &mut Cell, result: Result<NativeValue>) -> Settled {
        let failed = result.is_err();
        // Before the look at the handles, as who drops the last one then looks here: one of the two drops the value.
        self.status
            .store(if failed { FAILED } else { RETURNED }, Ordering::SeqCst);
        let wanted = self.handles.load(Ordering::SeqCst) > 0;
        let mut settled = Settled {
            waiters: std::mem::take(&mut cell.waiters),
            failed,
            slot: None,
            garbage: None,
        };
        cell.stage = match result {
            _ if self.is_handed_in() => {
                settled.slot = Some(match result {
                    Ok(value) => Slot::Native(Arc::new(Shareable::new(value))),
                    Err(error) => Slot::failed(error),
                });
                Stage::Gone
            }
            Ok(value) if wanted => Stage::Returned(value),
            Ok(value) => {
                settled.garbage = Some(value);
                Stage::Gone
            }
            Err(error) => Stage::Failed(Box::new(error)),
        };
        settled
    }

    fn tell(&self, worker: &Arc<Worker>, settled: Settled) {
        if let Some(slot) = settled.slot {
            worker.with(|state, now, out| state.local_settled(self, slot, now, out));
        }
        for waiter in settled.waiters.iter().filter_map(Weak::upgrade) {
            if settled.failed {
                waiter.notify_failure();
            } else {
                waiter.notify();
            }
        }
        settled.garbage.into_iter().for_each(drop_value);
    }

    /// Registers a waiter. `false`: the result is settled.
    pub(crate) fn watch(&self, waiter: &Arc<Waiter>) -> bool {
        let mut cell = self.cell();
        if self.is_settled() {
            return false;
        }
        if cell.waiters.len() >= 16 {
            cell.waiters.retain(|waiter| waiter.strong_count() > 0);
        }
        cell.waiters.push(Arc::downgrade(waiter));
        true
    }

    /// Reads the result, in its encoded form.
    pub(crate) fn read(self: &Arc<Self>, worker: &Arc<Worker>) -> Read {
        let mut cell = self.cell();
        let encoded = match &cell.stage {
            _ if self.is_handed_in() => return Read::HandedIn,
            Stage::Waiting(_) | Stage::Running(_) => return Read::Pending,
            Stage::Encoded(bytes) => return Read::Encoded(bytes.clone()),
            Stage::Failed(error) => return Read::Failed((**error).clone()),
            Stage::Gone => return Read::Failed(RayError::SessionEnded {}),
            Stage::Returned(value) => native::encode(value),
        };
        match encoded {
            Ok(encoded) if encoded.refs.is_empty() && encoded.object_len() <= worker.max_inline() => {
                let bytes = encoded.to_bytes();
                let value = std::mem::replace(&mut cell.stage, Stage::Encoded(bytes.clone()));
                drop(cell);
                value.drop_carefully();
                Read::Encoded(bytes)
            }
            Ok(_) => {
                self.hand_over(&mut cell, worker);
                Read::HandedIn
            }
            Err(error) => Read::Failed(error),
        }
    }
}
