//! Cancelling tasks, and tasks that run out of time.

use std::time::Duration;

use ray_core::{ObjectRef, Ray, RayError, cancel, cancel_with, get, get_timeout, put, remote, runtime_context};

use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

#[remote(max_retries = 0)]
fn hold(entered: Tally, gate: Gate) -> u32 {
    entered.add();
    gate.wait();
    std::process::id()
}

#[remote]
fn until_cancelled(entered: Tally, seen: Tally) {
    entered.add();
    let context = runtime_context().unwrap();
    wait_until(|| context.is_cancelled());
    seen.add();
}

struct TellsDrop(Tally);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

#[remote]
async fn awaits_for_ever(entered: Tally, dropped: Tally) {
    let _tells = TellsDrop(dropped);
    entered.add();
    std::future::pending::<()>().await;
}

#[remote(max_retries = 5)]
fn never_looks(entered: Tally) -> u32 {
    entered.add();
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits for a task that waits for a task, and so on, `depth` deep.
#[remote]
fn waits_for_children(depth: u32, entered: Tally, seen: Tally) {
    if depth == 0 {
        let innermost = until_cancelled::remote(entered, seen);
        // The error of the cancelled child.
        let _cancelled = get(&innermost);
    } else {
        let child = waits_for_children::remote(depth - 1, entered, seen);
        let _cancelled = get(&child);
    }
}

#[remote]
fn seven() -> u32 {
    7
}

#[remote]
fn plus_one(number: u32) -> u32 {
    number + 1
}

fn assert_cancelled<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(reference: &ObjectRef<T>) {
    let error = get(reference).unwrap_err();
    assert!(matches!(error, RayError::Cancelled { .. }), "{error}");
}

#[test]
fn a_pending_task_that_is_cancelled_never_runs_and_its_dependants_fail() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, gate) = (signs.tally("entered"), signs.gate("gate"));
        let first = hold::remote(entered.clone(), gate.clone());
        wait_until(|| entered.count() == 1);
        let queued = hold::remote(entered.clone(), gate.clone());
        let waiting = plus_one::remote(&queued);
        let waits_for_first = plus_one::remote(&first);
        cancel(&queued).unwrap();
        cancel(&waits_for_first).unwrap();
        assert_cancelled(&queued);
        assert_cancelled(&waiting);
        assert_cancelled(&waits_for_first);
        // Twice is once.
        cancel(&queued).unwrap();
        gate.open();
        get(&first).unwrap();
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        assert_eq!(entered.count(), 1);
    });
}

#[test]
fn a_running_sync_task_sees_that_it_is_cancelled_and_keeps_its_cpu_until_it_returns() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, seen) = (signs.tally("entered"), signs.tally("seen"));
        for round in 1..=10 {
            let running = until_cancelled::remote(entered.clone(), seen.clone());
            if round % 2 == 0 {
                wait_until(|| entered.count() == round);
            }
            let next = seven::remote();
            if round % 2 == 0 {
                let error = get_timeout(&next, Duration::ZERO).unwrap_err();
                assert!(matches!(error, RayError::GetTimeout { .. }), "{error}");
            }
            cancel(&running).unwrap();
            assert_cancelled(&running);
            assert_eq!(get(&next).unwrap(), 7);
            // Whether it had begun or not, nothing of it goes on.
            assert_eq!(entered.count(), seen.count());
            if round % 2 == 1 && entered.count() < round {
                entered.add();
                seen.add();
            }
        }
    });
}

#[test]
fn a_running_async_task_is_dropped_where_it_awaits() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, dropped) = (signs.tally("entered"), signs.tally("dropped"));
        let running = awaits_for_ever::remote(entered.clone(), dropped.clone());
        wait_until(|| entered.count() == 1);
        cancel(&running).unwrap();
        assert_cancelled(&running);
        wait_until(|| dropped.count() == 1);
        assert_eq!(get(&seven::remote()).unwrap(), 7);
    });
}

#[test]
fn the_children_of_a_cancelled_task_are_cancelled_at_any_depth_unless_told_otherwise() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, seen) = (signs.tally("entered"), signs.tally("seen"));
        let outer = waits_for_children::remote(4, entered.clone(), seen.clone());
        wait_until(|| entered.count() == 1);
        cancel(&outer).unwrap();
        assert_cancelled(&outer);
        wait_until(|| seen.count() == 1);

        let outer = waits_for_children::remote(0, entered.clone(), seen.clone());
        wait_until(|| entered.count() == 2);
        cancel_with(&outer, false, false).unwrap();
        assert_cancelled(&outer);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(seen.count(), 1, "the child goes on");
    });
}

#[test]
fn a_forced_cancel_kills_the_process_of_that_task_and_of_no_other() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, gate) = (signs.tally("entered"), signs.gate("gate"));
        let unharmed = hold::remote(entered.clone(), gate.clone());
        wait_until(|| entered.count() == 1);
        let stubborn = signs.tally("stubborn");
        for round in 1..=5 {
            let running = never_looks::remote(stubborn.clone());
            wait_until(|| stubborn.count() == round);
            cancel_with(&running, true, true).unwrap();
            assert_cancelled(&running);
            // Its CPU is free at once, and no retry is made of it.
            assert_eq!(get(&seven::options().max_retries(0).remote()).unwrap(), 7);
        }
        assert_eq!(stubborn.count(), 5);
        gate.open();
        get(&unharmed).unwrap();
        assert_eq!(entered.count(), 1);
    });
}

