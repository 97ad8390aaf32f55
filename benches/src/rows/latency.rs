//! One call after another: what a wait for one answer costs.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// A no-op task in a worker process, p50 of a tight loop.
pub(super) const TASK_SYNC_PROCESS: Row = Row {
    metric: "task_sync_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(0.25),
    floor: Some(Floor::SocketTight),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// A call on an actor in a worker process, p50 of a tight loop.
pub(super) const ACTOR_CALL_SYNC_PROCESS: Row = Row {
    metric: "actor_call_sync_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(0.25),
    floor: Some(Floor::SocketTight),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// A no-op task in a worker process, 1 ms between two calls.
pub(super) const TASK_SYNC_PACED_PROCESS: Row = Row {
    metric: "task_sync_paced_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(1.5),
    floor: Some(Floor::SocketPaced),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// A no-op task in the driver's process.
pub(super) const TASK_SYNC_SHARED: Row = Row {
    metric: "task_sync_us_shared",
    unit: Unit::Microseconds,
    target: Target::AtMost(3.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// A call on an actor in the driver's process.
pub(super) const ACTOR_CALL_SYNC_SHARED: Row = Row {
    metric: "actor_call_sync_us_shared",
    unit: Unit::Microseconds,
    target: Target::AtMost(3.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};
