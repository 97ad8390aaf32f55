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

pub(crate) use dial::{DialError, dial};
pub(crate) use listener::{ListenError, Listener};
pub(crate) use single::{read_one, write_one};
