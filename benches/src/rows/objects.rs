//! The object store: put, get, wait.

use super::not_built_yet;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};

/// `put` of 1 GiB into memory that the store has used before.
pub(super) const PUT: Row = Row {
    metric: "put_gib_per_s",
    unit: Unit::GibPerSecond,
    target: Target::RatioAtLeast(0.85),
    floor: Some(Floor::CopyTouched),
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `put` of 1 GiB into memory that was never touched.
pub(super) const PUT_FRESH: Row = Row {
    metric: "put_fresh_gib_per_s",
    unit: Unit::GibPerSecond,
    target: Target::RatioAtLeast(2.0),
    floor: Some(Floor::CopyFresh),
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// `get` of 1 GiB in the process that put it; does not depend on the size.
pub(super) const GET_1GIB: Row = Row {
    metric: "get_1gib_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `get` of 1 GiB in a new process and the first read of each page.
pub(super) const GET_1GIB_FRESH_WORKER: Row = Row {
    metric: "get_1gib_fresh_worker_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(80.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `put` of 1 KiB.
pub(super) const PUT_SMALL: Row = Row {
    metric: "put_small_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(2.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `get` of 1 KiB that lies in the store.
pub(super) const GET_SMALL: Row = Row {
    metric: "get_small_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(2.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `wait` for all of 1,000 references that are ready.
pub(super) const WAIT_1K: Row = Row {
    metric: "wait_1k_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(500.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// `get` of 10,000 references.
pub(super) const GET_10K_REFS: Row = Row {
    metric: "get_10k_refs_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};
