//! One line of the table: what is measured, against which target and floor.

use anyhow::Result;

use crate::context::Context;
use crate::floors::Floor;
use crate::sample::Sample;

/// The unit of a row's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    PerSecond,
    GibPerSecond,
    Bytes,
    Mib,
    PercentOfOneCore,
}

impl Unit {
    /// The unit as a report writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::PerSecond => "1/s",
            Self::GibPerSecond => "GiB/s",
            Self::Bytes => "bytes",
            Self::Mib => "MiB",
            Self::PercentOfOneCore => "%",
        }
    }

    /// A floor's value (in seconds, or a rate) in this unit.
    pub(crate) fn of_floor(self, value: f64) -> f64 {
        match self {
            Self::Milliseconds => value * 1e3,
            Self::Microseconds => value * 1e6,
            _ => value,
        }
    }
}

/// What a row has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Target {
    /// Whether `value`, with its `ratio` to the floor, reaches the target; `None` when the ratio is needed and missing.
    pub(crate) fn met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::RatioAtMost(limit) => ratio.map(|ratio| ratio <= limit),
            Self::RatioAtLeast(limit) => ratio.map(|ratio| ratio >= limit),
        }
    }

    /// How often `value` is better than `peer`.
    pub(crate) fn times_better(self, value: f64, peer: f64) -> f64 {
        match self {
            Self::AtMost(_) | Self::RatioAtMost(_) => peer / value,
            Self::AtLeast(_) | Self::RatioAtLeast(_) => value / peer,
        }
    }
}

/// Which process a repeat runs in. It is never one that measured another row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeats {
    /// All in one, as the calls of a program.
    InOneProcess,
    /// Each in a fresh one: what is measured is the first time, or memory that an allocator would keep and reuse.
    InFreshProcesses,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name in table and JSON.
    pub(crate) metric: &'static str,
    /// The unit of its value.
    pub(crate) unit: Unit,
    /// What it has to reach.
    pub(crate) target: Target,
    /// What it is compared with.
    pub(crate) floor: Option<Floor>,
    /// Where its repeats run.
    pub(crate) repeats: Repeats,
    /// Measures it, as often as the context says; `None` where ray-core does not have the ability yet.
    pub(crate) measure: fn(&Context) -> Result<Option<Sample>>,
}

impl Row {
    /// Measures the row in this process.
    pub(crate) fn measure(&self, context: &Context) -> Result<Option<Sample>> {
        (self.measure)(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_on_the_ratio_is_neither_met_nor_missed_without_a_floor() {
        assert_eq!(Target::RatioAtMost(1.5).met(1.0, None), None);
        assert_eq!(Target::RatioAtMost(1.5).met(99.0, Some(1.5)), Some(true));
        assert_eq!(Target::RatioAtLeast(0.85).met(99.0, Some(0.8)), Some(false));
    }

    #[test]
    fn better_means_less_for_a_time_and_more_for_a_rate() {
        assert_eq!(Target::AtMost(1.0).times_better(2.0, 8.0), 4.0);
        assert_eq!(Target::AtLeast(1.0).times_better(8.0, 2.0), 4.0);
    }

    #[test]
    fn a_floor_in_seconds_is_compared_in_the_unit_of_the_row() {
        assert_eq!(Unit::Microseconds.of_floor(0.000_043), 43.0);
        assert_eq!(Unit::GibPerSecond.of_floor(12.5), 12.5);
    }
}
