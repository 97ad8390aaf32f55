//! The life of a worker process, from take-over to exit.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Identity, Worker, execute, serve, set_current};
use crate::config;
use crate::ids::WorkerId;
use crate::process::{Role, RoleEntry, role};
use crate::registry::{Registry, RegistryError};
use crate::wire::connection::over_socket;
use crate::wire::{Frame, Hello, Packet};

#[linkme::distributed_slice(role::ROLES)]
static WORKER: RoleEntry = RoleEntry {
    name: role::WORKER,
    run,
};

/// A worker that cannot take part.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("its runtime cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("its thread `ray-io` has ended")]
    Thread,
    #[error(transparent)]
    Ray(#[from] crate::RayError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the raylet refused it: {0}")]
    Refused(String),
    #[error("the raylet closed the connection before it was welcome")]
    NoWelcome,
    #[error("the settings that the raylet sent: {0}")]
    Config(#[from] config::ConfigError),
    #[error("the object store cannot be reached: {0}")]
    Store(#[from] ray_objstore::Error),
}

fn run(role: Role) -> i32 {
    match start(role.control) {
        Ok(worker) => {
            let code = worker.executor.serve(&worker);
            // Frames in line must leave before the process does.
            worker.drain();
            code
        }
        Err(error) => {
            tracing::error!(target: "ray_core::worker", %error, "a worker cannot start");
            #[expect(
                clippy::print_stderr,
                reason = "the only place where anybody would look: no logger is set up yet"
            )]
            {
                eprintln!("a ray worker cannot start: {error}");
            }
            1
        }
    }
}

/// Starts the thread that carries frames, and waits until the raylet has welcomed this process.
fn start(control: OwnedFd) -> Result<Arc<Worker>, Error> {
    execute::install_hook();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, welcomed) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("ray-io".into()).spawn(move || {
        runtime.block_on(async move {
            match join(control).await {
                Ok((worker, receiver)) => {
                    set_current(Some(worker.clone()));
                    if ready.send(Ok(worker.clone())).is_ok() {
                        serve(worker, receiver).await;
                    }
                }
                // The main thread reports it.
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    welcomed.recv().map_err(|_| Error::Thread)?
}

async fn join(control: OwnedFd) -> Result<(Arc<Worker>, crate::wire::Receiver), Error> {
    let (sender, mut receiver) = over_socket(control)?;
    let registry = Registry::global()?;
    let hello = Hello::of_this_process(WorkerId::default(), registry.table_hash());
    sender.send(Frame::Hello { hello: Box::new(hello) });
    let (welcome, fds) = match receiver.recv().await {
        Some(Packet {
            frame: Frame::Welcome { welcome },
            fds,
        }) => (welcome, fds),
        Some(Packet {
            frame: Frame::Refused { why },
            ..
        }) => return Err(Error::Refused(why)),
        _ => return Err(Error::NoWelcome),
    };
    let store = fds.into_iter().next().ok_or(Error::NoWelcome)?;
    let store = ray_objstore::Client::new(store)?;
    let identity = Identity::new(welcome.worker, &welcome);
    let config = config::Cluster::received(&welcome.config)?;
    let worker = Worker::new(identity, config, sender, store, tokio::runtime::Handle::current())?;
    Ok((worker, receiver))
}
