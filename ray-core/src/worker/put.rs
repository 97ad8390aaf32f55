//! From values to objects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::value::{self, Encoded, Parts};
use crate::wire::ObjectValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::{Worker, context};

fn refused(error: ray_objstore::Error) -> RayError {
    RayError::Store { why: error.to_string() }
}

/// Copies the buffers and publishes the object.
fn finish<'a>(mut writer: ray_objstore::Writer, segments: impl Iterator<Item = (usize, &'a [u8])>) -> Result<()> {
    for (offset, bytes) in segments {
        writer.write_parallel(offset, bytes).map_err(refused)?;
    }
    // The view's pin ends here: the object stays until its owner frees it.
    writer.seal().map(drop).map_err(refused)
}

impl Worker {
    /// Writes a value into the node's store and returns its id, with one local handle that the caller owns.
    pub(crate) fn put<T: Serialize + ?Sized>(self: &Arc<Self>, value: &T) -> Result<ObjectId> {
        let encoded = value::encode(value).map_err(|error| RayError::Encode {
            what: format!("a value of type {}", std::any::type_name::<T>()),
            why: error.to_string(),
        })?;
        let object = self.with(|state, _, out| state.new_put(&encoded.refs, out));
        match self.write(object, &encoded) {
            Ok(size) => {
                self.with(|state, now, out| state.settle(object, Slot::Stored { size }, now, out));
                Ok(object)
            }
            Err(error) => {
                self.with(|state, _, out| state.drop_handle(object, out));
                Err(error)
            }
        }
    }

    /// Writes an encoded value into the node's store.
    pub(crate) fn write(&self, object: ObjectId, encoded: &Encoded) -> Result<u64> {
        let key = ray_objstore::Key(*object.as_bytes());
        let layout = encoded.layout();
        let mut writer = self.store.create(key, layout.len).map_err(refused)?;
        encoded.write_head(&mut writer).map_err(RayError::internal)?;
        finish(writer, layout.segments.iter().copied())?;
        Ok(layout.len as u64)
    }

    /// Up to this size a value travels in frames and lives in its owner's process.
    pub(crate) fn max_inline(&self) -> usize {
        usize::try_from(self.config.max_direct_call_object_size).unwrap_or(usize::MAX)
    }

    /// A result on its way to its owner: small ones whole, large ones, and those for which a frame has no `room`, through the
    /// store. References inside it are handed
    /// over to the owner, and held (RC-T2: the value itself may be gone before the frame leaves) until whoever sends it
    /// [lets go](crate::worker::state::State::let_go).
    pub(crate) fn outgoing(
        self: &Arc<Self>,
        object: ObjectId,
        owner: WorkerId,
        encoded: &Encoded,
        room: usize,
    ) -> Result<ObjectValue> {
        let value = if self.goes_whole(owner, encoded.object_len(), room)? {
            ObjectValue::Inline {
                object: encoded.to_bytes(),
            }
        } else {
            let size = self.write(object, encoded)?;
            let refs = encoded.refs.iter().map(|token| (token.object, token.owner)).collect();
            ObjectValue::Stored { size, refs }
        };
        if !encoded.refs.is_empty() {
            self.with(|state, _, out| {
                for token in &encoded.refs {
                    state.hold(token.object, Hold::Task);
                    if owner != self.identity.worker {
                        state.hand_over(token.object, owner, out);
                    }
                }
            });
        }
        Ok(value)
    }

    /// The parts of an argument, as a call's builder has encoded it: whole if it is small and there is so much `room`, else
    /// through the store.
    pub(crate) fn parts_argument(
        self: &Arc<Self>,
        head: &Bytes,
        parts: &Parts,
        room: usize,
    ) -> Result<Result<Bytes, ObjectId>> {
        let whole = parts.object_len <= self.max_inline().min(room);
        if whole && parts.is_complete() {
            return Ok(Ok(head.clone()));
        }
        if whole {
            let mut object = Vec::with_capacity(parts.object_len);
            object.extend_from_slice(head);
            for (offset, buffer) in parts.segments() {
                object.resize(offset, 0);
                object.extend_from_slice(buffer.as_slice());
            }
            return Ok(Ok(object.into()));
        }
        let object = self.with(|state, _, out| state.new_put(&parts.refs, out));
        match self.write_parts(object, head, parts) {
            Ok(()) => {
                let size = parts.object_len as u64;
                self.with(|state, now, out| state.settle(object, Slot::Stored { size }, now, out));
                Ok(Err(object))
            }
            Err(error) => {
                self.with(|state, _, out| state.drop_handle(object, out));
                Err(error)
            }
        }
    }

    fn write_parts(&self, object: ObjectId, head: &[u8], parts: &Parts) -> Result<()> {
        let key = ray_objstore::Key(*object.as_bytes());
        let mut writer = self.store.create(key, parts.object_len).map_err(refused)?;
        // Memory of the store may hold what was there before: gaps between buffers are zeroed.
        let mut written = head.len();
        writer[..written].copy_from_slice(head);
        for (offset, buffer) in parts.segments() {
            writer[written..offset].fill(0);
            written = offset + buffer.len();
        }
        finish(
            writer,
            parts.segments().map(|(offset, buffer)| (offset, buffer.as_slice())),
        )
    }

    /// The time that a task submitted here has: its own timeout, or what is left to the running task if that is less.
    pub(crate) fn timeout_within(&self, timeout: Option<Duration>) -> Option<Duration> {
        let left = context::current().and_then(|context| context.time_left());
        timeout.into_iter().chain(left).min()
    }

    /// Who submits here: the running task, or nobody.
    pub(crate) fn parent_task(&self) -> crate::ids::TaskId {
        context::current_task().unwrap_or_default()
    }
}
