//! Shared tasks and calls that never leave their process: whatever happens to their references and to those who run them,
//! nothing is lost, run twice, or left behind.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ray_core::{
    Isolation, ObjectRef, RayError, available_resources, cancel, get, get_async, get_timeout, memory_report, remote,
    runtime_context, wait,
};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::{in_own_process, object_memory, wait_until};

static RUNS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicBool = AtomicBool::new(false);
static BEGUN: AtomicUsize = AtomicUsize::new(0);

#[remote(isolation = "shared")]
fn count(number: u64) -> u64 {
    RUNS.fetch_add(1, Ordering::SeqCst);
    number
}

#[remote(isolation = "shared")]
fn text_of(number: u64) -> String {
    format!("number {number}")
}

/// Whether what runs here is cancelled, or its session has ended.
fn is_over() -> bool {
    runtime_context().map_or(true, |context| context.is_cancelled())
}

/// Takes until the gate is open, or it is cancelled.
#[remote(isolation = "shared")]
fn stand() -> u64 {
    BEGUN.fetch_add(1, Ordering::SeqCst);
    wait_until(|| OPEN.load(Ordering::SeqCst) || is_over());
    u64::from(is_over())
}

#[remote]
fn length(text: String) -> usize {
    text.len()
}

/// A value whose drop is counted and that cannot be encoded.
#[derive(Debug, Deserialize)]
struct Counted(u64);

static DROPS: AtomicUsize = AtomicUsize::new(0);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it stays here"))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.0, 13, "a drop that panics");
    }
}

#[remote(isolation = "shared")]
fn counted(number: u64) -> Counted {
    Counted(number)
}

struct Tally {
    values: Vec<u64>,
}

#[remote(isolation = "shared")]
impl Tally {
    fn new() -> Self {
        Self { values: Vec::new() }
    }

    fn add(&mut self, value: u64) -> u64 {
        self.values.push(value);
        value
    }

    fn stand(&mut self) -> bool {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        wait_until(|| OPEN.load(Ordering::SeqCst) || is_over());
        is_over()
    }

    fn values(&self) -> Vec<u64> {
        self.values.clone()
    }
}

#[test]
fn many_tasks_of_many_threads_each_run_once_and_give_their_own_result() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let numbers: Vec<u64> = (0..20_000).map(|number| thread * 1_000_000 + number).collect();
                    let made: Vec<_> = numbers.iter().map(|number| count::remote(*number)).collect();
                    assert_eq!(get(&made).unwrap(), numbers);
                    // Once more, from what was encoded.
                    assert_eq!(get(&made).unwrap(), numbers);
                });
            }
        });
        assert_eq!(RUNS.load(Ordering::SeqCst), 80_000);
    });
}

#[test]
fn a_task_runs_although_nobody_keeps_its_reference() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        for number in 0..1000 {
            drop(count::remote(number));
        }
        wait_until(|| RUNS.load(Ordering::SeqCst) == 1000);
    });
}

#[test]
fn a_long_task_does_not_hold_up_short_ones_that_came_after_it() {
    in_own_process(|| {
        let _ray = ray_core::Ray::builder().num_cpus(2).init().unwrap();
        // So short that a thread takes many at a time.
        for _ in 0..20 {
            get(&(0..1000).map(count::remote).collect::<Vec<_>>()).unwrap();
        }
        #[remote(isolation = "shared")]
        fn short_or_long(long: bool) -> u64 {
            if long {
                BEGUN.fetch_add(1, Ordering::SeqCst);
                wait_until(|| OPEN.load(Ordering::SeqCst));
            }
            1
        }
        for _ in 0..20 {
            get(&(0..1000).map(|_| short_or_long::remote(false)).collect::<Vec<_>>()).unwrap();
        }
        let long = short_or_long::remote(true);
        let short: Vec<_> = (0..100).map(|_| short_or_long::remote(false)).collect();
        // Nobody waits for them, so that none is run by its caller.
        let (ready, rest) = wait(short, 100, None).unwrap();
        assert_eq!((ready.len(), rest.len()), (100, 0));
        OPEN.store(true, Ordering::SeqCst);
        assert_eq!(get(long).unwrap(), 1);
    });
}

