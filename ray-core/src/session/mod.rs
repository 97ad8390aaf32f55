//! A session on disk: where its logs, sockets and spilled objects lie.
//!
//! `<base>/session_<time>_<pid>/{logs,sockets,spill}`, with `checkpoints` once an actor is saved there, and `<base>/session_latest` points to the newest,
//! `<base>/ray_current_cluster` to that of the node that `ray start` has started.
//!
//! - SE-1: every directory made here has mode 0700 and this user as its owner, and is opened without following links.
//! - SE-2: a living session holds a lock on its directory; who gets that lock knows that the session is over. (Process ids
//!   would not do: containers share a file system and not their ids.)
//! - SE-3: of sessions that are over, sockets, spilled objects and states of actors go, which nobody can use any more; what is in its
//!   logs stays, while it is among the newest hundred, and a session without any goes altogether.

mod base;
mod directory;
mod error;
pub mod logs;
mod node;
mod sweep;

pub use directory::Session;
pub(crate) use directory::{CHECKPOINTS, PROGRAMS};
pub use error::Error;
pub(crate) use node::connect_to_node;
#[cfg(feature = "cli")]
pub(crate) use node::{NODE_SOCKET, NoNode};
