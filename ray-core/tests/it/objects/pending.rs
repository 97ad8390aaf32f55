//! The bound on pending work.

use ray_core::{RayError, get, remote};

use super::{all_is_freed, report, small_store};
use crate::support::{Gate, Signs, in_own_process, wait_until};

#[remote]
fn wait_for(gate: Gate, payload: Vec<u8>) -> usize {
    gate.wait();
    payload.len()
}

#[test]
fn over_the_bound_a_task_is_an_error_and_submit_waits() {
    in_own_process(|| {
        let _ray = small_store(16)
            .config("max_pending_task_bytes", 64 << 10)
            .init()
            .unwrap();
        let signs = Signs::new();
        let gate = signs.gate("gate");
        let payload = vec![0u8; 10_000];
        let mut pending = Vec::new();
        let error = loop {
            let reference = wait_for::remote(gate.clone(), payload.clone());
            match ray_core::get_timeout(&reference, std::time::Duration::ZERO) {
                Err(RayError::GetTimeout { .. }) => pending.push(reference),
                other => break other.unwrap_err(),
            }
            assert!(pending.len() < 7);
        };
        assert!(
            matches!(error, RayError::PendingTasksLimit { limit_bytes: 65536, pending_bytes } if pending_bytes > 50_000),
            "{error}"
        );
        assert!(pending.len() >= 4);

        let blocked = std::thread::spawn({
            let (gate, payload) = (gate.clone(), payload.clone());
            move || get(&wait_for::submit_blocking(gate, payload)).unwrap()
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let awaited = runtime.spawn({
            let (gate, payload) = (gate.clone(), payload.clone());
            async move {
                let reference = wait_for::submit(gate, payload).await;
                reference.await.unwrap()
            }
        });
        // One that is given up leaves its place to others.
        drop(wait_for::submit(gate.clone(), payload.clone()));
        assert!(!blocked.is_finished() && !awaited.is_finished());
        gate.open();
        assert_eq!(blocked.join().unwrap(), 10_000);
        assert_eq!(runtime.block_on(awaited).unwrap(), 10_000);
        for reference in &pending {
            assert_eq!(get(reference).unwrap(), 10_000);
        }
        drop(pending);
        wait_until(|| report().processes.iter().all(|process| process.pending_bytes == 0));
        all_is_freed();
    });
}

#[test]
fn a_task_larger_than_the_bound_is_taken_when_nothing_else_is_pending() {
    in_own_process(|| {
        let _ray = small_store(16).config("max_pending_task_bytes", 1).init().unwrap();
        let signs = Signs::new();
        let gate = signs.gate("gate");
        gate.open();
        for _ in 0..3 {
            assert_eq!(
                get(&wait_for::submit_blocking(gate.clone(), vec![0; 1000])).unwrap(),
                1000
            );
        }
        all_is_freed();
    });
}

#[test]
fn who_waits_for_room_when_the_session_ends_is_told() {
    in_own_process(|| {
        let ray = small_store(16).config("max_pending_task_bytes", 1).init().unwrap();
        let signs = Signs::new();
        let gate = signs.gate("never");
        let _pending = wait_for::remote(gate.clone(), Vec::new());
        let submission = wait_for::submit(gate, Vec::new());
        drop(ray);
        assert!(matches!(get(&submission.blocking()), Err(RayError::SessionEnded {})));
    });
}
