//! The cluster's memory: nodes, actors, names, placement groups, keys.
//!
//! [`Gcs`] is a pure state machine from frames to frames; [`serve`] carries frames between it and the raylets. A process
//! speaks to the GCS through its raylet, which fills in who asks, so that the GCS holds one connection a node.
//!
//! *Absent on purpose:* the GCS knows no object and no task; it never sees a user's value but as bytes it stores.

mod actors;
mod groups;
mod jobs;
mod kv;
mod nodes;
mod service;
mod state;

pub use service::{Handle, serve};
pub use state::{Effect, Gcs};
