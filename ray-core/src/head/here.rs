//! GCS and raylet in this process.

use std::sync::Arc;

use super::Error;
use crate::config;
use crate::gcs;
use crate::host::Memory;
use crate::raylet::{Handle, Options, Raylet};
use crate::session::Session;
use crate::wire::connection::local_pair;
use crate::wire::token::Token;
use crate::wire::{HeadSetup, Receiver, Sender};

/// Starts GCS and raylet on the current runtime. The raylet ends both.
pub(super) async fn start(setup: HeadSetup, session: Arc<Session>) -> Result<Handle, Error> {
    let gcs = gcs::serve();
    start_raylet(setup, session, Surroundings::default(), connect(&gcs).await?)
}

/// A raylet's connection to a GCS of this process.
pub(super) async fn connect(gcs: &gcs::Handle) -> Result<(Sender, Receiver), Error> {
    let [near, far] = local_pair();
    gcs.join(far).await.map_err(|_ended| Error::Gcs)?;
    Ok(near)
}

/// What a raylet knows of the world beyond its node: nothing, if there is none.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Where other nodes reach it.
    pub(super) address: String,
    /// The cluster's token.
    pub(super) token: Option<Token>,
}

/// Starts a raylet on the current runtime.
pub(super) fn start_raylet(
    setup: HeadSetup,
    session: Arc<Session>,
    Surroundings { address, token }: Surroundings,
    gcs: (Sender, Receiver),
) -> Result<Handle, Error> {
    let options = Options {
        node: setup.node,
        address,
        token,
        resources: setup.resources,
        gpus: setup.gpus,
        idle_workers: setup.idle_workers as usize,
        store_bytes: setup.store_bytes,
        session,
        machine: Memory::detect().map_err(Error::Memory)?,
        config: config::Node::received(&setup.node_config)?,
        cluster: config::Cluster::received(&setup.cluster_config)?,
    };
    Ok(Raylet::start(options, gcs)?)
}
