//! What an idle cluster costs.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::work::{hold, noop};
use crate::context::Context;
use crate::procfs;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;
use crate::stats;

/// Resident memory of an idle worker.
pub(super) const WORKER_RSS: Row = Row {
    metric: "worker_rss_mib",
    unit: Unit::Mib,
    target: Target::AtMost(10.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: worker_rss,
};

/// Proportional memory (PSS) of driver and two idle workers, without the driver's own data.
pub(super) const CLUSTER_RSS: Row = Row {
    metric: "cluster_rss_mib",
    unit: Unit::Mib,
    target: Target::AtMost(40.0),
    floor: None,
    repeats: Repeats::InFreshProcesses,
    measure: cluster_rss,
};

/// Processor time of all processes right after a burst of tasks.
pub(super) const IDLE_CPU: Row = Row {
    metric: "idle_cpu_percent",
    unit: Unit::PercentOfOneCore,
    target: Target::AtMost(0.3),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: idle_cpu,
};

const MIB: f64 = 1_048_576.0;

fn worker_rss(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let pids = two_idle_workers()?;
    let values = context.repeat(|| {
        thread::sleep(Duration::from_millis(200));
        let all: Vec<_> = pids.iter().map(|&pid| procfs::rss(pid)).collect::<Result<_>>()?;
        Ok(stats::median(&all) / MIB)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn cluster_rss(context: &Context) -> Result<Option<Sample>> {
    let own = std::process::id();
    let before = procfs::pss(own)?;
    let _ray = ray_core::init()?;
    let pids = two_idle_workers()?;
    let values = context.repeat(|| {
        thread::sleep(Duration::from_millis(200));
        let workers: f64 = pids.iter().map(|&pid| procfs::pss(pid)).sum::<Result<f64>>()?;
        Ok((workers + procfs::pss(own)? - before) / MIB)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn idle_cpu(context: &Context) -> Result<Option<Sample>> {
    const WATCHED: Duration = Duration::from_secs(3);
    let _ray = ray_core::init()?;
    let mut pids = BTreeSet::new();
    let values = context.repeat(|| {
        pids.extend(ray_core::get(&(0..10_000).map(|_| noop::remote()).collect::<Vec<_>>())?);
        let all: Vec<_> = pids
            .iter()
            .copied()
            .chain([std::process::id()])
            .filter(|&pid| procfs::exists(pid))
            .collect();
        let used = || all.iter().map(|&pid| procfs::cpu_seconds(pid)).sum::<Result<f64>>();
        let (started, before) = (Instant::now(), used()?);
        thread::sleep(WATCHED);
        Ok(100.0 * (used()? - before) / started.elapsed().as_secs_f64())
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

/// The pids of two workers that have both run something and have nothing to do.
fn two_idle_workers() -> Result<BTreeSet<u32>> {
    let gate = std::env::temp_dir().join(format!("ray-bench-gate-{}", std::process::id()));
    fs::write(&gate, [])?;
    let held = [hold::remote(gate.clone()), hold::remote(gate.clone())];
    thread::sleep(Duration::from_millis(300));
    fs::remove_file(&gate)?;
    let pids: BTreeSet<u32> = ray_core::get(&held)?.into_iter().collect();
    ensure!(pids.len() == 2, "{} workers", pids.len());
    Ok(pids)
}
