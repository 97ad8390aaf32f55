//! The rows of `core`, one file for each family, in the order in which they are printed.

mod actors;
mod failure;
mod latency;
mod memory;
mod objects;
mod start;
mod throughput;
mod work;

use anyhow::{Result, bail};

use crate::row::Row;

/// Every metric of `core`.
pub(crate) const CORE: &[Row] = &[
    start::INIT,
    start::FIRST_TASK,
    latency::TASK_SYNC_PROCESS,
    latency::ACTOR_CALL_SYNC_PROCESS,
    latency::TASK_SYNC_PACED_PROCESS,
    latency::TASK_SYNC_SHARED,
    latency::ACTOR_CALL_SYNC_SHARED,
    throughput::TASKS_ASYNC_PROCESS,
    throughput::TASKS_ASYNC_SHARED,
    throughput::ACTOR_CALLS_ASYNC_PROCESS,
    throughput::ACTOR_CALLS_ASYNC_SHARED,
    throughput::TWO_BUSY_WORKERS,
    objects::PUT,
    objects::PUT_FRESH,
    objects::GET_1GIB,
    objects::GET_1GIB_FRESH_WORKER,
    objects::PUT_SMALL,
    objects::GET_SMALL,
    throughput::QUEUE_1M_BYTES,
    throughput::QUEUE_1M_SECONDS,
    actors::CREATE_PROCESS,
    actors::CREATE_SHARED,
    actors::ONE_MILLION_SHARED,
    memory::WORKER_RSS,
    memory::CLUSTER_RSS,
    memory::IDLE_CPU,
    objects::WAIT_1K,
    objects::GET_10K_REFS,
    failure::WORKER_KILL_TO_RETRY,
    failure::ACTOR_KILL_TO_RESTART,
    start::SHUTDOWN,
    start::SHUTDOWN_1GIB,
];

/// The row of `metric`.
pub(crate) fn find(metric: &str) -> Result<&'static Row> {
    let Some(row) = CORE.iter().find(|row| row.metric == metric) else {
        let known: Vec<_> = CORE.iter().map(|row| row.metric).collect();
        bail!("no metric {metric:?}; there are {}", known.join(", "));
    };
    Ok(row)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_is_found_by_it() {
        let names: HashSet<_> = CORE.iter().map(|row| row.metric).collect();
        assert_eq!(names.len(), CORE.len());
        assert!(names.iter().all(|name| find(name).is_ok_and(|row| row.metric == *name)));
        assert!(
            find("task_sync")
                .unwrap_err()
                .to_string()
                .contains("task_sync_us_process")
        );
    }
}
