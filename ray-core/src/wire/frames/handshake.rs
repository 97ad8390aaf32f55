//! What is said before all else: who a process is, what it joins, and what a head is to be.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{JobId, NodeId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// Which build, protocol and process introduces itself.
    #[derive(Debug, Clone)]
    #[allow(rustdoc::redundant_explicit_links, reason = "the text is part of the layout's fingerprint")]
    struct Hello {
        /// Always [`MAGIC`](super::handshake::MAGIC).
        magic: u64,
        /// The protocol number.
        protocol: u32,
        /// The fingerprint of all layouts.
        layout: u64,
        /// The machine architecture.
        arch: String,
        /// The hash of the table of remote items.
        items: u64,
        /// Who this is.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    }

    /// What a process must know to take part.
    #[derive(Debug, Clone)]
    struct Welcome {
        /// Who the process is.
        worker: WorkerId,
        /// The node.
        node: NodeId,
        /// The job.
        job: JobId,
        /// The job's driver.
        driver: WorkerId,
        /// The job's namespace.
        namespace: String,
        /// The session directory.
        session_dir: String,
        /// Options of cluster scope, as `RAY_<NAME>` text.
        config: BTreeMap<String, String>,
    }

    /// What a head is to be: its node, its session, its job.
    #[derive(Debug, Clone)]
    struct HeadSetup {
        /// The node's id.
        node: NodeId,
        /// What the node has.
        resources: BTreeMap<String, f64>,
        /// How the node's GPUs are named to workers, by index.
        gpus: Vec<String>,
        /// How many idle workers are kept.
        idle_workers: u32,
        /// The object store's capacity in bytes.
        store_bytes: u64,
        /// The session directory's path, as the kernel has it.
        session_dir: Bytes,
        /// The job.
        job: JobId,
        /// The job's driver.
        driver: WorkerId,
        /// The job's namespace.
        namespace: String,
        /// Settings of node scope, as text.
        node_config: BTreeMap<String, String>,
        /// Settings of cluster scope, as text.
        cluster_config: BTreeMap<String, String>,
        /// The window in which lines that workers repeat are counted instead of shown.
        deduplicate_within: Option<Duration>,
    }
}

/// The first field of every handshake: `rayrust1`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"rayrust1");
