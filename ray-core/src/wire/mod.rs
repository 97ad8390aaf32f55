//! What driver, worker, raylet and GCS say to each other, and how it gets across.
//!
//! - [`frames`]: every message and what it is made of, declared once;
//! - [`codec`]: how they become bytes;
//! - [`connection`]: in order, without loss, inside one process or over a Unix socket, descriptors included;
//! - [`handshake`]: who may talk to whom;
//! - [`tcp`]: between nodes, for who has the cluster's [`token`];
//! - [`blocking`]: the same bytes by blocking calls, for a thread that does nothing else.
//!
//! *Absent on purpose:* nothing here knows what a task, a lease or an actor means.

pub mod blocking;
pub mod codec;
pub mod connection;
pub mod frames;
pub mod handshake;
mod socket;
pub(crate) mod tcp;
#[cfg(test)]
mod testing;
pub(crate) mod token;

pub use codec::{Reader, Wire, WireError, from_bytes, to_bytes};
pub(crate) use codec::{wire_type, wire_types};
pub use connection::{Packet, Receiver, Sender};
pub use frames::*;
