//! What the session's machine has, and what runs on it.

use std::collections::BTreeMap;

use crate::api::blocking;
use crate::error::Result;
use crate::ids::WorkerId;
use crate::wire::NodeReport;
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

/// All resources of the session by name, whether in use or not.
///
/// # Errors
/// [`RayError::NotInitialized`](crate::RayError::NotInitialized), [`RayError::Disconnected`](crate::RayError::Disconnected).
pub fn cluster_resources() -> Result<BTreeMap<String, f64>> {
    report().map(|report| report.total)
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
    report().map(|report| report.available)
}

/// The processes of the session, by process id. On a node that several programs use these are the processes of all of them.
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
