//! Birth and size of actors.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// Mean of 50 actors in processes, made one after another and kept, until the first call is answered.
pub(super) const CREATE_PROCESS: Row = Row {
    metric: "actor_create_ms_process",
    unit: Unit::Milliseconds,
    target: Target::AtMost(5.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// The same in the driver's process.
pub(super) const CREATE_SHARED: Row = Row {
    metric: "actor_create_ms_shared",
    unit: Unit::Milliseconds,
    target: Target::AtMost(0.02),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// Memory of one idle actor over its state, out of a million in the driver's process.
pub(super) const ONE_MILLION_SHARED: Row = Row {
    metric: "actors_1m_shared_bytes",
    unit: Unit::Bytes,
    target: Target::AtMost(2_048.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};
