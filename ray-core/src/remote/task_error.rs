//! Why a function failed, as it travels to whoever reads its result: [`TaskError`].

use std::any::{Any, type_name};
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::value;

/// Where a [`TaskError`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The function returned `Err`.
    Application,
    /// An argument could not be read, so the function was not called.
    Argument,
    /// The runtime called the item wrongly, which is an error of the runtime.
    Internal,
}

/// Why a function failed.
///
/// The texts of the error and its sources always travel. If the error's type is `Serialize + DeserializeOwned`, the
/// error itself travels too, and [`downcast_ref`](Self::downcast_ref) gives it.
#[derive(Clone, Serialize, Deserialize)]
pub struct TaskError {
    kind: TaskErrorKind,
    /// The error, then its sources.
    chain: Vec<String>,
    type_name: String,
    /// The encoded error.
    value: Option<Vec<u8>>,
    retry: bool,
    #[serde(skip)]
    decoded: OnceLock<Decoded>,
}

impl TaskError {
    /// The error of a function.
    pub(super) fn application(type_name: &str, chain: Vec<String>, value: Option<Bytes>, retry: bool) -> Self {
        Self {
            value: value.map(Vec::from),
            retry,
            ..Self::new(TaskErrorKind::Application, type_name, chain)
        }
    }

    /// An argument that cannot be read.
    pub(super) fn argument(position: usize, name: &str, type_name: &str, reason: &dyn fmt::Display) -> Self {
        let text = format!("argument {position} (`{name}`) cannot be read as `{type_name}`: {reason}");
        Self::new(TaskErrorKind::Argument, "", vec![text])
    }

    /// A mistake of the runtime.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(TaskErrorKind::Internal, "", vec![text.into()])
    }

    fn new(kind: TaskErrorKind, type_name: &str, chain: Vec<String>) -> Self {
        Self {
            kind,
            chain,
            type_name: type_name.to_owned(),
            value: None,
            retry: false,
            decoded: OnceLock::new(),
        }
    }

    /// Where it comes from.
    pub fn kind(&self) -> TaskErrorKind {
        self.kind
    }

    /// The text of the error, then of each of its sources.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// The name of the error's type; empty if it is not the user's.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Whether the function's retry predicate asked for another attempt.
    pub fn wants_retry(&self) -> bool {
        self.retry
    }

    /// The error itself, if it is an `E` and could travel.
    pub fn downcast_ref<E: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<&E> {
        let value = self.value.as_ref().filter(|_| self.type_name == type_name::<E>())?;
        if self.decoded.get().is_none() {
            // Whoever loses a race drops what it decoded.
            let _lost = self.decoded.set(Decoded(Arc::new(
                value::decode::<E>(&Bytes::copy_from_slice(value)).ok()?,
            )));
        }
        self.decoded.get()?.0.downcast_ref()
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        self.chain
            .iter()
            .try_for_each(|text| write!(f, "{}{text}", std::mem::replace(&mut separator, ": ")))
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("kind", &self.kind)
            .field("chain", &self.chain)
            .field("type_name", &self.type_name)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for TaskError {}

/// The decoded error.
#[derive(Clone)]
struct Decoded(Arc<dyn Any + Send + Sync>);
