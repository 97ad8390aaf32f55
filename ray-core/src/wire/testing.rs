//! What tests of several modules build frames from.

use std::collections::BTreeMap;

use super::{ActorSpec, LeaseShape, RetryExceptions, SchedulingStrategy, TaskSpec};
use crate::ids::{ActorId, JobId, ObjectId, TaskId, WorkerId};

impl ActorSpec {
    /// An actor `Counter` that takes nothing, without a name.
    pub(crate) fn sample() -> Self {
        Self {
            actor: ActorId::random(),
            job: JobId::new(1),
            owner: WorkerId::random(),
            handle: ObjectId::default(),
            item: 1,
            type_name: "Counter".into(),
            name: None,
            namespace: "n".into(),
            detached: false,
            args: Vec::new(),
            max_restarts: 0,
            max_task_retries: 0,
            max_concurrency: 0,
            max_pending_calls: -1,
            calls_ahead: 0,
            groups: BTreeMap::new(),
            resources: BTreeMap::new(),
            placement: BTreeMap::new(),
            strategy: SchedulingStrategy::Default {},
            checkpoint: None,
            shared: false,
        }
    }
}

impl LeaseShape {
    /// A task `f` that takes one CPU.
    pub(crate) fn one_cpu() -> Self {
        Self {
            name: "f".into(),
            resources: BTreeMap::from([("CPU".to_owned(), 10_000)]),
            strategy: SchedulingStrategy::Default {},
            shared: false,
        }
    }
}

impl TaskSpec {
    /// A task that takes and returns nothing.
    pub(crate) fn sample() -> Self {
        Self {
            task: TaskId::default(),
            attempt: 0,
            owner: WorkerId::random(),
            parent: TaskId::default(),
            item: 1,
            call: None,
            name: None,
            args: Vec::new(),
            returns: 0,
            stream: None,
            retry_exceptions: RetryExceptions::Never {},
            deadline: None,
            group: None,
            captures: false,
            resources: None,
            retriable: false,
        }
    }
}
