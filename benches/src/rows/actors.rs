//! Birth and size of actors.

use std::time::Instant;

use anyhow::Result;

use super::not_built_yet;
use super::work::Counter;
use crate::context::Context;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;

/// Mean of 50 actors in processes, made one after another and kept, until the first call is answered.
pub(super) const CREATE_PROCESS: Row = Row {
    metric: "actor_create_ms_process",
    unit: Unit::Milliseconds,
    target: Target::AtMost(5.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: create_process,
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

const KEPT: u32 = 50;

fn create_process(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut pids = Vec::new();
    let values = context.repeat(|| {
        let mut kept = Vec::new();
        let started = Instant::now();
        for _ in 0..KEPT {
            let counter = Counter::remote(0);
            pids.push(ray_core::get(&counter.pid())?);
            kept.push(counter);
        }
        Ok(started.elapsed().as_secs_f64() * 1e3 / f64::from(KEPT))
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}
