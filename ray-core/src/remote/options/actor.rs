//! The options of an actor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CheckpointPolicy, Isolation, SchedulingStrategy, UNLIMITED};

/// How long an actor lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lifetime {
    /// Until its last handle drops.
    #[default]
    NonDetached,
    /// Until it is killed, also when its job has ended. One of isolation `shared` ends with the process that hosts it.
    Detached,
}

/// The options of an actor; the attribute sets them for all, `Counter::options()` for some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorOptions {
    /// CPUs held as long as it lives. Without a number, 1 while it is placed and 0 afterwards.
    pub num_cpus: Option<f64>,
    /// GPUs held as long as it lives; 0.
    pub num_gpus: f64,
    /// Further resources, by name.
    pub resources: BTreeMap<String, f64>,
    /// Bytes of memory to reserve for scheduling.
    pub memory: Option<u64>,
    /// A name by which others find it.
    pub name: Option<String>,
    /// The namespace of the name; the job's own if there is none.
    pub namespace: Option<String>,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Whether a living actor of this name is taken instead of an error.
    pub get_if_exists: bool,
    /// Calls at once. Without a number 1000 async calls, and as many sync `&self` calls as the node has CPUs.
    pub max_concurrency: Option<u32>,
    /// Groups of methods with their own limit of calls at once.
    pub concurrency_groups: BTreeMap<String, u32>,
    /// Restarts after a death; 0, [`UNLIMITED`] for no limit.
    pub max_restarts: i32,
    /// Attempts of a call after the first one, when the actor died under it, or its result was lost; 0, [`UNLIMITED`] for
    /// no limit.
    pub max_task_retries: i32,
    /// Calls that may wait at one handle; no limit ([`UNLIMITED`]).
    pub max_pending_calls: i32,
    /// Where it runs; a process of its own.
    pub isolation: Isolation,
    /// On which node it runs.
    pub scheduling_strategy: SchedulingStrategy,
    /// When its state is saved, if it implements [`Checkpoint`](crate::remote::Checkpoint).
    pub checkpoint: Option<CheckpointPolicy>,
    /// Where its state is saved: a directory, or with the feature `storage` a URL of object storage, in which a named
    /// actor goes on in a later run; the session directory if there is none.
    pub checkpoint_place: Option<String>,
}

impl Default for ActorOptions {
    fn default() -> Self {
        Self {
            num_cpus: None,
            num_gpus: 0.0,
            resources: BTreeMap::new(),
            memory: None,
            name: None,
            namespace: None,
            lifetime: Lifetime::NonDetached,
            get_if_exists: false,
            max_concurrency: None,
            concurrency_groups: BTreeMap::new(),
            max_restarts: 0,
            max_task_retries: 0,
            max_pending_calls: UNLIMITED,
            isolation: Isolation::Process,
            scheduling_strategy: SchedulingStrategy::Default,
            checkpoint: None,
            checkpoint_place: None,
        }
    }
}
