//! A node that lives by itself, as `ray start` starts it: head, raylet and store, for any number of drivers, one after
//! another or at once. They come through a Unix socket in the session's directory, which only its user can enter.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

use super::cluster::{self, Cluster, Door, JoinError, Port, Pulse, own_address};
use super::here::Surroundings;
use super::{Error, Plan, here, output};
use crate::raylet::{self, Peer};
use crate::session::{self, Session};
use crate::wire::connection::over_socket;
use crate::wire::tcp::ListenError;
use crate::wire::token::Token;
use crate::{config, gcs};

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
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("its thread for signs of life: {0}")]
    Pulse(io::Error),
}

/// The part that a node has in its cluster.
#[derive(Debug)]
pub(crate) enum Part {
    /// It is the head, and listens on this port; 0 is any.
    Head { port: u16 },
    /// It joins the head at this address.
    Worker { head: String },
}

/// A node that runs, and its ways to other nodes.
struct Started {
    raylet: raylet::Handle,
    port: Port,
    /// The way to the head, of a node that is none.
    _pulse: Option<Pulse>,
}

/// Runs a node until somebody asks it to end, or `until` does. `ready` is called once drivers can come.
pub(crate) async fn run_node(
    plan: Plan,
    (part, host, token): (Part, Option<IpAddr>, Token),
    ready: impl FnOnce(&Session, SocketAddr),
    until: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let session = plan.session.clone();
    let claim = session.claim_node()?;
    let Started { raylet, port, _pulse } = match part {
        Part::Head { port } => start_head(plan, host.unwrap_or_else(own_address), port, token).await?,
        Part::Worker { head } => start_worker(plan, host, &head, token).await?,
    };
    let listener = listen(&session)?;
    let accepting = tokio::spawn(accept(listener, raylet.clone()));
    if let Some(claim) = &claim {
        claim.announce()?;
    }
    ready(&session, port.address());
    tokio::select! {
        () = raylet.stopped() => {}
        () = until => {}
    }
    // Until then it is this node that runs here.
    raylet.shutdown().await;
    accepting.abort();
    Ok(())
}

async fn start_head(plan: Plan, host: IpAddr, port: u16, token: Token) -> Result<Started, NodeError> {
    let gcs = gcs::serve();
    let config = config::Cluster::received(&plan.setup.cluster_config).map_err(Error::Config)?;
    let cluster = Cluster {
        gcs: gcs.clone(),
        config: plan.setup.cluster_config.clone(),
        silence: Duration::from_millis(config.health_check_timeout_ms),
    };
    let door = Door::open(host, port, token.clone()).await?;
    let near = here::connect(&gcs).await?;
    let raylet = here::start_raylet(plan.setup, plan.session, surroundings(&door, token), near)?;
    Ok(Started {
        port: door.serve(raylet.clone(), Some(cluster)),
        raylet,
        _pulse: None,
    })
}

async fn start_worker(mut plan: Plan, host: Option<IpAddr>, head: &str, token: Token) -> Result<Started, NodeError> {
    let node = plan.setup.node;
    let joined = cluster::join(head, &token, node).await?;
    let door = Door::open(host.unwrap_or(joined.own), 0, token.clone()).await?;
    let config = config::Cluster::received(&joined.cluster_config).map_err(Error::Config)?;
    plan.setup.cluster_config = joined.cluster_config;
    let raylet = here::start_raylet(plan.setup, plan.session, surroundings(&door, token), joined.gcs)?;
    let lost = raylet.clone();
    let pulse = Pulse::start(
        node,
        joined.alive,
        Duration::from_millis(config.health_check_period_ms),
        // The head, which all depend on, gets longer than they get from it.
        2 * Duration::from_millis(config.health_check_timeout_ms),
        move |why| lost.head_lost(why),
    );
    Ok(Started {
        port: door.serve(raylet.clone(), None),
        raylet,
        _pulse: Some(pulse.map_err(NodeError::Pulse)?),
    })
}

fn surroundings(door: &Door, token: Token) -> Surroundings {
    Surroundings {
        address: door.address().to_string(),
        token: Some(token),
    }
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
