//! Values that have not left the process that made them.
//!
//! - NV-1: a native value is moved to its reader if the reader has the last hold on it; else it is encoded, once, and read
//!   in that form from then on.
//! - NV-2: the user's `Serialize` and `Drop` run outside the state's lock: they may look for the runtime themselves.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{RayError, Result};
use crate::ids::ObjectId;
use crate::remote;
use crate::value::Encoded;
use crate::worker::Worker;
use crate::worker::objects::Slot;

/// A value as it is in memory until it is taken, or somebody needs its bytes.
pub(crate) struct NativeValue(Mutex<Form>);

enum Form {
    Native(remote::NativeValue),
    /// Its bytes are with its object.
    Encoded,
    Taken,
}

impl NativeValue {
    pub(crate) fn new(value: remote::NativeValue) -> Self {
        Self(Mutex::new(Form::Native(value)))
    }

    /// Whether its object may be so large that it would go to the store.
    pub(crate) fn may_be_large(&self) -> bool {
        let form = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*form, Form::Native(value) if value.may_be_large())
    }

    /// Moves the value out, if it is native still.
    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        let mut form = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *form, Form::Taken) {
            Form::Native(value) => Some(value.into_any()),
            other => {
                *form = other;
                None
            }
        }
    }
}

impl fmt::Debug for NativeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeValue")
    }
}

/// Encodes a value of the user's type; a panic in it is an error.
pub(super) fn encode(value: &remote::NativeValue) -> Result<Encoded> {
    let what = || format!("a result of type {}", value.type_name());
    match std::panic::catch_unwind(AssertUnwindSafe(|| value.encode())) {
        Ok(Ok(encoded)) => Ok(encoded),
        Ok(Err(error)) => Err(RayError::Encode {
            what: what(),
            why: error.to_string(),
        }),
        Err(_payload) => Err(RayError::Encode {
            what: what(),
            why: "its Serialize panicked".into(),
        }),
    }
}

impl Worker {
    /// The object of a native value that others hold too, encoded now if it is not yet (NV-1).
    pub(crate) fn encoded_form(self: &Arc<Self>, object: ObjectId, native: &NativeValue) -> Result<Bytes> {
        let mut form = native.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Form::Native(value) = &*form else {
            drop(form);
            return self.encoded_already(object);
        };
        let encoded = encode(value)?;
        let (slot, bytes) = if encoded.object_len() <= self.max_inline() {
            let bytes = encoded.to_bytes();
            (Slot::Inline(bytes.clone()), Some(bytes))
        } else {
            let size = self.write(object, &encoded)?;
            (Slot::Stored { size }, None)
        };
        // The references inside get their holds before the value drops its own.
        self.with(|state, now, out| state.native_encoded(object, slot, &encoded.refs, now, out));
        let value = std::mem::replace(&mut *form, Form::Encoded);
        drop(form);
        drop(value);
        bytes.map_or_else(|| Ok(self.read_stored(object)?), Ok)
    }

    fn encoded_already(self: &Arc<Self>, object: ObjectId) -> Result<Bytes> {
        match self.read(|state| state.objects.slot(&object).cloned()) {
            Some(Slot::Inline(bytes)) => Ok(bytes),
            Some(Slot::Stored { .. }) => Ok(self.read_stored(object)?),
            Some(Slot::Failed(error)) => Err(*error),
            _ => Err(RayError::internal("a native value is read after it was moved out")),
        }
    }

    /// Somebody who cannot take the value as it is waits for its bytes.
    pub(crate) fn encode_wanted(self: &Arc<Self>, object: ObjectId) {
        let Some(native) = self.read(|state| state.objects.native(&object)) else {
            return;
        };
        if let Err(error) = self.encoded_form(object, &native) {
            self.with(|state, now, out| {
                if state.objects.native(&object).is_some() {
                    state.settle(object, Slot::failed(error), now, out);
                }
            });
        }
    }
}
