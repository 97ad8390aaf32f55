//! Calls: order, errors, arguments, streams, cancel.

use std::time::Duration;

use ray_core::{Isolation, ObjectRef, RayError, get, remote, wait};

use super::{Counter, CounterHandle};
use crate::support::{Gate, Signs, Tally, Watchdog, in_own_process};

struct Log {
    seen: Vec<u32>,
}

#[remote]
impl Log {
    fn new() -> Self {
        Self { seen: Vec::new() }
    }

    fn push(&mut self, number: u32) {
        self.seen.push(number);
    }

    async fn push_later(&mut self, number: u32) {
        tokio::task::yield_now().await;
        self.seen.push(number);
    }

    fn seen(&self) -> Vec<u32> {
        self.seen.clone()
    }

    fn count_to(&self, to: u32) -> impl Iterator<Item = u32> {
        0..to
    }

    async fn slowly(&self, go_on: Gate) {
        while !go_on.is_open() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn hold(&mut self, go_on: Gate) {
        go_on.wait();
    }
}

#[remote]
fn later(go_on: Gate, number: u32) -> u32 {
    go_on.wait();
    number
}

#[remote]
fn push_all(log: LogHandle, from: u32, number: u32) {
    let calls: Vec<_> = (from..from + number).map(|number| log.push(number)).collect();
    get(&calls).unwrap();
}

#[test]
fn ten_thousand_calls_of_one_caller_run_in_order() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let log = Log::remote();
    for number in 0..10_000 {
        drop(if number % 10 == 0 {
            log.push_later(number)
        } else {
            log.push(number)
        });
    }
    assert_eq!(get(&log.seen()).unwrap(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn each_of_several_callers_has_its_own_order() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let log = Log::remote();
    let callers: Vec<_> = (0..3)
        .map(|caller| push_all::remote(log.clone(), caller * 1000, 200))
        .collect();
    get(&callers).unwrap();
    let seen = get(&log.seen()).unwrap();
    assert_eq!(seen.len(), 600);
    for caller in 0..3u32 {
        let of_caller: Vec<_> = seen
            .iter()
            .filter(|number| **number / 1000 == caller)
            .copied()
            .collect();
        assert_eq!(of_caller, (caller * 1000..caller * 1000 + 200).collect::<Vec<_>>());
    }
}

#[test]
fn a_call_waits_for_its_argument_and_those_after_it_wait_too() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let log = Log::remote();
    let gate = signs.gate("go");
    let first: ObjectRef<()> = log.push(later::remote(gate.clone(), 1));
    let second = log.push(2);
    gate.open();
    get((&first, &second)).unwrap();
    assert_eq!(get(&log.seen()).unwrap(), [1, 2]);
}

#[test]
fn a_constructor_argument_may_be_a_reference_that_is_not_ready() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let gate = signs.gate("go");
    let counter = Counter::remote(sum::remote(later::remote(gate.clone(), 40), 2));
    let first = counter.add(1);
    gate.open();
    assert_eq!(get(&first).unwrap(), 43);
    let failed = Counter::remote(fails::remote());
    assert!(matches!(get(&failed.add(1)), Err(RayError::TaskFailed { .. })));
}

#[remote]
fn sum(a: u32, b: i64) -> i64 {
    i64::from(a) + b
}

#[remote]
fn fails() -> Result<i64, std::io::Error> {
    Err(std::io::Error::other("no number"))
}

#[test]
fn an_error_of_a_method_is_the_callers_and_the_actor_goes_on() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::remote(1);
    let error = get(&counter.fail("not today")).unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(get(&counter.add(1)).unwrap(), 2);
}

#[test]
fn a_method_that_returns_an_iterator_gives_a_stream() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let log = Log::remote();
    let items: Vec<u32> = log.count_to(200).map(|item| get(&item).unwrap()).collect();
    assert_eq!(items, (0..200).collect::<Vec<_>>());
}

#[test]
fn a_queued_call_that_is_cancelled_never_runs() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let (gate, runs) = (signs.gate("go"), signs.tally("runs"));
    let counter = Counter::options().max_pending_calls(3).remote(0);
    let first = counter.add_noted(runs.clone(), Some(gate.clone()));
    let queued = counter.add_noted(runs.clone(), None);
    let last = counter.add_noted(runs.clone(), None);
    crate::support::wait_until(|| runs.count() == 1);
    ray_core::cancel(&queued).unwrap();
    assert!(matches!(get(&queued), Err(RayError::Cancelled { .. })));
    // The caller knows at once, the actor soon: then there is room for another call, which is not refused.
    let is_refused = |call| !wait(vec![call], 1, Some(Duration::ZERO)).unwrap().0.is_empty();
    crate::support::wait_until(|| !is_refused(counter.count()));
    gate.open();
    assert_eq!(get((&first, &last)).unwrap(), (1, 2));
    assert_eq!(runs.count(), 2);
}

#[test]
fn a_running_async_call_that_is_cancelled_ends_and_lets_others_run() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let log = Log::remote();
    let running = log.slowly(signs.gate("never"));
    get(&log.seen()).unwrap();
    ray_core::cancel(&running).unwrap();
    assert!(matches!(get(&running), Err(RayError::Cancelled { .. })));
    // Exclusive, so that it starts only once the cancelled one has ended.
    get(&log.push(1)).unwrap();
}

