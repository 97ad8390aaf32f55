//! Birth and size of actors.

use std::time::Instant;

use anyhow::Result;

use super::work::{Counter, SharedCounter};
use crate::context::Context;
use crate::floors::Floor;
use crate::procfs;
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
    measure: create_shared,
};

/// Memory of one idle actor over its state, out of a million in the driver's process.
pub(super) const ONE_MILLION_SHARED: Row = Row {
    metric: "actors_1m_shared_bytes",
    unit: Unit::Bytes,
    target: Target::AtMost(2_048.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: one_million_shared,
};

const KEPT: u32 = 50;
const MILLION: usize = 1_000_000;

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

fn create_shared(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut pids = Vec::new();
    let values = context.repeat(|| {
        let mut kept = Vec::new();
        let started = Instant::now();
        for _ in 0..KEPT {
            let counter = SharedCounter::remote(0);
            pids.push(ray_core::get(&counter.pid())?);
            kept.push(counter);
        }
        Ok(started.elapsed().as_secs_f64() * 1e3 / f64::from(KEPT))
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn one_million_shared(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let own = std::process::id();
    let mut pids = Vec::new();
    let values = context.repeat(|| {
        let before = procfs::pss(own)?;
        let mut actors = Vec::with_capacity(MILLION);
        for _ in 0..MILLION {
            actors.push(SharedCounter::remote(0));
            // Every actor is there: a thousand at a time answer a call.
            if actors.len() % 1_000 == 0 {
                let last = actors.iter().rev().take(1_000);
                pids = ray_core::get(&last.map(|actor| actor.pid()).collect::<Vec<_>>())?;
            }
        }
        let grown = procfs::pss(own)? - before;
        Ok(grown / MILLION as f64 - size_of::<SharedCounter>() as f64)
    })?;
    Ok(Some(
        Sample::new(values)?
            .by(pids)
            .note("handles included; every actor has answered a call"),
    ))
}
