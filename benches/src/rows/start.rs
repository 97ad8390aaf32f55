//! Start and stop of a runtime.

use std::time::Instant;

use anyhow::{Result, ensure};
use ray_core::prelude::*;

use super::work::noop;
use crate::context::Context;
use crate::floors::Floor;
use crate::procfs;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;

/// `init()` until it returns.
pub(super) const INIT: Row = Row {
    metric: "init_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: init,
};

/// The first task after `init()`, the start of its worker included.
pub(super) const FIRST_TASK: Row = Row {
    metric: "first_task_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(15.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InFreshProcesses,
    measure: first_task,
};

/// Drop of the last runtime handle, store untouched, until no process is left.
pub(super) const SHUTDOWN: Row = Row {
    metric: "shutdown_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(50.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: shutdown,
};

/// The same with 1 GiB in the store.
pub(super) const SHUTDOWN_1GIB: Row = Row {
    metric: "shutdown_1gib_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(300.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: shutdown_1gib,
};

fn init(context: &Context) -> Result<Option<Sample>> {
    let mut sample = None;
    let values = context.repeat(|| {
        let started = Instant::now();
        let ray = ray_core::init()?;
        let elapsed = started.elapsed();
        // While a runtime lives, since its threads are counted.
        sample = Some(Sample::new(Vec::new())?);
        drop(ray);
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(sample.map(|sample| Sample { values, ..sample }))
}

fn first_task(context: &Context) -> Result<Option<Sample>> {
    let (mut pids, mut sample) = (Vec::new(), None);
    let values = context.repeat(|| {
        let _ray = ray_core::init()?;
        let started = Instant::now();
        pids.push(ray_core::get(&noop::remote())?);
        let elapsed = started.elapsed();
        sample = Some(Sample::new(Vec::new())?);
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(sample.map(|sample| Sample { values, ..sample }.by(pids)))
}

fn shutdown(context: &Context) -> Result<Option<Sample>> {
    shutdown_after(context, || Ok(()))
}

fn shutdown_1gib(context: &Context) -> Result<Option<Sample>> {
    let buffer = Buffer::from_vec(vec![1_u8; 1 << 30]);
    shutdown_after(context, || Ok(ray_core::put(&buffer)?))
}

/// `prepare` gives what has to live until the runtime ends.
fn shutdown_after<T>(context: &Context, prepare: impl Fn() -> Result<T>) -> Result<Option<Sample>> {
    let (mut pids, mut sample) = (Vec::new(), None);
    let values = context.repeat(|| {
        let ray = ray_core::init()?;
        let workers = ray_core::get(&(0..100).map(|_| noop::remote()).collect::<Vec<_>>())?;
        let kept = prepare()?;
        sample = Some(Sample::new(Vec::new())?);
        let started = Instant::now();
        drop(ray);
        let elapsed = started.elapsed();
        ensure!(
            !workers.iter().any(|&pid| procfs::exists(pid)),
            "a worker outlived the runtime"
        );
        pids.extend(workers);
        drop(kept);
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(sample.map(|sample| Sample { values, ..sample }.by(pids)))
}
