//! What tests of several modules build frames from.

use std::collections::BTreeMap;

use super::{ActorSpec, LeaseShape, NodeInfo, SchedulingStrategy, TaskSpec};
use crate::ids::{ActorId, JobId, NodeId, ObjectId, TaskId, WorkerId};

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

impl NodeInfo {
    /// A node of so many CPUs.
    pub(crate) fn sample(cpus: f64) -> Self {
        Self {
            node: NodeId::random(),
            address: "10.0.0.1:5000".into(),
            host: "host".into(),
            pid: 1,
            resources: BTreeMap::from([("CPU".to_owned(), cpus)]),
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
        Self::bare(TaskId::default(), WorkerId::random(), 1)
    }
}
