//! A head in this process.

use std::sync::Arc;

use super::Error;
use crate::config;
use crate::gcs;
use crate::host::Memory;
use crate::process::Executable;
use crate::raylet::{Handle, Job, Options, Raylet};
use crate::registry::Registry;
use crate::session::Session;
use crate::session::logs::LogFollower;
use crate::wire::HeadSetup;
use crate::wire::connection::local_pair;

/// Starts GCS and raylet on the current runtime. The raylet ends both.
pub(super) async fn start(setup: HeadSetup, session: Arc<Session>, logs: Option<LogFollower>) -> Result<Handle, Error> {
    let options = Options {
        node: setup.node,
        resources: setup.resources,
        gpus: setup.gpus,
        idle_workers: setup.idle_workers as usize,
        store_bytes: setup.store_bytes,
        session,
        job: Job {
            id: setup.job,
            driver: setup.driver,
            namespace: setup.namespace,
            executable: Executable::current()?,
            items: Registry::global()?.table_hash(),
        },
        machine: Memory::detect().map_err(Error::Memory)?,
        config: config::Node::received(&setup.node_config)?,
        cluster: config::Cluster::received(&setup.cluster_config)?,
        logs,
    };
    let gcs = gcs::serve();
    let [near, far] = local_pair();
    gcs.join(far).await.map_err(|_ended| Error::Gcs)?;
    Ok(Raylet::start(options, near)?)
}
