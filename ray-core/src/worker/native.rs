//! A result that has not left the process that made it.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{RayError, Result};
use crate::remote;

/// A value as it is in memory until somebody needs its bytes; both at once never.
pub(crate) struct NativeValue(Mutex<Form>);

enum Form {
    Native(remote::NativeValue),
    Encoded(Bytes),
    Taken,
}

impl NativeValue {
    pub(crate) fn new(value: remote::NativeValue) -> Self {
        Self(Mutex::new(Form::Native(value)))
    }

    /// The value's bytes, made once on demand. The value itself is gone then.
    pub(crate) fn encoded(&self) -> Result<Bytes> {
        let mut form = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match &*form {
            Form::Encoded(bytes) => return Ok(bytes.clone()),
            Form::Taken => return Err(RayError::internal("a native value is read after it was moved out")),
            Form::Native(value) => match value.encode() {
                Ok(encoded) => encoded.to_bytes(),
                Err(error) => {
                    let what = format!("a result of type {}", value.type_name());
                    return Err(RayError::Encode {
                        what,
                        why: error.to_string(),
                    });
                }
            },
        };
        *form = Form::Encoded(bytes.clone());
        Ok(bytes)
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
