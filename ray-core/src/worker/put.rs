//! From values to objects.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::value::{self, Encoded};
use crate::wire::ObjectValue;
use crate::worker::objects::Slot;
use crate::worker::{Worker, context};

/// Up to this size a result travels in the reply and lives in its owner's process, as in Ray.
pub(crate) const MAX_INLINE: usize = 100 << 10;

impl Worker {
    /// Writes a value into the node's store and returns its id, with one local handle that the caller owns.
    pub(crate) fn put<T: Serialize + ?Sized>(self: &Arc<Self>, value: &T) -> Result<ObjectId> {
        let encoded = value::encode(value).map_err(|error| RayError::Encode {
            what: format!("a value of type {}", std::any::type_name::<T>()),
            why: error.to_string(),
        })?;
        let object = self.with(|state, _, out| {
            state.new_put(&encoded.refs, out)
        });
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
        let key = ray_objstore::Key::from(*object.as_bytes());
        let failed = |error: ray_objstore::Error| RayError::Store { why: error.to_string() };
        let size = encoded.object_len();
        let mut writer = self.store.create(key, size).map_err(failed)?;
        let copied = encoded.write_head(&mut writer);
        copied.map_err(|error| RayError::internal(error))?;
        for (offset, bytes) in encoded.layout().segments {
            writer.write_parallel(offset, bytes).map_err(failed)?;
        }
        // The view's pin ends here: the object stays until its owner frees it.
        drop(writer.seal().map_err(failed)?);
        Ok(size as u64)
    }

    /// A result on its way to its owner: small ones whole, large ones through the store. References inside it are handed
    /// over to the owner.
    pub(crate) fn outgoing(self: &Arc<Self>, object: ObjectId, owner: WorkerId, encoded: &Encoded) -> Result<ObjectValue> {
        let value = if encoded.object_len() <= MAX_INLINE {
            ObjectValue::Inline { object: encoded.to_bytes() }
        } else {
            let size = self.write(object, encoded)?;
            let refs = encoded.refs.iter().map(|token| (token.object, token.owner)).collect();
            ObjectValue::Stored { size, refs }
        };
        if !encoded.refs.is_empty() && owner != self.identity.worker {
            self.with(|state, _, out| {
                for token in &encoded.refs {
                    state.hand_over(token.object, owner, out);
                }
            });
        }
        Ok(value)
    }

    /// The argument of a call, given as a value: large ones go through the store once, however often the call is retried.
    pub(crate) fn argument(self: &Arc<Self>, encoded: &Encoded) -> Result<Result<Bytes, ObjectId>> {
        if encoded.object_len() <= MAX_INLINE {
            return Ok(Ok(encoded.to_bytes()));
        }
        let object = self.with(|state, _, out| {
            state.new_put(&encoded.refs, out)
        });
        let size = self.write(object, encoded)?;
        self.with(|state, now, out| state.settle(object, Slot::Stored { size }, now, out));
        Ok(Err(object))
    }

    /// Who submits here: the running task, or nobody.
    pub(crate) fn parent_task(&self) -> crate::ids::TaskId {
        context::current_task().unwrap_or_default()
    }
}
