//! The port of a node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::gcs;
use crate::ids::NodeId;
use crate::wire::connection::over_socket;
use crate::wire::tcp::{ListenError, Listener};
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

/// A node's port, on which others are heard until it drops.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Port {
    /// Listens; port 0 takes any. Only a head has a `cluster`.
    pub(crate) async fn open(
        host: IpAddr,
        port: u16,
        token: Token,
        cluster: Option<Cluster>,
    ) -> Result<Self, ListenError> {
        let mut listener = Listener::bind(&SocketAddr::new(host, port).to_string(), token).await?;
        let address = listener.address();
        let cluster = cluster.map(Arc::new);
        let accepting = tokio::spawn(async move {
            while let Some(socket) = listener.accept().await {
                tokio::spawn(attend(socket, cluster.clone()));
            }
        });
        Ok(Self { address, accepting })
    }

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

async fn attend(socket: OwnedFd, cluster: Option<Arc<Cluster>>) {
    let (sender, mut receiver) = match over_socket(socket) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(target: "ray_core::head", %error, "a connection of another node cannot be used");
            return;
        }
    };
    let first = match tokio::time::timeout(FIRST_WITHIN, receiver.recv()).await {
        Ok(Some(Packet { frame, .. })) => frame,
        Ok(None) => return,
        Err(_elapsed) => {
            tracing::warn!(target: "ray_core::head", "another node connected and said nothing within {FIRST_WITHIN:?}");
            return;
        }
    };
    match (first, cluster) {
        (Frame::JoinCluster { node }, Some(cluster)) => joins(node, &cluster, (sender, receiver)).await,
        (Frame::Alive { node }, Some(cluster)) => follow(node, &cluster, &sender, receiver).await,
        (Frame::JoinCluster { .. } | Frame::Alive { .. }, None) => {
            let why = "this node is not the head of its cluster: give the head's address".to_owned();
            sender.send(Frame::Refused { why });
            // Until the other end has read that.
            let _end = tokio::time::timeout(FIRST_WITHIN, receiver.recv()).await;
        }
        (other, _) => {
            tracing::warn!(target: "ray_core::head", ?other, "a frame that no connection between nodes begins with");
        }
    }
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
