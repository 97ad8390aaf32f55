//! What the workers do in the rows: as little as can be, and tell which process did it.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ray_core::prelude::*;

use crate::floors::busy;

/// Asked for once, so that a no-op makes no system call.
static PID: LazyLock<u32> = LazyLock::new(process::id);

/// The no-op; its answer is the process that ran it.
#[remote]
pub(super) fn noop() -> u32 {
    *PID
}

/// The no-op in the driver's process.
#[remote(isolation = "shared")]
pub(super) fn noop_shared() -> u32 {
    *PID
}

/// The work of a busy worker.
#[remote]
pub(super) fn compute() -> u32 {
    black_box(busy::compute());
    *PID
}

/// Seconds from the request for `object` until one byte of each of its pages was read, in a process that never ran before.
#[remote(max_calls = 1)]
pub(super) fn read_every_page(object: ObjectRef<Buffer>) -> Result<(f64, u32)> {
    let started = Instant::now();
    let bytes = ray_core::get(&object)?;
    let sum: u64 = bytes
        .as_slice()
        .iter()
        .step_by(4_096)
        .map(|&byte| u64::from(byte))
        .sum();
    let elapsed = started.elapsed();
    let pages = bytes.len().div_ceil(4_096);
    // Each byte is a one: every page was there.
    ensure!(sum == pages as u64, "{sum} of {pages} pages");
    Ok((elapsed.as_secs_f64(), *PID))
}

/// Keeps its worker until the file `gate` is gone.
#[remote]
pub(super) fn hold(gate: PathBuf) -> u32 {
    while gate.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    *PID
}

/// The first attempt leaves its pid in `marker` and sleeps until it is killed; the next one returns.
#[remote]
pub(super) fn sleep_in_first_attempt(marker: PathBuf) -> Result<u32> {
    if !marker.exists() {
        // Written beside it and renamed, so that the driver never reads half a number.
        let unfinished = marker.with_extension("unfinished");
        fs::write(&unfinished, PID.to_string())?;
        fs::rename(&unfinished, &marker)?;
        thread::sleep(Duration::from_secs(600));
    }
    Ok(*PID)
}

/// An actor of one number.
pub(super) struct Counter {
    value: i64,
}

#[remote(max_restarts = -1, max_task_retries = -1)]
impl Counter {
    pub(super) fn new(value: i64) -> Self {
        Self { value }
    }

    pub(super) fn incr(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }

    pub(super) fn pid(&self) -> u32 {
        *PID
    }
}

/// The same in the driver's process.
pub(super) struct SharedCounter {
    value: i64,
}

#[remote(isolation = "shared")]
impl SharedCounter {
    pub(super) fn new(value: i64) -> Self {
        Self { value }
    }

    pub(super) fn incr(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }

    pub(super) fn pid(&self) -> u32 {
        *PID
    }
}
