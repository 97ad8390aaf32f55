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

/// What `handle.options()` sets; the rest stays as the method's attribute says.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct MethodChanges {
    /// See [`MethodOptions`]; so all of these.
    pub name: Option<String>,
    pub max_task_retries: Option<i32>,
    pub retry_exceptions: Option<RetryExceptions>,
    pub retry_backoff: Option<RetryBackoff>,
    pub timeout: Option<Duration>,
    pub concurrency_group: Option<String>,
}

impl MethodChanges {
    /// The options of a method with these changes.
    pub(crate) fn over(&self, attribute: &MethodOptions) -> MethodOptions {
        let given = |own: &Option<String>, attribute: &Option<String>| own.clone().or_else(|| attribute.clone());
        MethodOptions {
            name: given(&self.name, &attribute.name),
            max_task_retries: self.max_task_retries.or(attribute.max_task_retries),
            retry_exceptions: self.retry_exceptions.unwrap_or(attribute.retry_exceptions),
            retry_backoff: self.retry_backoff.or(attribute.retry_backoff),
            timeout: self.timeout.or(attribute.timeout),
            concurrency_group: given(&self.concurrency_group, &attribute.concurrency_group),
        }
    }
}
