//! Values at hand: as they are in this process, or read from the node's store in place.

use std::sync::Arc;

use bytes::Bytes;

use super::Target;
use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::wire::TaskOutcome;
use crate::worker::Worker;
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;

/// Why the store does not give an object.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It has no such object, or only a damaged copy.
    Lost(String),
    /// Something else, such as a full store: the object is not lost.
    Failed(RayError),
}

impl From<Unreadable> for RayError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Failed(error) => error,
            Unreadable::Lost(why) => Self::Store { why },
        }
    }
}

/// A value at hand.
#[derive(Debug)]
pub(crate) enum Found {
    /// An encoded object, in this process's memory or in the store.
    Encoded(Bytes),
    /// A value that never left this process.
    Native(Arc<NativeValue>),
    /// As it is, and with it the last handle.
    Moved(Arc<NativeValue>),
}

impl Worker {
    /// The value of a ready object for the holder of its last handle, which ends with this call; with other holds it is
    /// as [`ready_value`](Self::ready_value). `None` if it is not ready.
    pub(crate) fn last_value(self: &Arc<Self>, object: ObjectId) -> Option<Result<Found>> {
        let moved = self.with(|state, _, out| {
            if !state.refs.is_only_hold(&object, Hold::Handle) {
                return None;
            }
            let native = state.objects.take_native(&object)?;
            state.drop_handle(object, out);
            Some(native)
        });
        match moved {
            Some(native) => Some(Ok(Found::Moved(native))),
            None => self.ready_value(object),
        }
    }

    /// The value of a ready object; `None` if it is not ready.
    pub(crate) fn ready_value(self: &Arc<Self>, object: ObjectId) -> Option<Result<Found>> {
        loop {
            let slot = self.read(|state| state.objects.slot(&object).cloned());
            return match slot {
                Some(Slot::Pending) => None,
                Some(Slot::Inline(bytes)) => Some(Ok(Found::Encoded(bytes))),
                Some(Slot::Native(value)) => Some(Ok(Found::Native(value))),
                Some(Slot::Failed(error)) => Some(Err(*error)),
                Some(Slot::Stored { .. }) => match self.read_stored(object) {
                    Ok(bytes) => Some(Ok(Found::Encoded(bytes))),
                    Err(Unreadable::Failed(error)) => Some(Err(error)),
                    Err(Unreadable::Lost(why)) => {
                        self.report_lost(object, &why);
                        continue;
                    }
                },
                None => Some(Err(RayError::SessionEnded {})),
            };
        }
    }

    /// Reads an object from the node's store, in place.
    pub(crate) fn read_stored(&self, object: ObjectId) -> Result<Bytes, Unreadable> {
        use ray_objstore::Error;
        let key = ray_objstore::Key(*object.as_bytes());
        match self.store.get(&key) {
            Ok(view) => Ok(Bytes::from_owner(view)),
            Err(error @ (Error::Lost { .. } | Error::NotFound { .. })) => Err(Unreadable::Lost(error.to_string())),
            Err(Error::StoreGone) => Err(Unreadable::Failed(RayError::SessionEnded {})),
            Err(error) => Err(Unreadable::Failed(RayError::Store { why: error.to_string() })),
        }
    }

    /// Reads a stored object that others hold as long as this call lasts; waits on this thread if it has to be made again.
    pub(crate) fn read_arrived(self: &Arc<Self>, object: ObjectId, owner: WorkerId) -> Result<Bytes> {
        let why = match self.read_stored(object) {
            Ok(bytes) => return Ok(bytes),
            Err(Unreadable::Failed(error)) => return Err(error),
            Err(Unreadable::Lost(why)) => why,
        };
        // This process may not have heard of the object so far.
        self.with(|state, _, out| state.introduce(object, owner, Hold::Task, out));
        self.report_lost(object, &why);
        let read = loop {
            self.block_until(&[Target::Known(object, owner)], 1, None);
            match self.ready_value(object) {
                Some(Ok(Found::Encoded(bytes))) => break Ok(bytes),
                Some(Ok(Found::Native(value) | Found::Moved(value))) => break self.encoded_form(object, &value),
                Some(Err(error)) => break Err(error),
                None => {}
            }
        };
        self.with(|state, _, out| state.unhold(object, Hold::Task, out));
        read
    }

    /// Whether the node's store has the object, in memory or on disk.
    pub(crate) fn is_stored(&self, object: ObjectId) -> bool {
        let key = ray_objstore::Key(*object.as_bytes());
        // A store that has ended has nothing to lose any more.
        self.store.contains(&key).unwrap_or(true)
    }

    /// Has an object made again that the store has lost; unless it was, meanwhile.
    fn report_lost(self: &Arc<Self>, object: ObjectId, why: &str) {
        if !self.is_stored(object) {
            self.with(|state, now, out| {
                if let Some(owner) = state.refs.get(&object).map(|report| report.owner) {
                    state.unreadable(object, owner, why, now, out);
                }
            });
        }
    }

    /// A worker that could not read an argument may have looked before it was made again: then it is not lost.
    pub(crate) fn find_losses(&self, outcome: &mut TaskOutcome) {
        if let TaskOutcome::ArgumentUnreadable { object, lost, .. } = outcome {
            *lost = !self.is_stored(*object);
        }
    }
}
