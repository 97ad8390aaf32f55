//! The object store: put, get, wait.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ray_core::prelude::*;

use super::work::{noop, read_every_page};
use crate::context::Context;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;
use crate::stats;

/// `put` of 1 GiB into memory that the store has used before.
pub(super) const PUT: Row = Row {
    metric: "put_gib_per_s",
    unit: Unit::GibPerSecond,
    target: Target::RatioAtLeast(0.85),
    floor: Some(Floor::CopyTouched),
    repeats: Repeats::InOneProcess,
    measure: put,
};

/// `put` of 1 GiB into memory that was never touched.
pub(super) const PUT_FRESH: Row = Row {
    metric: "put_fresh_gib_per_s",
    unit: Unit::GibPerSecond,
    target: Target::RatioAtLeast(2.0),
    floor: Some(Floor::CopyFresh),
    repeats: Repeats::InFreshProcesses,
    measure: put_fresh,
};

/// `get` of 1 GiB in the process that put it; does not depend on the size.
pub(super) const GET_1GIB: Row = Row {
    metric: "get_1gib_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: get_1gib,
};

/// `get` of 1 GiB in a new process and the first read of each page.
pub(super) const GET_1GIB_FRESH_WORKER: Row = Row {
    metric: "get_1gib_fresh_worker_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(80.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: get_1gib_fresh_worker,
};

/// `put` of 1 KiB.
pub(super) const PUT_SMALL: Row = Row {
    metric: "put_small_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(2.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: put_small,
};

/// `get` of 1 KiB that lies in the store.
pub(super) const GET_SMALL: Row = Row {
    metric: "get_small_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(2.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: get_small,
};

/// `wait` for all of 1,000 references that are ready.
pub(super) const WAIT_1K: Row = Row {
    metric: "wait_1k_us",
    unit: Unit::Microseconds,
    target: Target::AtMost(500.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: wait_1k,
};

/// `get` of 10,000 references.
pub(super) const GET_10K_REFS: Row = Row {
    metric: "get_10k_refs_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: get_10k_refs,
};

const GIB: usize = 1 << 30;

fn put(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let buffer = Buffer::from_vec(vec![1_u8; GIB]);
    drop(ray_core::put(&buffer)?);
    let values = context.repeat(|| {
        thread::sleep(Duration::from_millis(50)); // the object of the last repeat is freed
        let started = Instant::now();
        let object = ray_core::put(&buffer)?;
        let elapsed = started.elapsed();
        drop(object);
        Ok(1.0 / elapsed.as_secs_f64())
    })?;
    Ok(Some(Sample::new(values)?))
}

fn put_fresh(context: &Context) -> Result<Option<Sample>> {
    let buffer = Buffer::from_vec(vec![1_u8; GIB]);
    let mut sample = None;
    let values = context.repeat(|| {
        let _ray = ray_core::init()?;
        let started = Instant::now();
        let object = ray_core::put(&buffer)?;
        let elapsed = started.elapsed();
        drop(object);
        sample = Some(Sample::new(Vec::new())?);
        Ok(1.0 / elapsed.as_secs_f64())
    })?;
    Ok(sample.map(|sample| Sample { values, ..sample }))
}

fn get_1gib(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let large = ray_core::put(&Buffer::from_vec(vec![1_u8; GIB]))?;
    let small = ray_core::put(&Buffer::from_vec(vec![1_u8; 1 << 20]))?;
    let p50_us = |object: &ObjectRef<Buffer>| -> Result<f64> {
        let p50 = stats::call_p50(100, 2_000, Duration::ZERO, || ray_core::get(object).map(drop))?;
        Ok(p50 * 1e6)
    };
    let of_1_mib = stats::median(&context.repeat(|| p50_us(&small))?);
    let values = context.repeat(|| p50_us(&large))?;
    Ok(Some(Sample::new(values)?.note(format!("1 MiB: {of_1_mib:.2} us"))))
}

fn get_1gib_fresh_worker(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let object = ray_core::put(&Buffer::from_vec(vec![1_u8; GIB]))?;
    let mut pids = Vec::new();
    let values = context.repeat(|| {
        let (seconds, pid) = ray_core::get(&read_every_page::remote(object.clone()))?;
        ensure!(!pids.contains(&pid), "the worker {pid} is not new");
        pids.push(pid);
        Ok(seconds * 1e3)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn put_small(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let buffer = Buffer::from_vec(vec![1_u8; 1_024]);
    let values = context.repeat(|| {
        let p50 = stats::call_p50(500, 20_000, Duration::ZERO, || ray_core::put(&buffer).map(drop))?;
        Ok(p50 * 1e6)
    })?;
    Ok(Some(Sample::new(values)?))
}

fn get_small(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let object = ray_core::put(&Buffer::from_vec(vec![1_u8; 1_024]))?;
    let values = context.repeat(|| {
        let p50 = stats::call_p50(500, 20_000, Duration::ZERO, || ray_core::get(&object).map(drop))?;
        Ok(p50 * 1e6)
    })?;
    Ok(Some(Sample::new(values)?))
}

fn wait_1k(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut references: Vec<_> = (0..1_000).map(|_| noop::remote()).collect();
    let pids = ray_core::get(&references)?;
    let values = context.repeat(|| {
        let p50 = stats::call_p50(10, 100, Duration::ZERO, || {
            let all = references.len();
            (references, _) = ray_core::wait(std::mem::take(&mut references), all, None)?;
            ensure!(references.len() == all, "{} are ready", references.len());
            Ok(())
        })?;
        Ok(p50 * 1e6)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn get_10k_refs(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let references: Vec<_> = (0..10_000_u32).map(|n| ray_core::put(&n)).collect::<Result<_, _>>()?;
    let values = context.repeat(|| {
        let started = Instant::now();
        let all = ray_core::get(&references)?;
        let elapsed = started.elapsed();
        ensure!(all.len() == references.len(), "{} answers", all.len());
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(Some(Sample::new(values)?))
}
