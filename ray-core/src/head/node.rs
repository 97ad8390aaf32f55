//! A node that lives by itself, as `ray start` starts it: head, raylet and store, for any number of drivers, one after
//! another or at once. They come through a Unix socket in the session's directory, which only its user can enter.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

use super::{Error, Plan, here, output};
use crate::raylet::{self, Peer};
use crate::session::{self, Session};
use crate::wire::connection::over_socket;

/// A pause after `accept` failed: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(50);

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Head(#[from] Error),
    #[error("its socket {path}: {source}")]
    Socket { path: String, source: io::Error },
    #[error(transparent)]
    Session(#[from] session::Error),
}

/// Runs a node until somebody asks it to end, or `until` does. `ready` is called once drivers can come.
pub(crate) async fn run_node(
    plan: Plan,
    ready: impl FnOnce(&Session),
    until: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let session = plan.session.clone();
    let claim = session.claim_node()?;
    let raylet = here::start(plan.setup, session.clone()).await?;
    let listener = listen(&session)?;
    let accepting = tokio::spawn(accept(listener, raylet.clone()));
    if let Some(claim) = &claim {
        claim.announce()?;
    }
    ready(&session);
    tokio::select! {
        () = raylet.stopped() => {}
        () = until => {}
    }
    // Until then it is this node that runs here.
    raylet.shutdown().await;
    accepting.abort();
    Ok(())
}

fn listen(session: &Arc<Session>) -> Result<UnixListener, NodeError> {
    let path = session.bindable(session::NODE_SOCKET);
    UnixListener::bind(path).map_err(|source| NodeError::Socket {
        path: session.socket(session::NODE_SOCKET).display().to_string(),
        source,
    })
}

async fn accept(listener: UnixListener, raylet: raylet::Handle) {
    let ours = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(target: "ray_core::head", %error, "a driver cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == ours => drop(tokio::spawn(attend(stream, peer, raylet.clone()))),
            Ok(peer) => {
                tracing::warn!(target: "ray_core::head", uid = peer.uid(), pid = peer.pid(), "a driver of another user is refused");
            }
            Err(error) => tracing::warn!(target: "ray_core::head", %error, "a driver whose user is unknown is refused"),
        }
    }
}

/// The process at the other end.
fn process_of(peer: &UCred) -> io::Result<Peer> {
    let pid = peer.pid().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(Peer {
        pid: pid.as_raw_nonzero().get().cast_unsigned(),
        handle: rustix::process::pidfd_open(pid, PidfdFlags::empty())?,
    })
}

async fn attend(stream: UnixStream, peer: UCred, raylet: raylet::Handle) {
    let process = match process_of(&peer) {
        Ok(process) => process,
        Err(error) => {
            tracing::warn!(target: "ray_core::head", %error, pid = peer.pid(), "a driver whose process cannot be watched is refused");
            return;
        }
    };
    match stream.into_std().and_then(|stream| over_socket(stream.into())) {
        Ok(connection) => {
            raylet
                .attend(connection, Some(process), output::to_driver_of_node)
                .await
        }
        Err(error) => tracing::warn!(target: "ray_core::head", %error, "a driver's socket cannot be used"),
    }
}
