//! Nodes of other processes and machines: the port that each node listens on, the way to the head, and signs of life.
//!
//! - CL-1: every connection begins with the proof of the cluster's token (`wire/tcp`); its first frame says what it is for.
//! - CL-2: a node's signs of life come from a thread that does nothing else, on a connection of their own: however busy the
//!   node is, it gives them. Who gives none for `health_check_timeout_ms` is dead, whatever its other connections do; so is
//!   one whose connection to the GCS has ended.
//! - CL-3: a node that hears nothing from its head for twice that time ends itself: the others have counted it among the dead.

mod join;
mod listen;
mod pulse;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

pub(crate) use join::{JoinError, join};
pub(crate) use listen::{Cluster, Door, Port};
pub(super) use pulse::Pulse;

/// The address of this machine that others reach it by: that from which packets for the world leave. None is sent.
pub(super) fn own_address() -> IpAddr {
    // An address of the documentation's network: it is never answered, and the route to it is the default one.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    probe.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
