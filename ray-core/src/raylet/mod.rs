//! One node: its worker processes, its resources, its leases.
//!
//! [`state`] decides, without a clock or a socket; [`service`] carries frames, spawns processes, and reports their deaths.
//!
//! *Absent on purpose:* the raylet never deserializes a user's value, and no task passes through it: owners push tasks
//! straight to the workers that they were leased.

mod census;
mod convert;
mod memory;
mod service;
mod state;
mod workers;

pub use service::{Error, Handle, JobOutput, Options, Peer, Raylet};