#[test]
fn a_reference_leaves_the_process_before_during_and_after_its_task() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        #[remote(isolation = "shared")]
        fn text_when_open() -> String {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            wait_until(|| OPEN.load(Ordering::SeqCst));
            "opened".to_owned()
        }
        let running = text_when_open::remote();
        let of_running = length::remote(&running);
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 1);
        let of_begun = length::remote(&running);
        OPEN.store(true, Ordering::SeqCst);
        assert_eq!(get((&of_running, &of_begun)).unwrap(), (6, 6));
        assert_eq!(get(&running).unwrap(), "opened");

        // When it has ended: as it is, and in its encoded form.
        let ended = text_of::remote(7);
        let (ready, _) = wait(vec![ended], 1, None).unwrap();
        assert_eq!(get(length::remote(&ready[0])).unwrap(), 8);
        let read = text_of::remote(8);
        assert_eq!(get(&read).unwrap(), "number 8");
        assert_eq!(get(length::remote(&read)).unwrap(), 8);
        assert_eq!(get(read).unwrap(), "number 8");

        // Inside of values, and of values inside of those.
        #[remote]
        fn inner_lengths(nested: Vec<Vec<ObjectRef<String>>>) -> Vec<usize> {
            nested.iter().flatten().map(|text| get(text).unwrap().len()).collect()
        }
        let nested = vec![
            vec![text_of::remote(1), text_of::remote(10)],
            vec![text_of::remote(100)],
        ];
        assert_eq!(get(inner_lengths::remote(nested)).unwrap(), [8, 9, 10]);
    });
}

#[test]
fn a_value_is_moved_to_its_last_reader_and_dropped_with_its_last_reference() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        let drops = || DROPS.load(Ordering::SeqCst);
        assert_eq!(get(counted::remote(1)).unwrap().0, 1);
        assert_eq!(drops(), 1);
        let kept = counted::remote(2);
        let again = kept.clone();
        // Two references: it would have to be encoded.
        let error = get(kept).unwrap_err();
        assert!(error.to_string().contains("it stays here"), "{error}");
        assert_eq!(drops(), 1);
        let (ready, _) = wait(vec![again], 1, None).unwrap();
        drop(ready);
        wait_until(|| drops() == 2);
        // Dropped before it exists, and by a destructor that panics: nobody is the worse for it.
        drop(counted::remote(3));
        wait_until(|| drops() == 3);
        let (ready, _) = wait(vec![counted::remote(13)], 1, None).unwrap();
        drop(ready);
        wait_until(|| drops() == 4);
        drop(counted::remote(13));
        wait_until(|| drops() == 5);
        assert_eq!(get(count::remote(9)).unwrap(), 9);
    });
}

#[test]
fn what_waits_and_what_runs_is_cancelled_with_what_it_has_submitted() {
    in_own_process(|| {
        let _ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        #[remote(isolation = "shared")]
        fn submits() -> u64 {
            let child = stand::remote();
            let tally = Tally::remote();
            let call = tally.stand();
            BEGUN.fetch_add(100, Ordering::SeqCst);
            get(&child).unwrap_or(50) + u64::from(get(&call).unwrap_or(true))
        }
        let parent = submits::remote();
        let behind = count::remote(1);
        wait_until(|| BEGUN.load(Ordering::SeqCst) >= 101);
        let is_cancelled = |error: RayError| assert!(matches!(error, RayError::Cancelled { .. }), "{error}");
        cancel(&parent).unwrap();
        is_cancelled(get(&parent).unwrap_err());
        // The place of what was cancelled is free again.
        assert_eq!(get(&behind).unwrap(), 1);
        // The parent may go on for a moment, on the CPU that it had lent: until its lease is given back, there are two.
        wait_until(|| available_resources().unwrap().get("CPU") == Some(&1.0));
        let held = stand::remote();
        let waiting = count::remote(2);
        cancel(&waiting).unwrap();
        is_cancelled(get(&waiting).unwrap_err());
        cancel(&held).unwrap();
        is_cancelled(get(held).unwrap_err());
        assert_eq!(RUNS.load(Ordering::SeqCst), 1);
        let refused = ray_core::cancel_with(&stand::remote(), true, true).unwrap_err();
        assert!(matches!(refused, RayError::Unsupported { .. }), "{refused}");
        OPEN.store(true, Ordering::SeqCst);
    });
}

