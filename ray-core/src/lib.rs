//! Ray for Rust.

// Only the `ray` command opens the doors of a node, so far: without it much of that is unreachable. Builds with it see to
// what nobody uses.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

// Generated code names this crate by its own name, also within it.
extern crate self as ray_core;

#[doc(hidden)]
pub mod __private;
pub mod api;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
pub mod config;
pub mod error;
#[doc(hidden)]
pub mod gcs;
mod head;
#[doc(hidden)]
pub mod host;
mod id_hash;
pub mod ids;
pub mod logging;
pub mod memory;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod raylet;
pub mod registry;
pub mod remote;
pub mod scheduling;
#[doc(hidden)]
pub mod session;
mod storage;
#[doc(hidden)]
pub mod testing;
pub mod util;
pub mod value;
pub mod wire;
#[doc(hidden)]
pub mod worker;

#[cfg(doctest)]
mod pages;

pub use api::{
    ActorSummary, Builder, Bundle, CheckpointSummary, Fetch, NodeSummary, ObjectRef, ObjectRefStream, PlacementGroup,
    PlacementGroupOptions, PlacementGroupSummary, PlacementStrategy, Ray, RuntimeContext, WorkerSummary,
    available_resources, cancel, cancel_with, cluster_resources, current_placement_group, get, get_async,
    get_placement_group, get_timeout, init, init_or_join, kill, list_actors, list_nodes, list_workers, memory_report,
    placement_group, placement_group_table, put, remove_placement_group, runtime_context, wait, wait_async,
};
pub use error::{RayError, Result};
#[cfg(feature = "macros")]
pub use ray_core_macros::{remote, test, worker_setup};
pub use remote::{
    Actor, ActorHandle, ActorOptions, Arg, Checkpoint, CheckpointPolicy, Isolation, Lifetime, MethodOptions,
    OptionsError, RemoteValue, RetryBackoff, RetryExceptions, SchedulingStrategy, TaskError, TaskOptions, UNLIMITED,
};

/// What most programs need, in one `use`.
pub mod prelude {
    pub use crate::value::{Archived, Buffer, Tensor};
    #[cfg(feature = "arrow")]
    pub use crate::value::{Array, Table};
    pub use crate::{
        ActorHandle, Checkpoint, CheckpointPolicy, Isolation, ObjectRef, ObjectRefStream, Ray, RayError, RetryBackoff,
        get, get_async, get_timeout, init, init_or_join, kill, put, runtime_context, wait, wait_async,
    };
    #[cfg(feature = "macros")]
    pub use ray_core_macros::remote;
}
