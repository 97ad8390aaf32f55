//! The options of a task.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Isolation, RetryBackoff, RetryExceptions, SchedulingStrategy};

/// The options of a task; the attribute sets them for all calls, `f::options()` for some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOptions {
    /// CPUs held while it runs; 1.
    pub num_cpus: f64,
    /// GPUs held while it runs; 0.
    pub num_gpus: f64,
    /// Further resources, by name.
    pub resources: BTreeMap<String, f64>,
    /// Bytes of memory to reserve for scheduling.
    pub memory: Option<u64>,
    /// A name for people; the function's own if there is none.
    pub name: Option<String>,
    /// Attempts after the first one; 3, [`UNLIMITED`](super::UNLIMITED) for no limit.
    pub max_retries: i32,
    /// Which errors of the function itself are tried again; none.
    pub retry_exceptions: RetryExceptions,
    /// How long to wait before each attempt; not at all.
    pub retry_backoff: Option<RetryBackoff>,
    /// Where it runs; a process of its own.
    pub isolation: Isolation,
    /// After which time it is cancelled.
    pub timeout: Option<Duration>,
    /// After how many calls of this function a worker process is replaced; 0 for never.
    pub max_calls: u32,
    /// On which node it runs.
    pub scheduling_strategy: SchedulingStrategy,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            num_cpus: 1.0,
            num_gpus: 0.0,
            resources: BTreeMap::new(),
            memory: None,
            name: None,
            max_retries: 3,
            retry_exceptions: RetryExceptions::Never,
            retry_backoff: None,
            isolation: Isolation::Process,
            timeout: None,
            max_calls: 0,
            scheduling_strategy: SchedulingStrategy::Default,
        }
    }
}