#[test]
fn a_call_by_force_cannot_be_cancelled() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let (log, gate) = (Log::remote(), signs.gate("go"));
    let held = log.hold(gate.clone());
    let error = ray_core::cancel_with(&held, true, true).unwrap_err();
    assert!(error.to_string().contains("use kill()"), "{error}");
    gate.open();
    get(&held).unwrap();
}

struct Selfish {
    me: Option<SelfishHandle>,
}

#[remote]
impl Selfish {
    fn new() -> Self {
        Self { me: None }
    }

    fn meet(&mut self, me: SelfishHandle) {
        self.me = Some(me);
    }

    fn number(&self) -> u32 {
        7
    }

    fn get_exclusively(&mut self) -> Result<u32, RayError> {
        get(&self.me.as_ref().unwrap().number())
    }

    async fn await_exclusively(&mut self) -> Result<u32, RayError> {
        self.me.as_ref().unwrap().number().await
    }

    fn get_shared(&self) -> Result<u32, RayError> {
        get(&self.me.as_ref().unwrap().number())
    }

    fn forget(&mut self) {
        self.me = None;
    }
}

#[test]
fn waiting_for_itself_in_an_exclusive_call_would_deadlock_and_says_so() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let selfish = Selfish::options().max_concurrency(2).remote();
    get(&selfish.meet(selfish.clone())).unwrap();
    for refused in [selfish.get_exclusively(), selfish.await_exclusively()] {
        let error = get(&refused).unwrap_err();
        assert!(error.to_string().contains("RAY0019"), "{error}");
    }
    assert_eq!(get(&selfish.get_shared()).unwrap(), 7);
    get(&selfish.forget()).unwrap();
}

#[test]
fn calls_over_the_limit_of_pending_ones_are_refused() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let counter = Counter::options().max_pending_calls(2).remote(0);
    let (gate, runs): (Gate, Tally) = (signs.gate("go"), signs.tally("runs"));
    let first = counter.add_noted(runs.clone(), Some(gate.clone()));
    let second = counter.add(1);
    let refused = counter.add(1);
    assert!(matches!(
        get(&refused),
        Err(RayError::PendingCallsLimit { limit: 2, .. })
    ));
    gate.open();
    get((&first, &second)).unwrap();
    assert_eq!(get(&counter.add(1)).unwrap(), 3);
}

#[test]
fn waiting_for_calls_of_several_actors_works_as_for_tasks() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counters: Vec<CounterHandle> = (0..3).map(Counter::remote).collect();
    let calls = counters.iter().map(CounterHandle::count).collect();
    let (ready, rest) = wait(calls, 3, None).unwrap();
    assert_eq!(get(&ready).unwrap(), [0, 1, 2]);
    assert!(rest.is_empty());
}

struct Flaky {
    failures: u32,
}

#[remote]
impl Flaky {
    fn new(failures: u32) -> Self {
        Self { failures }
    }

    #[method(retry_exceptions)]
    fn work(&mut self) -> Result<u32, std::io::Error> {
        if self.failures == 0 {
            return Ok(7);
        }
        self.failures -= 1;
        Err(std::io::Error::other("not yet"))
    }
}

#[test]
fn a_call_that_fails_is_run_again_as_often_as_its_actor_says_and_counts_once_among_the_pending() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for isolation in [Isolation::Process, Isolation::Shared] {
        let options = Flaky::options().isolation(isolation).max_task_retries(2);
        let flaky = options.max_pending_calls(1).remote(2 + 3);
        assert!(matches!(get(&flaky.work()), Err(RayError::TaskFailed { .. })));
        assert_eq!(get(&flaky.work()).unwrap(), 7);
        assert_eq!(get(&flaky.work()).unwrap(), 7);
    }
}

#[test]
fn options_for_some_calls_begin_as_those_of_the_method() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for isolation in [Isolation::Process, Isolation::Shared] {
        // The method's attribute says that its errors are tried again; the options say how often.
        let flaky = Flaky::options().isolation(isolation).remote(2);
        assert_eq!(get(&flaky.options().max_task_retries(2).work()).unwrap(), 7);
        let flaky = Flaky::options().isolation(isolation).max_task_retries(2).remote(2);
        let never = flaky.options().name("work-once").retry_exceptions(false);
        let error = get(&never.work()).unwrap_err().to_string();
        assert!(error.contains("work-once") && error.contains("not yet"), "{error}");
        assert_eq!(get(&flaky.options().name("work").work()).unwrap(), 7);
    }
}

struct Holder;

#[remote]
impl Holder {
    fn new() -> Self {
        Self
    }

    fn assigned(&self) -> std::collections::BTreeMap<String, f64> {
        ray_core::runtime_context().unwrap().assigned_resources()
    }

    async fn assigned_later(&self) -> std::collections::BTreeMap<String, f64> {
        ray_core::runtime_context().unwrap().assigned_resources()
    }
}

#[test]
fn a_method_sees_what_its_actor_was_given() {
    in_own_process(|| {
        let ray = ray_core::Ray::builder()
            .num_cpus(2)
            .resource("one", 1.0)
            .init()
            .unwrap();
        let holder = Holder::options().num_cpus(1.0).resource("one", 0.5).remote();
        let given = [("CPU".to_owned(), 1.0), ("one".to_owned(), 0.5)].into();
        assert_eq!(get(&holder.assigned()).unwrap(), given);
        assert_eq!(get(&holder.assigned_later()).unwrap(), given);
        assert!(get(&Holder::remote().assigned()).unwrap().is_empty());
        drop(holder);
        drop(ray);
    });
}