#[test]
fn a_forced_cancel_that_comes_too_late_harms_no_later_task() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        for _ in 0..300 {
            let short = seven::remote();
            let next: Vec<_> = (0..3).map(|_| seven::options().max_retries(0).remote()).collect();
            cancel_with(&short, true, true).unwrap();
            for value in next {
                assert_eq!(get(&value).unwrap(), 7);
            }
        }
    });
}

#[test]
fn the_children_of_a_task_that_is_killed_end_with_it() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, seen) = (signs.tally("entered"), signs.tally("seen"));
        let outer = waits_for_children::options()
            .max_retries(0)
            .remote(3, entered.clone(), seen.clone());
        wait_until(|| entered.count() == 1);
        cancel_with(&outer, true, true).unwrap();
        assert_cancelled(&outer);
        assert_eq!(get(&seven::remote()).unwrap(), 7);
    });
}

#[remote]
fn large(entered: Tally, gate: Gate) -> Vec<u64> {
    entered.add();
    gate.wait();
    vec![7; 1 << 20]
}

#[remote]
fn large_items(entered: Tally) -> impl Iterator<Item = Vec<u64>> {
    entered.add();
    (0..).map(|_| vec![7; 1 << 16])
}

fn files_under(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files_under(&entry.path()),
            false => 1,
        })
        .sum()
}

#[test]
fn large_results_that_nobody_wants_any_more_leave_the_store() {
    in_own_process(|| {
        let ray = Ray::builder()
            .num_cpus(1)
            .object_store_memory(128 << 20)
            .log_to_driver(false)
            .init()
            .unwrap();
        let signs = Signs::new();
        for round in 1..=40 {
            let (entered, gate) = (signs.tally("entered"), signs.gate(&round.to_string()));
            let unwanted = large::remote(entered.clone(), gate.clone());
            wait_until(|| entered.count() == round);
            if round % 2 == 0 {
                cancel(&unwanted).unwrap();
            } else {
                drop(unwanted);
            }
            gate.open();
        }
        for round in 1..=4 {
            let entered = signs.tally("items");
            let mut stream = large_items::remote(entered.clone());
            stream.next().unwrap();
            wait_until(|| entered.count() == round);
            drop(stream);
        }
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        // Had they stayed, most of them would have been spilled by now, for ever.
        wait_until(|| files_under(&ray.session_dir().join("spill")) == 0);
    });
}

#[remote]
fn fails(entered: Tally) -> Result<(), String> {
    entered.add();
    Err("again".to_owned())
}

#[test]
fn a_task_that_pauses_before_its_next_attempt_is_cancelled() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let entered = signs.tally("entered");
        let options = fails::options().retry_exceptions(true);
        let pauses = options.retry_backoff(Duration::from_secs(3600)).remote(entered.clone());
        wait_until(|| entered.count() == 1);
        // The CPU is free, so its failure has been told.
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        cancel(&pauses).unwrap();
        assert_cancelled(&pauses);
        assert_eq!(entered.count(), 1);
    });
}

#[test]
fn a_finished_task_is_left_as_it_is_and_a_put_object_has_nothing_to_cancel() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let done = seven::remote();
        assert_eq!(get(&done).unwrap(), 7);
        cancel(&done).unwrap();
        cancel_with(&done, true, true).unwrap();
        assert_eq!(get(&done).unwrap(), 7);
        let error = cancel(&put(&7).unwrap()).unwrap_err();
        assert!(matches!(error, RayError::Unsupported { .. }), "{error}");
    });
}

#[remote]
fn tells_time_left(tally: Tally) -> (bool, bool) {
    tally.add();
    let context = runtime_context().unwrap();
    let left = context.time_left();
    let child = get(&time_left::remote()).unwrap();
    (left.is_some(), child.is_some_and(|child| Some(child) < left))
}

#[remote]
fn time_left() -> Option<Duration> {
    runtime_context().unwrap().time_left()
}

#[test]
fn a_task_that_runs_out_of_time_is_cancelled_and_then_killed() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, seen) = (signs.tally("entered"), signs.tally("seen"));
        let limit = Duration::from_millis(200);
        let timed_out = |error: RayError| {
            let RayError::TaskTimeout { timeout, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(timeout, limit);
        };

        let obeys = until_cancelled::options()
            .timeout(limit)
            .remote(entered.clone(), seen.clone());
        timed_out(get(&obeys).unwrap_err());
        wait_until(|| seen.count() == entered.count());

        let stubborn = signs.tally("stubborn");
        let first = never_looks::options()
            .timeout(limit)
            .num_cpus(2)
            .remote(stubborn.clone());
        timed_out(get(&first).unwrap_err());
        // It holds both CPUs until its grace is over; then it is killed, and not tried again.
        let gate = signs.gate("gate");
        gate.open();
        get(&hold::options().num_cpus(2).remote(entered, gate)).unwrap();
        assert!(stubborn.count() <= 1);

        let never_starts = seven::options().timeout(limit).num_cpus(2);
        let never_opens = signs.gate("never opens");
        let blocks = hold::remote(signs.tally("blocks"), never_opens.clone());
        wait_until(|| signs.tally("blocks").count() == 1);
        timed_out(get(&never_starts.remote()).unwrap_err());
        never_opens.open();
        get(&blocks).unwrap();

        let in_time = tells_time_left::options().timeout(Duration::from_secs(60));
        assert_eq!(get(&in_time.remote(signs.tally("in time"))).unwrap(), (true, true));
        assert_eq!(get(&time_left::remote()).unwrap(), None);
    });
}
