//! How a process joins its node: it says hello, and its raylet welcomes it with what it must know.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Identity, Worker};
use crate::config;
use crate::ids::WorkerId;
use crate::registry::{Registry, RegistryError};
use crate::wire::{Frame, Hello, JobSetup, Packet, Receiver, Sender};

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

/// How a process introduces itself to its raylet.
#[derive(Debug)]
pub(crate) enum Introduction {
    /// It was started as a worker, and gets its name from the raylet.
    Worker,
    /// It is a driver of this name.
    Driver {
        /// Its name.
        id: WorkerId,
        /// Its job.
        job: JobSetup,
        /// Its program, and where the output of its workers goes if the raylet is another process.
        descriptors: Vec<OwnedFd>,
    },
}

impl Introduction {
    fn send(self, to: &Sender) -> Result<(), RegistryError> {
        let items = Registry::global()?.table_hash();
        let hello = |id| Box::new(Hello::of_this_process(id, items));
        match self {
            Self::Worker => to.send(Frame::Hello {
                hello: hello(WorkerId::default()),
            }),
            Self::Driver { id, job, descriptors } => {
                let frame = Frame::Attach {
                    hello: hello(id),
                    job: Some(Box::new(job)),
                };
                to.send_with(frame, descriptors);
            }
        }
        Ok(())
    }
}

/// Joins by a connection to the raylet.
pub(crate) async fn join(
    (sender, mut receiver): (Sender, Receiver),
    introduction: Introduction,
) -> Result<(Arc<Worker>, Receiver), JoinError> {
    introduction.send(&sender)?;
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
