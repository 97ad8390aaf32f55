//! The memory monitor.

use ray_core::{Ray, RayError, get, remote};

use super::{MIB, all_is_freed};
use crate::support::{Signs, Tally, in_own_process};

/// Takes ever more memory, up to a bound that keeps the machine safe.
fn devour() -> usize {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while taken.len() < 64 {
        taken.push(vec![1; 16 * MIB]);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
        std::hint::black_box(&taken);
    }
}

#[remote(max_retries = 0)]
fn glutton() -> usize {
    devour()
}

#[remote(max_retries = 1)]
fn glutton_twice(runs: Tally) -> usize {
    if runs.add() <= 2 { devour() } else { 7 }
}

fn frugal() -> Ray {
    Ray::builder()
        .num_cpus(2)
        .log_to_driver(false)
        .object_store_memory(16 << 20)
        .memory_limit(400 << 20)
        .config("task_oom_retry_delay_base_ms", 10)
        .init()
        .unwrap()
}

#[test]
fn a_worker_is_killed_before_the_memory_is_used_up_and_the_error_names_limit_usage_and_the_largest() {
    in_own_process(|| {
        let _ray = frugal();
        let error = get(&glutton::remote()).unwrap_err();
        assert!(matches!(error, RayError::OutOfMemory { .. }), "{error}");
        let text = error.to_string();
        for part in [
            "glutton",
            "400.0 MiB memory are used",
            "threshold of 95 %",
            "the largest workers: ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        all_is_freed();
    });
}

#[test]
fn kills_for_memory_take_no_retries() {
    in_own_process(|| {
        let _ray = frugal();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        assert_eq!(get(&glutton_twice::remote(runs.clone())).unwrap(), 7);
        assert_eq!(runs.count(), 3);
        all_is_freed();
    });
}

#[remote(max_retries = 0)]
fn work(release: crate::support::Gate) -> u32 {
    release.wait();
    1
}

#[remote]
fn glutton_once(runs: Tally, release: crate::support::Gate) -> usize {
    if runs.add() == 1 {
        devour()
    } else {
        release.open();
        7
    }
}

#[test]
fn retriable_work_is_killed_before_work_that_would_be_lost() {
    in_own_process(|| {
        let _ray = frugal();
        let signs = Signs::new();
        let release = signs.gate("release");
        let precious = work::remote(release.clone());
        let glutton = glutton_once::remote(signs.tally("runs"), release);
        assert_eq!(get(&glutton).unwrap(), 7);
        assert_eq!(get(&precious).unwrap(), 1);
        drop((precious, glutton));
        all_is_freed();
    });
}
