//! The way of a node to its head.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::ids::NodeId;
use crate::wire::connection::over_socket;
use crate::wire::tcp::{DialError, dial};
use crate::wire::token::Token;
use crate::wire::{Frame, Packet, Receiver, Sender};

/// How long the head may take for each step.
const WITHIN: Duration = Duration::from_secs(10);

/// A cluster that cannot be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{address} refuses this node: {why}")]
    Refused { address: String, why: String },
    #[error("{address} closed the connection, or did not answer within {WITHIN:?}")]
    Silent { address: String },
    #[error("the connection to {address}: {source}")]
    Io { address: String, source: std::io::Error },
}

/// A node's connections to its head.
#[derive(Debug)]
pub(crate) struct Joined {
    /// For the frames of its raylet.
    pub(crate) gcs: (Sender, Receiver),
    /// For its signs of life.
    pub(crate) alive: OwnedFd,
    /// Settings of cluster scope, as text.
    pub(crate) cluster_config: BTreeMap<String, String>,
    /// This node's address, as the head sees it.
    pub(crate) own: IpAddr,
}

/// Joins the cluster of the head at this address.
pub(crate) async fn join(address: &str, token: &Token, node: NodeId) -> Result<Joined, JoinError> {
    let io = |source| JoinError::Io {
        address: address.to_owned(),
        source,
    };
    let socket = dial(address, token, WITHIN).await?;
    let own = local_address(&socket).map_err(io)?;
    let (sender, mut receiver) = over_socket(socket).map_err(io)?;
    sender.send(Frame::JoinCluster { node });
    let answer = tokio::time::timeout(WITHIN, receiver.recv()).await;
    let cluster_config = match answer {
        Ok(Some(Packet {
            frame: Frame::ClusterJoined { cluster_config },
            ..
        })) => cluster_config,
        Ok(Some(Packet {
            frame: Frame::Refused { why },
            ..
        })) => {
            let address = address.to_owned();
            return Err(JoinError::Refused { address, why });
        }
        _ => {
            let address = address.to_owned();
            return Err(JoinError::Silent { address });
        }
    };
    Ok(Joined {
        gcs: (sender, receiver),
        alive: dial(address, token, WITHIN).await?,
        cluster_config,
        own,
    })
}

fn local_address(socket: &OwnedFd) -> std::io::Result<IpAddr> {
    let socket = std::net::TcpStream::from(socket.try_clone()?);
    Ok(socket.local_addr()?.ip())
}
