//! What a worker is asked for: the shape of a lease, and where it may be.

use std::collections::BTreeMap;

use crate::ids::{NodeId, PlacementGroupId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// What a lease is for: tasks with equal shapes share leases.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct LeaseShape {
        /// What one task takes, in units of 1/10000.
        resources: BTreeMap<String, i64>,
        /// Where it may run.
        strategy: SchedulingStrategy,
        /// Whether it shares the host process of the job.
        shared: bool,
        /// The name of the task that the request was made for, for messages.
        name: String,
    }

    /// The lease under which a task runs in a process that serves several at once.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct HostLease {
        /// The lease.
        id: u64,
        /// Its GPUs, by the node's index: what the host must tell the task, since its own environment names all.
        gpus: Vec<u32>,
    }

    /// Where a task or actor may run.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    enum SchedulingStrategy {
        1 =>
        /// Ray's hybrid policy.
        Default {},
        2 =>
        /// Over the nodes in turn.
        Spread {},
        3 =>
        /// On one node; elsewhere if that cannot be and `soft` is set.
        NodeAffinity {
            /// The node.
            node: NodeId,
            /// Whether another node will do.
            soft: bool,
        },
        4 =>
        /// Within a placement group.
        PlacementGroup {
            /// The group.
            group: PlacementGroupId,
            /// The bundle, or any.
            bundle: Option<u32>,
            /// Whether what runs there starts its own children there too.
            captures: bool,
        },
    }
}

impl SchedulingStrategy {
    /// The placement group, if it is one.
    pub fn group(&self) -> Option<PlacementGroupId> {
        match self {
            Self::PlacementGroup { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// Whether what runs under it starts its own children in the same placement group.
    pub fn captures(&self) -> bool {
        matches!(self, Self::PlacementGroup { captures: true, .. })
    }
}