#[test]
fn calls_of_both_ways_run_in_the_order_in_which_they_were_made() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        #[remote]
        fn slow_value(value: u64) -> u64 {
            std::thread::sleep(Duration::from_millis(20));
            value
        }
        let tally = Tally::remote();
        let mut calls = Vec::new();
        for round in 0..300_u64 {
            calls.push(match round % 100 {
                // Its argument comes late: all that is called after it waits.
                50 => tally.add(slow_value::remote(round)),
                51 => tally.options().name("named").add(round),
                _ => tally.add(round),
            });
        }
        assert_eq!(get(&tally.values()).unwrap(), (0..300).collect::<Vec<u64>>());
        assert_eq!(get(&calls).unwrap(), (0..300).collect::<Vec<u64>>());
    });
}

#[test]
fn a_call_that_is_cancelled_gives_its_turn_to_the_next() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        let tally = Tally::remote();
        let held = tally.stand();
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 1);
        let calls: Vec<_> = (0..10).map(|value| tally.add(value)).collect();
        for call in calls.iter().step_by(2) {
            cancel(call).unwrap();
        }
        cancel(&held).unwrap();
        assert_eq!(get(&tally.values()).unwrap(), [1, 3, 5, 7, 9]);
        for (value, call) in (0..).zip(calls) {
            match get(call) {
                Ok(added) => assert!(added == value && value % 2 == 1),
                Err(error) => assert!(matches!(error, RayError::Cancelled { .. }) && value % 2 == 0, "{error}"),
            }
        }
    });
}

#[test]
fn a_call_keeps_its_actor_alive_and_the_end_of_an_actor_is_the_error_of_its_calls() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        let tally = Tally::remote();
        let held = tally.stand();
        let after = tally.add(4);
        drop(tally);
        OPEN.store(true, Ordering::SeqCst);
        assert_eq!(get((&held, &after)).unwrap(), (false, 4));
        OPEN.store(false, Ordering::SeqCst);

        let tally = Tally::remote();
        let held = tally.stand();
        let after = tally.add(5);
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 2);
        ray_core::kill(&tally, true).unwrap();
        for call in [get(&held).map(u64::from), get(&after), get(&tally.add(6))] {
            let error = call.unwrap_err();
            assert!(matches!(error, RayError::ActorDied { .. }), "{error}");
        }
        drop(ray);
        // The method that runs sees its end a little later.
        wait_until(|| object_memory().is_empty());
    });
}

#[test]
fn who_waits_for_a_call_inside_an_exclusive_call_of_that_actor_is_told() {
    in_own_process(|| {
        struct Own;

        #[remote(isolation = "shared")]
        impl Own {
            fn new() -> Self {
                Self
            }

            fn call_me(&mut self, own: Vec<OwnHandle>) -> String {
                let call = own[0].seven();
                get(&call).unwrap_err().to_string()
            }

            fn seven(&self) -> u64 {
                7
            }
        }
        let _ray = ray_core::init().unwrap();
        let own = Own::remote();
        let told = get(&own.call_me(vec![own.clone()])).unwrap();
        assert!(told.contains("RAY") && told.contains("wait"), "{told}");
        assert_eq!(get(&own.seven()).unwrap(), 7);
    });
}

#[test]
fn waits_and_futures_take_local_references_as_they_take_others() {
    in_own_process(|| {
        let _ray = ray_core::Ray::builder().num_cpus(2).init().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sum: u64 = runtime.block_on(async {
            let mut sum = 0;
            for number in 0..200 {
                sum += count::remote(number).await.unwrap();
            }
            let many: Vec<_> = (0..200).map(count::remote).collect();
            sum + get_async(&many).await.unwrap().into_iter().sum::<u64>()
        });
        assert_eq!(sum, 2 * (0..200).sum::<u64>());
        let held = stand::remote();
        let error = get_timeout(&held, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, RayError::GetTimeout { .. }), "{error}");
        let (ready, rest) = wait(vec![held, count::remote(1)], 1, None).unwrap();
        assert_eq!(get(&ready).unwrap(), [1]);
        OPEN.store(true, Ordering::SeqCst);
        assert_eq!(get(&rest).unwrap(), [0]);
    });
}

