//! What a user types: [`init`], references and what can be done with them, handles, the runtime context.

mod actors;
mod admission;
pub(crate) mod blocking;
mod builder;
mod checkpoint;
mod cluster;
mod context;
mod get;
mod init;
mod local;
mod memory;
pub mod object_ref;
mod placement;
mod put;
mod stream;
pub mod submit;
mod template;
mod wait;

pub use actors::{ActorSummary, kill, list_actors};
pub use builder::Builder;
pub use checkpoint::CheckpointSummary;
pub use cluster::{NodeSummary, WorkerSummary, available_resources, cluster_resources, list_nodes, list_workers};
pub use context::{RuntimeContext, runtime_context};
pub use get::{Fetch, get, get_async, get_timeout};
pub use init::{Ray, init, init_or_join};
pub use memory::memory_report;
pub use object_ref::ObjectRef;
pub use placement::{
    Bundle, PlacementGroup, PlacementGroupOptions, PlacementGroupSummary, PlacementStrategy, current_placement_group,
    get_placement_group, placement_group, placement_group_table, remove_placement_group,
};
pub use put::put;
pub use stream::ObjectRefStream;
pub(crate) use wait::is_ready;
pub use wait::{cancel, cancel_with, wait, wait_async};
