//! Every frame that driver, worker, raylet and GCS exchange on one node.
//!
//! One enum, [`Frame`], so that any connection can carry any of them and a wrong one is a typed protocol error. What its
//! messages are made of stands beside it by subject.

mod actors;
mod checkpoints;
mod death;
mod frame;
mod gcs;
mod groups;
pub(super) mod handshake;
mod leases;
mod nodes;
mod tasks;
mod values;

pub use actors::{ActorInfo, ActorSpec, ActorState};
pub use checkpoints::{CheckpointSpec, SaveState, SavedAnswer, SavedCaller, SavedCalls};
pub use death::DeathCause;
pub use frame::Frame;
pub use gcs::{GcsEvent, GcsReply, GcsRequest};
pub use groups::{GroupInfo, GroupState};
pub use handshake::{HeadSetup, Hello, JobSetup, Welcome};
pub use leases::{HostLease, LeaseShape, SchedulingStrategy};
pub use nodes::{GuestJob, NodeInfo, NodeReport, NodeStanding, WorkerReport};
pub use tasks::{ActorCallSpec, RetryExceptions, StreamSpec, TaskSpec};
pub use values::{ArgSpec, MOST_INLINE, ObjectValue, TaskOutcome};

/// The declarations of all of these, as text. Their order is part of the layout's fingerprint.
pub const FRAME_LAYOUTS: &[&[&str]] = &[
    frame::LAYOUTS,
    handshake::LAYOUTS,
    leases::LAYOUTS,
    death::LAYOUTS,
    tasks::LAYOUTS,
    values::LAYOUTS,
    actors::SPEC_LAYOUTS,
    checkpoints::LAYOUTS,
    gcs::LAYOUTS,
    actors::STANDING_LAYOUTS,
    groups::LAYOUTS,
    nodes::LAYOUTS,
];
