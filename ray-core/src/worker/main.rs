//! The life of a worker process, from take-over to exit.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::join::{Introduction, JoinError, join};
use super::{Worker, execute, serve, set_current};
use crate::process::{Role, RoleEntry, role};
use crate::wire::Receiver;
use crate::wire::connection::over_socket;

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
    #[error("it cannot join its raylet: {0}")]
    Join(#[from] JoinError),
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
            match join_by(control).await {
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

async fn join_by(control: OwnedFd) -> Result<(Arc<Worker>, Receiver), Error> {
    Ok(join(over_socket(control)?, Introduction::Worker).await?)
}
