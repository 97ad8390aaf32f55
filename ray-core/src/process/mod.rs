//! Processes of one node: how they are born, how they take over, how their death is told.
//!
//! Invariants:
//!
//! - PR-1: every child is spawned by the one thread of a [`Spawner`](spawn::Spawner), because the parent-death signal fires
//!   when the spawning *thread* ends. A dropped spawner ends its children.
//! - PR-2: a child holds descriptors 0 to 2, its executable, and what its request names; everything else is closed.
//! - PR-3: a process group is killed while its leader's zombie still holds the number, so no stranger can be hit.
//! - PR-4: children are reaped through their own pidfd only. The library never waits for "any child", and installs no
//!   signal handler in a driver.
//! - PR-5: a process takes over only if this crate lies in the main executable, the kernel does not ask for a secure
//!   execution, and the role variable names a socket that the parent made for exactly this child.
//! - PR-6: user code in a role (constructors too) sees neither the role variable nor the control socket's number.

pub mod child;
pub mod death;
#[cfg(feature = "cli")]
mod detached;
pub mod error;
pub mod executable;
pub mod role;
pub mod setup;
pub mod spawn;
pub mod stack;
pub mod takeover;

pub use child::Spawned;
pub(crate) use child::watch_handle;
pub use death::Death;
#[cfg(feature = "cli")]
pub(crate) use detached::start_again_detached;
pub use error::Error;
pub use executable::Executable;
pub use role::{Role, RoleEntry};
pub use spawn::{Output, SpawnRequest, SpawnRole, Spawner};
