//! How a process joins its node: it says hello, and its raylet welcomes it with what it must know.

use std::sync::Arc;

use super::{Identity, Worker};
use crate::config;
use crate::ids::WorkerId;
use crate::registry::{Registry, RegistryError};
use crate::wire::{Frame, Hello, Packet, Receiver, Sender};

/// A process that cannot take part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Ray(#[from] crate::RayError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{0}")]
    Refused(String),
    #[error("the raylet closed the connection before it welcomed this process")]
    NoWelcome,
    #[error("the settings that the raylet sent: {0}")]
    Config(#[from] config::ConfigError),
    #[error("the object store cannot be reached: {0}")]
    Store(#[from] ray_objstore::Error),
}

/// Joins by a connection to the raylet. A driver names itself; workers are named by the raylet.
pub(crate) async fn join(
    (sender, mut receiver): (Sender, Receiver),
    named: WorkerId,
) -> Result<(Arc<Worker>, Receiver), JoinError> {
    let registry = Registry::global()?;
    let hello = Hello::of_this_process(named, registry.table_hash());
    sender.send(Frame::Hello { hello: Box::new(hello) });
    let (welcome, fds) = match receiver.recv().await {
        Some(Packet {
            frame: Frame::Welcome { welcome },
            fds,
        }) => (welcome, fds),
        Some(Packet {
            frame: Frame::Refused { why },
            ..
        }) => return Err(JoinError::Refused(why)),
        _ => return Err(JoinError::NoWelcome),
    };
    let store = fds.into_iter().next().ok_or(JoinError::NoWelcome)?;
    let store = ray_objstore::Client::new(store)?;
    let identity = Identity::new(welcome.worker, &welcome);
    let config = config::Cluster::received(&welcome.config)?;
    let worker = Worker::new(identity, config, sender, store, tokio::runtime::Handle::current())?;
    Ok((worker, receiver))
}
