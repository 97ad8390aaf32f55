//! Following the log files of workers.
//!
//! A worker writes to append-only files, never to pipes: a slow reader cannot stop it, its last words survive it, and
//! nothing is lost when the driver restarts. The follower reads what is new, cuts it into lines, prefixes each with its
//! source, and counts repetitions instead of showing them.

mod dedup;
mod follower;
mod following;
mod lines;
mod watcher;

pub use dedup::Deduplicator;
pub use follower::{Follow, FollowId, LogFollower, LogLine, Options, Stream};
pub use lines::Lines;
