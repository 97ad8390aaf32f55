//! The options of tasks, actors and method calls: plain data with Ray's defaults.
//!
//! A bad value is kept and becomes the error of the call's references, see [`TaskOptions::validate`]; constants in
//! attributes are checked by the compiler already.

mod actor;
mod builder;
mod method;
mod retry;
mod task;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use actor::{ActorOptions, Lifetime};
pub use method::{MethodChanges, MethodOptions};
pub use retry::{RetryBackoff, RetryExceptions};
pub use task::TaskOptions;
pub use validate::OptionsError;

use crate::ids::{NodeId, PlacementGroupId};

/// For `max_retries`, `max_restarts`, `max_task_retries` and `max_pending_calls`: no limit.
pub const UNLIMITED: i32 = -1;

/// A number that is a quantity of a resource: an integer or a fraction.
pub trait Amount {
    /// As a fraction.
    fn amount(self) -> f64;
}

macro_rules! amounts {
    ($($number:ty),*) => {$(
        impl Amount for $number {
            fn amount(self) -> f64 {
                self.into()
            }
        }
    )*};
}
amounts!(u8, u16, u32, i8, i16, i32, f32, f64);

impl Amount for usize {
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 of anything")]
    fn amount(self) -> f64 {
        self as f64
    }
}

/// Where a task or an actor runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Isolation {
    /// In a worker process, which runs one task at a time.
    #[default]
    Process,
    /// In a process shared by the job's work on that node; on the driver's node, the driver. Values between what runs there
    /// stay as they are. What only a process of its own can give (memory limits, restarts, `cancel` by force) is refused.
    ///
    /// An actor with a name, or a detached one, lives there whoever creates it, and every process finds and calls it. Any
    /// other lives in the process that creates it; its handles can be passed on all the same.
    Shared,
}

/// On which node a task or an actor runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SchedulingStrategy {
    /// Near its arguments, and packed until a node is half full.
    #[default]
    Default,
    /// Spread over the nodes.
    Spread,
    /// In a placement group.
    PlacementGroup {
        /// The group.
        group: PlacementGroupId,
        /// The bundle; any if there is none.
        bundle: Option<u32>,
        /// Whether what it starts runs in the group too.
        capture_child_tasks: bool,
    },
    /// On one node.
    NodeAffinity {
        /// The node.
        node: NodeId,
        /// Whether another node will do if that one is gone or full.
        soft: bool,
    },
}

impl SchedulingStrategy {
    /// In this group; a bundle and the capture of children that were set already stay.
    pub fn set_group(&mut self, group: PlacementGroupId) {
        let (_, bundle, capture) = self.in_group();
        self.set(group, bundle, capture);
    }

    /// In this bundle of the group.
    pub fn set_bundle(&mut self, index: u32) {
        let (group, _, capture) = self.in_group();
        self.set(group, Some(index), capture);
    }

    /// Whether what it starts runs in the group too.
    pub fn set_capture(&mut self, yes: bool) {
        let (group, bundle, _) = self.in_group();
        self.set(group, bundle, yes);
    }

    /// The parts of a placement group's, which can be set in any order: the group is nil as long as it was not.
    fn in_group(&self) -> (PlacementGroupId, Option<u32>, bool) {
        match self {
            Self::PlacementGroup {
                group,
                bundle,
                capture_child_tasks,
            } => (*group, *bundle, *capture_child_tasks),
            _ => Default::default(),
        }
    }

    fn set(&mut self, group: PlacementGroupId, bundle: Option<u32>, capture_child_tasks: bool) {
        *self = Self::PlacementGroup {
            group,
            bundle,
            capture_child_tasks,
        };
    }
}

/// When the state of an actor that implements [`Checkpoint`](super::Checkpoint) is saved. Both conditions may be set.
///
/// ```
/// use ray_core::CheckpointPolicy;
/// use std::time::Duration;
///
/// // As options, a number and a duration do as well: `.checkpoint(100_u32)`, `.checkpoint(Duration::from_secs(5))`.
/// let policy = CheckpointPolicy { every_calls: Some(100), every: Some(Duration::from_secs(5)) };
/// assert_eq!(CheckpointPolicy::from(100).every_calls, policy.every_calls);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckpointPolicy {
    /// After so many calls; 1 means that no answered call is ever lost.
    pub every_calls: Option<u32>,
    /// When so much time has passed since the last save and there were calls.
    pub every: Option<Duration>,
}

impl CheckpointPolicy {
    /// After so many calls.
    pub const fn every_calls(calls: u32) -> Self {
        Self {
            every_calls: Some(calls),
            every: None,
        }
    }

    /// When so much time has passed.
    pub const fn every(interval: Duration) -> Self {
        Self {
            every_calls: None,
            every: Some(interval),
        }
    }
}

impl From<u32> for CheckpointPolicy {
    fn from(calls: u32) -> Self {
        Self::every_calls(calls)
    }
}

impl From<Duration> for CheckpointPolicy {
    fn from(interval: Duration) -> Self {
        Self::every(interval)
    }
}
