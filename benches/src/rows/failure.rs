//! From SIGKILL to the answer.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::work::{Counter, sleep_in_first_attempt};
use crate::context::Context;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;

/// A worker is killed while it runs a task: until the retry has answered.
pub(super) const WORKER_KILL_TO_RETRY: Row = Row {
    metric: "worker_kill_to_retry_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: worker_kill_to_retry,
};

/// An actor's process is killed: until the restarted actor has answered a call.
pub(super) const ACTOR_KILL_TO_RESTART: Row = Row {
    metric: "actor_kill_to_restart_ms",
    unit: Unit::Milliseconds,
    target: Target::AtMost(20.0),
    floor: Some(Floor::Spawn),
    repeats: Repeats::InOneProcess,
    measure: actor_kill_to_restart,
};

fn worker_kill_to_retry(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let mut pids = Vec::new();
    let mut repeat = 0;
    let values = context.repeat(|| {
        repeat += 1;
        let marker = std::env::temp_dir().join(format!("ray-bench-killed-{}-{repeat}", std::process::id()));
        let task = sleep_in_first_attempt::remote(marker.clone());
        let pid: u32 = loop {
            match fs::read_to_string(&marker) {
                Ok(text) => break text.parse()?,
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        kill(pid)?;
        let retried = ray_core::get(&task)?;
        let elapsed = started.elapsed();
        ensure!(retried != pid, "the killed worker {pid} answered");
        pids.extend([pid, retried]);
        fs::remove_file(&marker)?;
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn actor_kill_to_restart(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let counter = Counter::remote(0);
    let mut pids = vec![ray_core::get(&counter.pid())?];
    let values = context.repeat(|| {
        let pid = pids.last().copied().unwrap_or_default();
        let started = Instant::now();
        kill(pid)?;
        let restarted = ray_core::get(&counter.pid())?;
        let elapsed = started.elapsed();
        // The call may have been answered by nobody else.
        ensure!(restarted != pid, "the killed actor {pid} answered");
        pids.push(restarted);
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("a pid")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}
