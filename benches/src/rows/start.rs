//! Start and stop of a runtime.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// `init()` until it returns.
pub(super) const INIT: Row = Row {
    metric: "init_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// The first task after `init()`, the start of its worker included.
pub(super) const FIRST_TASK: Row = Row {
    metric: "first_task_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(15.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// Drop of the last runtime handle, store untouched, until no process is left.
pub(super) const SHUTDOWN: Row = Row {
    metric: "shutdown_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(50.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// The same with 1 GiB in the store.
pub(super) const SHUTDOWN_1GIB: Row = Row {
    metric: "shutdown_1gib_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(300.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};
