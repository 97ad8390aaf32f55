//! What the session's machine has, and what runs on it.

use std::collections::BTreeMap;

use crate::api::blocking;
use crate::error::{RayError, Result};
use crate::ids::{NodeId, WorkerId};
use crate::wire::{GcsReply, GcsRequest, NodeReport, NodeStanding};
use crate::worker::current;

/// A process of the node.
#[derive(Debug, Clone)]
pub struct WorkerSummary {
    /// The worker.
    pub id: WorkerId,
    /// Its process.
    pub pid: u32,
    /// `driver`, `starting`, `idle`, `leased`, `actor`, `exiting`, or `observer`: one that only asks, as `ray status` does.
    pub state: String,
    /// The name of the task or actor that it serves, if it serves one.
    pub serves: String,
}

/// A node of the cluster.
#[derive(Debug, Clone)]
pub struct NodeSummary {
    /// The node.
    pub id: NodeId,
    /// Where other nodes reach it, as `host:port`; empty in a session of one process.
    pub address: String,
    /// The name of its machine.
    pub host: String,
    /// The process of its raylet.
    pub pid: u32,
    /// Whether it is the head.
    pub is_head: bool,
    /// Whether this process is on it.
    pub is_this: bool,
    /// Why it is dead, if it is.
    pub death: Option<String>,
    /// What it has.
    pub resources: BTreeMap<String, f64>,
    /// What no task and no actor held there when the head last heard.
    pub available: BTreeMap<String, f64>,
}

/// The nodes of the cluster, and the lately dead. A session of its own is one node.
///
/// # Errors
/// As [`cluster_resources`].
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::Ray::builder().num_cpus(2).init()?;
/// let nodes = ray_core::list_nodes()?;
/// assert!(nodes.len() == 1 && nodes[0].is_head && nodes[0].is_this);
/// # Ok(()) }
/// ```
pub fn list_nodes() -> Result<Vec<NodeSummary>> {
    let worker = current()?;
    let GcsReply::Nodes { nodes } = worker.ask_blocking(GcsRequest::ListNodes {})? else {
        return Err(RayError::internal("a question for the nodes was answered otherwise"));
    };
    let here = worker.identity.node;
    let summary = |NodeStanding {
                       info,
                       head,
                       available,
                       death,
                   }| NodeSummary {
        id: info.node,
        address: info.address,
        host: info.host,
        pid: info.pid,
        is_head: head,
        is_this: info.node == here,
        death,
        resources: info.resources,
        available,
    };
    Ok(nodes.into_iter().map(summary).collect())
}

/// All resources of the cluster by name, whether in use or not.
///
/// # Errors
/// [`RayError::NotInitialized`](crate::RayError::NotInitialized), [`RayError::Disconnected`](crate::RayError::Disconnected).
pub fn cluster_resources() -> Result<BTreeMap<String, f64>> {
    sum(report()?.total, |node| &node.resources)
}

/// The resources that no task and no actor holds at this moment.
///
/// # Errors
/// As [`cluster_resources`].
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::Ray::builder().num_cpus(2).init()?;
/// assert_eq!(ray_core::available_resources()?["CPU"], 2.0);
/// # Ok(()) }
/// ```
pub fn available_resources() -> Result<BTreeMap<String, f64>> {
    sum(report()?.available, |node| &node.available)
}

/// With what other nodes have. Of its own node a process knows better than the head.
fn sum(
    mut here: BTreeMap<String, f64>,
    there: impl Fn(&NodeSummary) -> &BTreeMap<String, f64>,
) -> Result<BTreeMap<String, f64>> {
    for node in list_nodes()?
        .iter()
        .filter(|node| !node.is_this && node.death.is_none())
    {
        for (name, amount) in there(node) {
            *here.entry(name.clone()).or_default() += amount;
        }
    }
    Ok(here)
}

/// The processes of this node, by process id. Where several programs use it these are the processes of all of them.
///
/// # Errors
/// As [`cluster_resources`].
pub fn list_workers() -> Result<Vec<WorkerSummary>> {
    let mut workers: Vec<WorkerSummary> = report()?
        .workers
        .into_iter()
        .map(|worker| WorkerSummary {
            id: worker.worker,
            pid: worker.pid,
            state: worker.state,
            serves: worker.serves,
        })
        .collect();
    workers.sort_by_key(|worker| worker.pid);
    Ok(workers)
}

fn report() -> Result<NodeReport> {
    let worker = current()?;
    blocking::run("a question to the raylet", "a blocking thread", worker.node_report())
}
