//! What an idle cluster costs.

use super::not_built_yet;
use crate::row::{Repeats, Row, Target, Unit};

/// Resident memory of an idle worker.
pub(super) const WORKER_RSS: Row = Row {
    metric: "worker_rss_mib",
    unit: Unit::Mib,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};

/// Proportional memory (PSS) of driver and two idle workers, without the driver's own data.
pub(super) const CLUSTER_RSS: Row = Row {
    metric: "cluster_rss_mib",
    unit: Unit::Mib,
    target: Target::AtMost(40.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: not_built_yet,
};

/// Processor time of all processes right after a burst of tasks.
pub(super) const IDLE_CPU: Row = Row {
    metric: "idle_cpu_percent",
    unit: Unit::PercentOfOneCore,
    target: Target::AtMost(0.3),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: not_built_yet,
};
