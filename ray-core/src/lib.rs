//! Ray for Rust.

// Generated code names this crate by its own name, also within it.
extern crate self as ray_core;

#[doc(hidden)]
pub mod __private;
pub mod api;
pub mod ids;
pub mod registry;
pub mod remote;
pub mod value;

pub use api::object_ref::{ObjectRef, ObjectRefStream};
#[cfg(feature = "macros")]
pub use ray_core_macros::remote;
pub use remote::{
    Actor, ActorHandle, ActorOptions, Arg, Checkpoint, CheckpointPolicy, Isolation, Lifetime, MethodOptions,
    OptionsError, RemoteValue, RetryBackoff, RetryExceptions, SchedulingStrategy, TaskError, TaskOptions, UNLIMITED,
};
