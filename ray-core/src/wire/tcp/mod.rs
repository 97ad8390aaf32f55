//! TCP between the nodes of a cluster: whoever connects proves that it has the cluster's token, and so does the other end.
//!
//! - TC-1: before both ends have proved that they have the token, an end reads a fixed number of bytes within a fixed time,
//!   and allocates nothing that the peer has a say in.
//! - TC-2: the token itself never crosses the wire: each end answers the other's random challenge with a keyed hash over
//!   everything that was said so far (BLAKE3, keyed mode). A recorded conversation is worth nothing in the next one.
//! - TC-3: the end that dials proves itself first. So who only listens for a caller's answer learns nothing to guess from,
//!   and a stranger who connects learns nothing but which protocol this is.
//! - TC-4: a peer that differs in protocol, layout of frames or architecture is refused by name of both sides' values, before
//!   any proof.
//!
//! After the handshake the socket carries frames like any other ([`connection`](super::connection)); descriptors do not
//! travel over it. *Absent:* it knows no node and no process; what a connection is for, its first frame says.

mod dial;
mod handshake;
mod listener;
mod opening;
mod single;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

pub(crate) use dial::{DialError, dial};
pub(crate) use listener::{ListenError, Listener};
pub(crate) use single::{read_one, write_one};

/// A connection that carries nothing is tried after this time, and again at each such time.
const TRIED_EVERY: Duration = Duration::from_secs(1);
/// What the other end has not taken for so long ends the connection: the way there is cut.
const CUT_AFTER: Duration = Duration::from_secs(5);

/// For a connection between two processes, either of which may be stopped for as long as it likes: it ends with one of them, or
/// with one of their nodes.
pub(crate) fn keep_open(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, false)?;
    Ok(sockopt::set_tcp_user_timeout(socket, 0)?)
}

/// What every connection has: small frames leave at once, and a cut way is noticed.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, TRIED_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, TRIED_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, 5)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(CUT_AFTER.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
