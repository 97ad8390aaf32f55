//! One call after another: what a wait for one answer costs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::work::{Counter, SharedCounter, noop, noop_shared};
use crate::context::Context;
use crate::floors::Floor;
use crate::row::{Repeats, Row, Target, Unit};
use crate::sample::Sample;
use crate::stats;

/// A no-op task in a worker process, p50 of a tight loop.
pub(super) const TASK_SYNC_PROCESS: Row = Row {
    metric: "task_sync_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(0.25),
    floor: Some(Floor::SocketTight),
    repeats: Repeats::InOneProcess,
    measure: task_sync_process,
};

/// A call on an actor in a worker process, p50 of a tight loop.
pub(super) const ACTOR_CALL_SYNC_PROCESS: Row = Row {
    metric: "actor_call_sync_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(0.25),
    floor: Some(Floor::SocketTight),
    repeats: Repeats::InOneProcess,
    measure: actor_call_sync_process,
};

/// A no-op task in a worker process, 1 ms between two calls.
pub(super) const TASK_SYNC_PACED_PROCESS: Row = Row {
    metric: "task_sync_paced_us_process",
    unit: Unit::Microseconds,
    target: Target::RatioAtMost(1.5),
    floor: Some(Floor::SocketPaced),
    repeats: Repeats::InOneProcess,
    measure: task_sync_paced_process,
};

/// A no-op task in the driver's process.
pub(super) const TASK_SYNC_SHARED: Row = Row {
    metric: "task_sync_us_shared",
    unit: Unit::Microseconds,
    target: Target::AtMost(3.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: task_sync_shared,
};

/// A call on an actor in the driver's process.
pub(super) const ACTOR_CALL_SYNC_SHARED: Row = Row {
    metric: "actor_call_sync_us_shared",
    unit: Unit::Microseconds,
    target: Target::AtMost(3.0),
    floor: None,
    repeats: Repeats::InOneProcess,
    measure: actor_call_sync_shared,
};

fn task_sync_process(context: &Context) -> Result<Option<Sample>> {
    sync(context, 500, 5_000, Duration::ZERO, || {
        Ok(ray_core::get(&noop::remote())?)
    })
}

fn task_sync_paced_process(context: &Context) -> Result<Option<Sample>> {
    sync(context, 20, 300, Duration::from_millis(1), || {
        Ok(ray_core::get(&noop::remote())?)
    })
}

fn actor_call_sync_process(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let counter = Counter::remote(0);
    let pid = ray_core::get(&counter.pid())?;
    sync(context, 500, 5_000, Duration::ZERO, || {
        ray_core::get(&counter.incr(1))?;
        Ok(pid)
    })
}

fn task_sync_shared(context: &Context) -> Result<Option<Sample>> {
    sync(context, 500, 20_000, Duration::ZERO, || {
        Ok(ray_core::get(&noop_shared::remote())?)
    })
}

fn actor_call_sync_shared(context: &Context) -> Result<Option<Sample>> {
    let _ray = ray_core::init()?;
    let counter = SharedCounter::remote(0);
    let pid = ray_core::get(&counter.pid())?;
    sync(context, 500, 20_000, Duration::ZERO, || {
        ray_core::get(&counter.incr(1))?;
        Ok(pid)
    })
}

/// p50 of `call`, which answers with the process that did the work. (Needs a runtime: the task rows start one first,
/// or use `init_or_join` here so that both may.)
fn sync(
    context: &Context,
    warm_up: usize,
    calls: usize,
    pause: Duration,
    mut call: impl FnMut() -> Result<u32>,
) -> Result<Option<Sample>> {
    let _ray = ray_core::init_or_join()?;
    let mut pids = BTreeSet::new();
    let values = context.repeat(|| {
        let p50 = stats::call_p50(warm_up, calls, pause, || {
            pids.insert(call()?);
            anyhow::Ok(())
        })?;
        Ok(p50 * 1e6)
    })?;
    Ok(Some(Sample::new(values)?.by(pids)))
}
