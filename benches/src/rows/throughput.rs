//! Many calls at once.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// No-op tasks in worker processes, all submitted, then all results got.
pub(super) const TASKS_ASYNC_PROCESS: Row = Row {
    metric: "tasks_async_per_s_process",
    unit: Unit::PerSecond,
    target: Target::AtLeast(300_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// The same in the driver's process.
pub(super) const TASKS_ASYNC_SHARED: Row = Row {
    metric: "tasks_async_per_s_shared",
    unit: Unit::PerSecond,
    target: Target::AtLeast(1_000_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// Calls on one actor in a worker process, all submitted, then all results got.
pub(super) const ACTOR_CALLS_ASYNC_PROCESS: Row = Row {
    metric: "actor_calls_async_per_s_process",
    unit: Unit::PerSecond,
    target: Target::AtLeast(300_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// The same in the driver's process.
pub(super) const ACTOR_CALLS_ASYNC_SHARED: Row = Row {
    metric: "actor_calls_async_per_s_shared",
    unit: Unit::PerSecond,
    target: Target::AtLeast(1_000_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// Two CPU-bound tasks at the same time while the driver waits; the ratio is the slowdown.
pub(super) const TWO_BUSY_WORKERS: Row = Row {
    metric: "two_busy_workers_slowdown",
    unit: Unit::Seconds,
    target: Target::RatioAtMost(1.03),
    floor: Some(Floor::TwoBusyProcesses),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// Memory of one queued task, out of a million.
pub(super) const QUEUE_1M_BYTES: Row = Row {
    metric: "queue_1m_tasks_bytes",
    unit: Unit::Bytes,
    target: Target::AtMost(1_024.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// Submission and run of a million tasks.
pub(super) const QUEUE_1M_SECONDS: Row = Row {
    metric: "queue_1m_tasks_s",
    unit: Unit::Seconds,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};
