//! Many tasks while their workers are killed at random.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ray_core::{ObjectRef, Ray, get, remote};

use crate::support::{in_own_process, kill_process, workers};

#[remote(max_retries = -1)]
fn mix(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// Every hundredth result is large, every tenth task depends on another.
#[remote(max_retries = -1)]
fn spread(number: u64) -> Vec<u64> {
    vec![mix(number); if number.is_multiple_of(100) { 20_000 } else { 1 }]
}

#[remote(max_retries = -1)]
fn first(numbers: Vec<u64>) -> u64 {
    numbers[0]
}

/// A task that has children, whose results it owns.
#[remote(max_retries = -1)]
fn sum_of_children(number: u64) -> u64 {
    let children: Vec<_> = (0..3).map(|child| mix::remote(number + child)).collect();
    get(&children).unwrap().into_iter().fold(0, u64::wrapping_add)
}

fn storm(tasks: u64) {
    let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
    let over = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut kills, mut state) = (0u32, 0x2545_f491_4f6c_dd1d_u64);
            while !over.load(Ordering::Relaxed) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                std::thread::sleep(Duration::from_millis(5 + (state >> 33) % 40));
                let workers = workers();
                if !workers.is_empty() {
                    kill_process(workers[(state >> 40) as usize % workers.len()]);
                    kills += 1;
                }
            }
            kills
        });
        // Whatever happens here, the killer must end: the scope waits for it.
        let checked = std::panic::catch_unwind(|| check(tasks));
        over.store(true, Ordering::Relaxed);
        let kills = killer.join().unwrap();
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
        kills
    });
    assert!(kills >= 10, "only {kills} workers were killed");
}

fn check(tasks: u64) {
    let plain: Vec<ObjectRef<u64>> = (0..tasks / 2).map(mix::remote).collect();
    let spreads: Vec<_> = (0..tasks / 4).map(spread::remote).collect();
    let firsts: Vec<_> = spreads.iter().map(first::remote).collect();
    let sums: Vec<_> = (0..tasks / 200).map(sum_of_children::remote).collect();
    for (number, value) in (0..).zip(get(&plain).unwrap()) {
        assert_eq!(value, mix(number));
    }
    for (number, (values, value)) in (0..).zip(get(&spreads).unwrap().into_iter().zip(get(&firsts).unwrap())) {
        assert_eq!(values, spread(number));
        assert_eq!(value, mix(number));
    }
    for (number, sum) in (0..).zip(get(&sums).unwrap()) {
        assert_eq!(
            sum,
            (0..3).fold(0u64, |sum, child| sum.wrapping_add(mix(number + child)))
        );
    }
}

#[test]
fn a_hundred_thousand_tasks_lose_and_double_nothing_although_workers_are_killed_at_random() {
    in_own_process(|| storm(100_000));
}
