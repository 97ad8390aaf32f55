//! What a raylet is started with, and what can go wrong with one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config;
use crate::host::Memory;
use crate::ids::NodeId;
use crate::process;
use crate::session::Session;
use crate::wire::token::Token;

/// What a raylet needs to start.
#[derive(Debug)]
pub struct Options {
    /// The node's id.
    pub node: NodeId,
    /// Where other nodes reach it; empty if none can.
    pub address: String,
    /// What opens the doors of other nodes; none where there are none.
    pub(crate) token: Option<Token>,
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
    /// The memory of the machine, or of its control group.
    pub machine: Memory,
    /// The node's settings.
    pub config: config::Node,
    /// The cluster's settings.
    pub cluster: config::Cluster,
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
