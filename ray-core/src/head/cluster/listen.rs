//! The port of a node.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::gcs;
use crate::ids::NodeId;
use crate::raylet;
use crate::wire::connection::over_socket;
use crate::wire::tcp::{ListenError, Listener, keep_open, read_one, write_one};
use crate::wire::token::Token;
use crate::wire::{Frame, Packet, Receiver, Sender};

/// How long who has proved the token may take to say what it wants.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// What a head answers other nodes with.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) gcs: gcs::Handle,
    /// Settings of cluster scope, as text.
    pub(crate) config: BTreeMap<String, String>,
    /// After this time without a sign of life a node is dead.
    pub(crate) silence: Duration,
}

/// A node's port, before anybody is heard there.
#[derive(Debug)]
pub(crate) struct Door(Listener);

/// A node's port, on which others are heard until it drops.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Door {
    /// Listens; port 0 takes any.
    pub(crate) async fn open(host: IpAddr, port: u16, token: Token) -> Result<Self, ListenError> {
        let address = SocketAddr::new(host, port).to_string();
        Ok(Self(Listener::bind(&address, token).await?))
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Hears whoever comes. Only a head has a `cluster`.
    pub(crate) fn serve(self, raylet: raylet::Handle, cluster: Option<Cluster>) -> Port {
        let address = self.address();
        let cluster = cluster.map(Arc::new);
        let accepting = tokio::spawn(async move {
            let Self(mut listener) = self;
            while let Some(socket) = listener.accept().await {
                let (raylet, cluster) = (raylet.clone(), cluster.clone());
                tokio::spawn(async move {
                    if let Err(error) = attend(socket, &raylet, cluster).await {
                        tracing::warn!(target: "ray_core::head", %error, "a connection of another node");
                    }
                });
            }
        });
        Port { address, accepting }
    }
}

impl Port {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// CL-1.
async fn attend(socket: OwnedFd, raylet: &raylet::Handle, cluster: Option<Arc<Cluster>>) -> io::Result<()> {
    let mut stream = TcpStream::from_std(socket.into())?;
    let first = read_one(&mut stream, FIRST_WITHIN).await?;
    let socket = |stream: TcpStream| -> io::Result<OwnedFd> { Ok(stream.into_std()?.into()) };
    match (first, cluster) {
        (Frame::JoinCluster { node }, Some(cluster)) => joins(node, &cluster, over_socket(socket(stream)?)?).await,
        (Frame::Alive { node }, Some(cluster)) => {
            let (sender, receiver) = over_socket(socket(stream)?)?;
            follow(node, &cluster, &sender, receiver).await;
        }
        (Frame::JoinCluster { .. } | Frame::Alive { .. }, None) => {
            let why = "this node is not the head of its cluster: give the head's address".to_owned();
            write_one(&mut stream, &Frame::Refused { why }).await?;
        }
        (Frame::VisitNode { node }, _) => raylet.guests_come(node, over_socket(socket(stream)?)?).await,
        (Frame::Link { node, ticket }, _) => {
            write_one(&mut stream, &Frame::Link { node, ticket }).await?;
            let socket = socket(stream)?;
            keep_open(&socket)?;
            raylet.link(node, ticket, socket).await;
        }
        (Frame::FetchProgram { job }, _) => raylet.send_program(job, stream).await,
        (other, _) => {
            tracing::warn!(target: "ray_core::head", ?other, "a frame that no connection between nodes begins with");
        }
    }
    Ok(())
}

async fn joins(node: NodeId, cluster: &Cluster, (sender, receiver): (Sender, Receiver)) {
    let cluster_config = cluster.config.clone();
    sender.send(Frame::ClusterJoined { cluster_config });
    if cluster.gcs.join((sender, receiver)).await.is_err() {
        tracing::warn!(target: "ray_core::head", %node, "a node comes while the head ends");
    }
}

/// CL-2.
async fn follow(node: NodeId, cluster: &Cluster, sender: &Sender, mut receiver: Receiver) {
    loop {
        sender.send(Frame::Alive { node });
        match tokio::time::timeout(cluster.silence, receiver.recv()).await {
            Ok(Some(Packet {
                frame: Frame::Alive { .. },
                ..
            })) => {}
            // With the process, the connection to the GCS has ended too.
            Ok(_) => return,
            Err(_elapsed) => {
                let why = format!("it gave no sign of life for {:?}", cluster.silence);
                return cluster.gcs.lost(node, why).await;
            }
        }
    }
}
