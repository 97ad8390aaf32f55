//! What a node has and does, for who asks.

use std::collections::BTreeMap;

use crate::ids::{NodeId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// What a node has and does.
    #[derive(Debug, Clone)]
    struct NodeReport {
        /// The node.
        node: NodeId,
        /// What there is.
        total: BTreeMap<String, f64>,
        /// What is free.
        available: BTreeMap<String, f64>,
        /// Its worker processes.
        workers: Vec<WorkerReport>,
        /// Lease requests that wait.
        pending_leases: u64,
    }

    /// A worker process.
    #[derive(Debug, Clone)]
    struct WorkerReport {
        /// The worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// `starting`, `idle`, `leased`, `actor`, `driver`, `observer` or `exiting`.
        state: String,
        /// The name of what it was leased or made for.
        serves: String,
    }
}
