//! From SIGKILL to the answer.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// A worker is killed while it runs a task: until the retry has answered.
pub(super) const WORKER_KILL_TO_RETRY: Row = Row {
    metric: "worker_kill_to_retry_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// An actor's process is killed: until the restarted actor has answered a call.
pub(super) const ACTOR_KILL_TO_RESTART: Row = Row {
    metric: "actor_kill_to_restart_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};
