//! What references to the result of a local task do: they are counted, the last one may take the value, and one that is to
//! do what it cannot do alone hands the object in.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Cell, LocalTask, RETURNED, Stage};
use crate::error::RayError;
use crate::worker::Worker;
use crate::worker::native::NativeValue as Shareable;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;

impl LocalTask {
    /// Moves the value out, for the last reference.
    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        if self.handles.load(Ordering::Acquire) != 1 || self.is_handed_in() {
            return None;
        }
        let mut cell = self.cell();
        match std::mem::replace(&mut cell.stage, Stage::Gone) {
            Stage::Returned(value) => Some(value.into_any()),
            other => {
                cell.stage = other;
                None
            }
        }
    }

    /// One reference more.
    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// One reference less. `true`: it was the last one, and the state has a count to give back.
    pub(crate) fn drop_handle(&self) -> bool {
        if self.handles.fetch_sub(1, Ordering::SeqCst) != 1 {
            return false;
        }
        if self.is_handed_in() {
            return true;
        }
        if self.status.load(Ordering::SeqCst) >= RETURNED {
            let value = std::mem::replace(&mut self.cell().stage, Stage::Gone);
            value.drop_carefully();
        }
        false
    }

    /// Makes the object the state's.
    pub(crate) fn hand_in(self: &Arc<Self>, worker: &Arc<Worker>) {
        if !self.is_handed_in() {
            self.hand_over(&mut self.cell(), worker);
        }
    }

    pub(super) fn hand_over(self: &Arc<Self>, cell: &mut Cell, worker: &Arc<Worker>) {
        if self.is_handed_in() {
            return;
        }
        let slot = match &cell.stage {
            Stage::Waiting(_) | Stage::Running(_) => None,
            _ => match std::mem::replace(&mut cell.stage, Stage::Gone) {
                Stage::Returned(value) => Some(Slot::Native(Arc::new(Shareable::new(value)))),
                Stage::Encoded(bytes) => Some(Slot::Inline(bytes)),
                Stage::Failed(error) => Some(Slot::Failed(error)),
                Stage::Waiting(_) | Stage::Running(_) | Stage::Gone => Some(Slot::failed(RayError::SessionEnded {})),
            },
        };
        let object = self.object();
        worker.with(|state, now, out| {
            state.refs.own(object, Hold::Handle);
            state.objects.expect(object);
            match slot {
                Some(slot) => state.local_settled(self, slot, now, out),
                None => state.local_expected(self.clone()),
            }
        });
        self.handed_in.store(true, Ordering::Release);
    }
}
