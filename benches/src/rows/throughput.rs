//! Many calls at once.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::work::{Counter, SharedCounter, compute, hold, noop, noop_shared};
use crate::context::Context;
use crate::floors::Floor;
use crate::procfs;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;

/// No-op tasks in worker processes, all submitted, then all results got.
pub(super) const TASKS_ASYNC_PROCESS: Row = Row {
    metric: "tasks_async_per_s_process",
    unit: Unit::PerSecond,
    target: Target::AtLeast(300_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: tasks_async_process,
};

/// The same in the driver's process.
pub(super) const TASKS_ASYNC_SHARED: Row = Row {
    metric: "tasks_async_per_s_shared",
    unit: Unit::PerSecond,
    target: Target::AtLeast(1_000_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: tasks_async_shared,
};

/// Calls on one actor in a worker process, all submitted, then all results got.
pub(super) const ACTOR_CALLS_ASYNC_PROCESS: Row = Row {
    metric: "actor_calls_async_per_s_process",
    unit: Unit::PerSecond,
    target: Target::AtLeast(300_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: actor_calls_async_process,
};

/// The same in the driver's process.
pub(super) const ACTOR_CALLS_ASYNC_SHARED: Row = Row {
    metric: "actor_calls_async_per_s_shared",
    unit: Unit::PerSecond,
    target: Target::AtLeast(1_000_000.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: actor_calls_async_shared,
};

/// Two CPU-bound tasks at the same time while the driver waits; the ratio is the slowdown.
pub(super) const TWO_BUSY_WORKERS: Row = Row {
    metric: "two_busy_workers_slowdown",
    unit: Unit::Seconds,
    target: Target::RatioAtMost(1.03),
    floor: Some(Floor::TwoBusyProcesses),
    repeats: Repeats::InOneProcess,
    measure: two_busy_workers,
};

/// Memory of one queued task, out of a million.
pub(super) const QUEUE_1M_BYTES: Row = Row {
    metric: "queue_1m_tasks_bytes",
    unit: Unit::Bytes,
    target: Target::AtMost(1_024.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: queue_1m_bytes,
};

/// Submission and run of a million tasks.
pub(super) const QUEUE_1M_SECONDS: Row = Row {
    metric: "queue_1m_tasks_s",
    unit: Unit::Seconds,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: queue_1m_seconds,
};

const CALLS: u32 = 100_000;

fn tasks_async_process(context: &Context) -> Result<Option<Sample>> {
    many(context, || {
        Ok(ray_core::get(&(0..CALLS).map(|_| noop::remote()).collect::<Vec<_>>())?)
    })
}

fn actor_calls_async_process(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let counter = Counter::remote(0);
    many(context, || {
        Ok(ray_core::get(&(0..CALLS).map(|_| counter.pid()).collect::<Vec<_>>())?)
    })
}

fn tasks_async_shared(context: &Context) -> Result<Option<Sample>> {
    many(context, || {
        Ok(ray_core::get(
            &(0..CALLS).map(|_| noop_shared::remote()).collect::<Vec<_>>(),
        )?)
    })
}

fn actor_calls_async_shared(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let counter = SharedCounter::remote(0);
    many(context, || {
        Ok(ray_core::get(&(0..CALLS).map(|_| counter.pid()).collect::<Vec<_>>())?)
    })
}

/// Calls a second of `round`, which makes [`CALLS`] calls and answers with the processes that did the work.
fn many(context: &Context, mut round: impl FnMut() -> Result<Vec<u32>>) -> Result<Option<Sample>> {
    let _ray = ray_core::init_or_join()?;
    let mut pids: BTreeSet<u32> = round()?.into_iter().collect();
    let values = context.repeat(|| {
        let started = Instant::now();
        let by = round()?;
        let elapsed = started.elapsed();
        pids.extend(by);
        Ok(f64::from(CALLS) / elapsed.as_secs_f64())
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn two_busy_workers(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut pids = Vec::new();
    // Two warm workers, as the two plain processes are there before the clock starts.
    ray_core::get(&[compute::remote(), compute::remote()])?;
    let values = context.repeat(|| {
        let started = Instant::now();
        pids.extend(ray_core::get(&[compute::remote(), compute::remote()])?);
        Ok(started.elapsed().as_secs_f64())
    })?;
    let sample = Sample::new(values)?.by(pids);
    ensure!(sample.pids.len() >= 2, "one worker ran both tasks");
    Ok(Some(sample))
}

const QUEUED: u32 = 1_000_000;

fn queue_1m_bytes(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let own = std::process::id();
    let gate = std::env::temp_dir().join(format!("ray-bench-gate-{own}"));
    let mut pids = BTreeSet::new();
    let values = context.repeat(|| {
        fs::write(&gate, [])?;
        // Every worker waits at the gate, so that what is submitted stays queued.
        let held: Vec<_> = (0..thread::available_parallelism()?.get())
            .map(|_| hold::remote(gate.clone()))
            .collect();
        thread::sleep(Duration::from_millis(200));
        let before = procfs::pss(own)?;
        let tasks: Vec<_> = (0..QUEUED).map(|_| noop::remote()).collect();
        thread::sleep(Duration::from_millis(500));
        let grown = procfs::pss(own)? - before;
        fs::remove_file(&gate)?;
        ray_core::get(&held)?;
        pids.extend(ray_core::get(&tasks)?);
        Ok(grown / f64::from(QUEUED))
    })?;
    Ok(Some(Sample::new(values)?.by(pids).note(
        "memory of the driver, which holds the queue and the references",
    )))
}

fn queue_1m_seconds(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut pids = BTreeSet::new();
    let values = context.repeat(|| {
        let started = Instant::now();
        let tasks: Vec<_> = (0..QUEUED).map(|_| noop::remote()).collect();
        let by = ray_core::get(&tasks)?;
        let elapsed = started.elapsed();
        ensure!(by.len() == QUEUED as usize, "{} answers", by.len());
        pids.extend(by);
        Ok(elapsed.as_secs_f64())
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}
