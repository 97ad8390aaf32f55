//! What is built of tasks and actors alone: [`ActorPool`] and [`Queue`].

mod actor_pool;
#[cfg(feature = "macros")]
mod queue;

pub use actor_pool::{ActorPool, PoolMap};
#[cfg(feature = "macros")]
pub use queue::Queue;
