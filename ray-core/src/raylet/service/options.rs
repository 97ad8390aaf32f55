//! What a raylet is started with, and what can go wrong with one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config;
use crate::host::Memory;
use crate::ids::{JobId, NodeId, WorkerId};
use crate::process::{self, Executable};
use crate::session::Session;
use crate::session::logs::LogFollower;

/// What a raylet needs to start.
#[derive(Debug)]
pub struct Options {
    /// The node's id.
    pub node: NodeId,
    /// What the node has.
    pub resources: BTreeMap<String, f64>,
    /// How the node's GPUs are named to workers, by index.
    pub gpus: Vec<String>,
    /// How many idle workers are kept; as many are started at once.
    pub idle_workers: usize,
    /// The store's capacity in bytes.
    pub store_bytes: u64,
    /// The session's directory.
    pub session: Arc<Session>,
    /// The job whose driver is on the node.
    pub job: Job,
    /// The memory of the machine, or of its control group.
    pub machine: Memory,
    /// The node's settings.
    pub config: config::Node,
    /// The cluster's settings.
    pub cluster: config::Cluster,
    /// Follows the log files of workers, if they are shown.
    pub logs: Option<LogFollower>,
}

/// A job, for which the node starts workers.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The process that runs its `main`.
    pub driver: WorkerId,
    /// Its namespace.
    pub namespace: String,
    /// The program that its workers run.
    pub executable: Executable,
    /// The hash of its table of remote items: its workers must have the same.
    pub items: u64,
}

/// A raylet that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its object store cannot start.
    #[error("the object store cannot start: {0}")]
    Store(#[from] ray_objstore::Error),
    /// Its spawning thread cannot start.
    #[error("workers cannot be spawned: {0}")]
    Process(#[from] process::Error),
    /// A resource makes no sense.
    #[error("the node's resources: {0}")]
    Resources(#[from] crate::scheduling::ResourceError),
    /// It has ended.
    #[error("the raylet has ended")]
    Ended,
    /// A process is of another build or protocol.
    #[error("{0}")]
    Refused(String),
}
