//! What a node has and does, for who asks.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{NodeId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// A node as it introduces itself.
    #[derive(Debug, Clone)]
    struct NodeInfo {
        /// The node.
        node: NodeId,
        /// Where other nodes reach it, as `host:port`; empty for one that cannot be reached.
        address: String,
        /// The name of its machine.
        host: String,
        /// Its process.
        pid: u32,
        /// What it has.
        resources: BTreeMap<String, f64>,
    }

    /// A job of another node, as far as workers of it need to be started.
    #[derive(Debug, Clone)]
    struct GuestJob {
        /// Where names of its actors hold.
        namespace: String,
        /// The process that runs its `main`.
        driver: WorkerId,
        /// The hash of its table of remote items.
        items: u64,
        /// The BLAKE3 hash of its program, 32 bytes.
        program: Bytes,
        /// How many bytes that has.
        size: u64,
    }

    /// A node of the cluster, and how it stands.
    #[derive(Debug, Clone)]
    struct NodeStanding {
        /// What it said of itself.
        info: NodeInfo,
        /// Whether it is the head.
        head: bool,
        /// What is free.
        available: BTreeMap<String, f64>,
        /// Why it is dead, if it is.
        death: Option<String>,
    }

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
