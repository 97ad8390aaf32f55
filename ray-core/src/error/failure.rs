//! [`TaskFailure`]: how a task's own code failed, with the user's own error where that can travel.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::ids::{NodeId, TaskId};
use crate::wire::{Reader, Wire, WireError, wire_types};

wire_types! {
    layouts pub(crate) FAILURE_LAYOUTS;

    /// How a task's own code failed.
    #[derive(Debug, Clone)]
    struct TaskFailure {
        /// The function or method.
        function: String,
        /// The task.
        task: TaskId,
        /// Which attempt, from 0.
        attempt: u32,
        /// The node it ran on.
        node: NodeId,
        /// The process it ran in.
        pid: u32,
        /// The error and its sources, outermost first; of a panic, its message.
        chain: Vec<String>,
        /// Where it panicked, if it did.
        panic_location: Option<String>,
        /// The error value, where its type can be serialised.
        value: Option<ErrorValue>,
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            function,
            attempt,
            node,
            pid,
            ..
        } = self;
        let verb = if self.panic_location.is_some() {
            "panicked"
        } else {
            "failed"
        };
        write!(
            f,
            "task `{function}` {verb} (attempt {attempt}, pid {pid}, node {}): ",
            &node.to_string()[..8]
        )?;
        f.write_str(&self.chain.join(": "))?;
        if let Some(location) = &self.panic_location {
            write!(f, ", at {location}")?;
        }
        Ok(())
    }
}

/// A user's error that travels as a value, decoded when it is first asked for.
#[derive(Clone)]
pub struct ErrorValue {
    type_name: String,
    object: Bytes,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl ErrorValue {
    /// An encoded error of the named type.
    pub fn new(type_name: String, object: Bytes) -> Self {
        Self {
            type_name,
            object,
            decoded: OnceLock::new(),
        }
    }

    pub(super) fn downcast_ref<E: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<&E> {
        if self.type_name != std::any::type_name::<E>() {
            return None;
        }
        if self.decoded.get().is_none() {
            let value: E = crate::value::decode(&self.object).ok()?;
            // Another thread may have been first with an equal value.
            let _lost = self.decoded.set(Arc::new(value));
        }
        self.decoded.get()?.downcast_ref()
    }
}

impl fmt::Debug for ErrorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorValue").field(&self.type_name).finish()
    }
}

impl Wire for ErrorValue {
    fn encode(&self, out: &mut Vec<u8>) {
        self.type_name.encode(out);
        self.object.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self::new(String::decode(input)?, Bytes::decode(input)?))
    }
}
