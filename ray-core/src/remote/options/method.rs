//! The options of a call of an actor's method.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RetryBackoff, RetryExceptions};

/// The options of a method call; `#[method(..)]` sets them for all calls, `handle.options()` for some.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodOptions {
    /// A name for people; the method's own if there is none.
    pub name: Option<String>,
    /// Attempts after the first one; the actor's `max_task_retries` if there is no number.
    pub max_task_retries: Option<i32>,
    /// Which errors of the method itself are tried again; none.
    pub retry_exceptions: RetryExceptions,
    /// How long to wait before each attempt; not at all.
    pub retry_backoff: Option<RetryBackoff>,
    /// After which time it is cancelled.
    pub timeout: Option<Duration>,
    /// The group whose limit it counts to; the actor's own limit if there is none.
    pub concurrency_group: Option<String>,
}