#[test]
fn what_has_not_ended_with_the_session_fails_and_who_waits_is_told() {
    in_own_process(|| {
        let ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        let tally = Tally::remote();
        let held = [stand::remote()];
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 1);
        let stood = tally.stand();
        let call = tally.add(1);
        let waiting: Vec<_> = (0..100).map(count::remote).collect();
        let waiter = std::thread::spawn(move || get(&waiting[99]));
        std::thread::sleep(Duration::from_millis(20));
        drop(ray);
        assert!(waiter.join().unwrap().is_err());
        assert!(get(&call).is_err() && get(&stood).is_err() && get(&held[0]).is_err());
        drop((tally, call, stood, held));
        wait_until(|| object_memory().is_empty());
        // Another session is not the worse for it.
        let _ray = ray_core::init().unwrap();
        assert_eq!(get(count::remote(3)).unwrap(), 3);
    });
}

#[test]
fn the_memory_report_names_what_runs_here() {
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        let held = stand::remote();
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 1);
        let report = memory_report().unwrap();
        let running: HashSet<_> = report
            .processes
            .iter()
            .flat_map(|process| &process.running)
            .map(|task| task.name.clone())
            .collect();
        assert!(running.iter().any(|name| name.contains("stand")), "{running:?}");
        OPEN.store(true, Ordering::SeqCst);
        get(held).unwrap();
    });
}

#[test]
fn the_bound_on_pending_work_counts_tasks_that_stay_here() {
    in_own_process(|| {
        let builder = ray_core::Ray::builder().num_cpus(1);
        let _ray = builder.config("max_pending_task_bytes", 100_000_u64).init().unwrap();
        let held = stand::remote();
        let many: Vec<_> = (0..10_000).map(count::remote).collect();
        let over = many.iter().filter(|one| {
            matches!(
                get_timeout(*one, Duration::ZERO),
                Err(RayError::PendingTasksLimit { .. })
            )
        });
        let over = over.count();
        assert!(over > 1000 && over < 10_000, "{over}");
        OPEN.store(true, Ordering::SeqCst);
        get(held).unwrap();
        let ran = many.iter().filter(|one| get(*one).is_ok()).count();
        assert_eq!(ran + over, 10_000);
        // There is room again, of any isolation.
        let process = count::options().isolation(Isolation::Process).remote(1);
        assert_eq!(get((&process, &count::remote(2))).unwrap(), (1, 2));
    });
}

#[test]
fn a_task_that_is_got_together_with_a_call_waits_for_its_cpu_all_the_same() {
    in_own_process(|| {
        let _ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        let tally = Tally::remote();
        assert!(get(&tally.values()).unwrap().is_empty());
        let held = stand::remote();
        wait_until(|| BEGUN.load(Ordering::SeqCst) == 1);
        for round in 0..20 {
            let both = vec![tally.add(round), count::remote(round)];
            let getter = std::thread::spawn(move || get_timeout(&both, Duration::from_secs(200)));
            let plain = vec![tally.add(100 + round), count::remote(round)];
            let plain = std::thread::spawn(move || get(&plain));
            wait_until(|| get(&tally.values()).unwrap().len() == 2 * (round as usize + 1));
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(RUNS.load(Ordering::SeqCst), 0, "the only CPU is taken");
            if round == 19 {
                OPEN.store(true, Ordering::SeqCst);
                assert_eq!(getter.join().unwrap().unwrap(), [round, round]);
                assert_eq!(plain.join().unwrap().unwrap(), [100 + round, round]);
            }
        }
        get(held).unwrap();
        wait_until(|| RUNS.load(Ordering::SeqCst) == 40);
    });
}
