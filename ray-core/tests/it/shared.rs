//! `shared` isolation: tasks and actors in the driver's own process, values that are never encoded.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, LazyLock, Mutex};

use ray_core::{Isolation, ObjectRef, RayError, get, remote};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::{Watchdog, in_own_process, wait_until};

/// A value whose encoding would be noticed, and whose drop is counted.
#[derive(Debug, Deserialize)]
pub(crate) struct Unsent(u64);

static DROPS: AtomicUsize = AtomicUsize::new(0);

impl Serialize for Unsent {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("value {} is encoded", self.0)
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
    }
}

#[remote(isolation = "shared")]
fn pid() -> u32 {
    std::process::id()
}

#[remote(isolation = "shared")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[remote(isolation = "shared")]
async fn add_later(a: i64, b: i64) -> i64 {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    a + b
}

#[remote(isolation = "shared")]
fn next(value: Unsent) -> Unsent {
    Unsent(value.0 + 1)
}

#[remote(isolation = "shared")]
fn number(value: Unsent) -> u64 {
    value.0
}

#[remote(isolation = "shared")]
fn fail(text: String) -> Result<i64, std::io::Error> {
    Err(std::io::Error::other(text))
}

#[remote(isolation = "shared")]
fn explode() -> i64 {
    panic!("on purpose")
}

#[remote(isolation = "shared")]
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = (fib::remote(n - 1), fib::remote(n - 2));
    get(a).unwrap() + get(b).unwrap()
}

#[remote(isolation = "shared")]
fn spin_until_cancelled() -> bool {
    while !ray_core::runtime_context().unwrap().is_cancelled() {
        std::thread::yield_now();
    }
    true
}

#[remote(isolation = "shared", max_retries = 3, retry_exceptions = true)]
fn fails_twice(key: u64, text: String) -> Result<String, std::io::Error> {
    static SEEN: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let mut seen = SEEN.lock().unwrap();
    seen.push(key);
    if seen.iter().filter(|one| **one == key).count() < 3 {
        return Err(std::io::Error::other("again"));
    }
    Ok(text)
}

/// A task of a worker process whose child is shared.
#[remote]
fn pids_of_shared_child() -> (u32, u32) {
    (std::process::id(), get(&pid::remote()).unwrap())
}

#[remote]
fn length(text: String) -> usize {
    text.len()
}

#[remote(isolation = "shared")]
fn text(length: usize) -> String {
    "x".repeat(length)
}

#[derive(Debug)]
pub(crate) struct Counter {
    count: u64,
    seen: Vec<u64>,
    _unsent: Option<Unsent>,
}

static BARRIER: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

#[remote(isolation = "shared")]
impl Counter {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            count: start,
            seen: Vec::new(),
            _unsent: None,
        }
    }

    pub(crate) fn incr(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(crate) fn note(&mut self, number: u64) {
        self.seen.push(number);
    }

    pub(crate) fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }

    pub(crate) fn meet(&self) {
        BARRIER.wait();
    }

    pub(crate) async fn later(&self) -> u64 {
        tokio::task::yield_now().await;
        self.count
    }

    pub(crate) fn explode(&mut self) {
        panic!("in a method")
    }

    pub(crate) fn pid(&self) -> u32 {
        std::process::id()
    }

    pub(crate) fn take(&mut self, value: Unsent) -> Unsent {
        value
    }

    pub(crate) fn keep(&mut self, value: Unsent) {
        self._unsent = Some(value);
    }
}

#[derive(Debug)]
pub(crate) struct Refusing;

#[remote(isolation = "shared")]
impl Refusing {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        Err(std::io::Error::other("no such actor"))
    }

    pub(crate) fn hello(&self) -> u64 {
        1
    }
}

#[remote]
fn incr_elsewhere(counter: CounterHandle, times: u64) -> (u32, u64) {
    let refs: Vec<_> = (0..times).map(|_| counter.incr()).collect();
    (std::process::id(), get(refs).unwrap().into_iter().max().unwrap())
}

#[test]
fn a_shared_task_runs_in_the_driver_whoever_submits_it() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    assert_eq!(get(&pid::remote()).unwrap(), std::process::id());
    let (worker, child) = get(&pids_of_shared_child::remote()).unwrap();
    assert_ne!(worker, std::process::id());
    assert_eq!(child, std::process::id());
}

#[test]
fn results_and_arguments_come_and_go_in_both_kinds_of_tasks() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let sum = add::remote(add::remote(1, 2), add_later::remote(3, 4));
    assert_eq!(get(&sum).unwrap(), 10);
    assert_eq!(get(&sum).unwrap(), 10);
    // To another process, small and large.
    assert_eq!(get(&length::remote(text::remote(10))).unwrap(), 10);
    assert_eq!(get(&length::remote(text::remote(300_000))).unwrap(), 300_000);
    let many: Vec<_> = (0..5000).map(|i| add::remote(i, 1)).collect();
    assert_eq!(get(many).unwrap().iter().sum::<i64>(), (1..=5000).sum::<i64>());
}

#[test]
fn a_value_that_cannot_be_encoded_moves_from_task_to_task_and_drops_once() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        let mut value = next::remote(Unsent(0));
        for _ in 1..100 {
            value = next::remote(value);
        }
        let last = get(value).unwrap();
        assert_eq!(last.0, 100);
        // Every step drops its argument; the last value is here.
        assert_eq!(DROPS.load(Ordering::SeqCst), 100);
        drop(last);
        let counter = Counter::remote(0u64);
        assert_eq!(get(counter.take(Unsent(7))).unwrap().0, 7);
        get(counter.keep(Unsent(8))).unwrap();
        assert_eq!(DROPS.load(Ordering::SeqCst), 102);
        drop(counter);
        wait_until(|| DROPS.load(Ordering::SeqCst) == 103);
        // A result that nobody takes.
        drop(next::remote(Unsent(1)));
        wait_until(|| DROPS.load(Ordering::SeqCst) == 105);
        drop(ray);
        assert_eq!(DROPS.load(Ordering::SeqCst), 105);
    });
}

#[test]
fn a_value_with_two_readers_is_encoded_and_its_encode_error_is_theirs() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let shared = text::remote(5);
    let (one, two) = (shared.clone(), shared);
    assert_eq!(
        (get(&one).unwrap(), get(two).unwrap()),
        ("xxxxx".to_owned(), "xxxxx".to_owned())
    );
    let unsent = next::remote(Unsent(1));
    let kept = unsent.clone();
    let error = get(&number::remote(unsent)).unwrap_err();
    assert!(error.to_string().contains("Serialize panicked"), "{error}");
    drop(kept);
}

#[test]
fn errors_and_panics_say_what_and_where() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let failed = fail::remote("no such luck");
    for error in [get(&failed).unwrap_err(), get(&add::remote(&failed, 1)).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("fail") && text.contains("no such luck"), "{text}");
    }
    let text = get(&explode::remote()).unwrap_err().to_string();
    assert!(text.contains("on purpose") && text.contains("shared.rs"), "{text}");
    assert_eq!(get(&add::remote(1, 1)).unwrap(), 2);
}

#[test]
fn errors_of_the_code_are_retried_where_that_is_asked_for() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    assert_eq!(get(&fails_twice::remote(1u64, "there")).unwrap(), "there");
}

#[test]
fn nested_tasks_do_not_run_out_of_threads_or_leases() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    assert_eq!(get(&fib::remote(12u64)).unwrap(), 144);
}

#[test]
fn a_running_task_sees_its_cancel_and_force_is_refused() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let task = spin_until_cancelled::remote();
    let error = ray_core::cancel_with(&task, true, true).unwrap_err();
    assert!(matches!(error, RayError::Unsupported { .. }), "{error}");
    ray_core::cancel(&task).unwrap();
    assert!(matches!(get(&task).unwrap_err(), RayError::Cancelled { .. }));
    let refused = add::options().memory(1 << 20).remote(1, 2);
    assert!(matches!(get(&refused).unwrap_err(), RayError::Unsupported { .. }));
}

#[test]
fn ten_thousand_calls_of_one_caller_start_in_order() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::remote(0u64);
    for number in 0..10_000u64 {
        counter.note(number);
    }
    assert!(get(counter.seen()).unwrap().into_iter().eq(0..10_000));
    assert_eq!(get(counter.pid()).unwrap(), std::process::id());
    assert_eq!(get(counter.later()).unwrap(), 0);
}

#[test]
fn shared_calls_of_an_actor_overlap_and_a_panic_leaves_it_alive() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().max_concurrency(2).remote(5u64);
    let (one, two) = (counter.meet(), counter.meet());
    get((one, two)).unwrap();
    let text = get(counter.explode()).unwrap_err().to_string();
    assert!(text.contains("in a method") && text.contains("shared.rs"), "{text}");
    assert_eq!(get(counter.incr()).unwrap(), 6);
}

#[test]
fn a_constructor_that_fails_is_the_error_of_all_calls() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let refusing = Refusing::remote();
    for _ in 0..2 {
        let text = get(refusing.hello()).unwrap_err().to_string();
        assert!(text.contains("no such actor"), "{text}");
    }
}

#[test]
fn another_process_calls_an_actor_of_the_driver_by_its_handle() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::remote(0u64);
    let (pid, count) = get(&incr_elsewhere::remote(counter.clone(), 100u64)).unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(count, 100);
    assert_eq!(get(counter.incr()).unwrap(), 101);
}

#[test]
fn a_killed_actor_fails_its_calls_and_what_it_does_not_support_is_refused() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::remote(0u64);
    get(counter.incr()).unwrap();
    ray_core::kill(&counter, true).unwrap();
    assert!(matches!(get(counter.incr()).unwrap_err(), RayError::ActorDied { .. }));
    let restarted = Counter::options()
        .isolation(Isolation::Shared)
        .max_restarts(1)
        .remote(0u64);
    assert!(matches!(
        get(restarted.incr()).unwrap_err(),
        RayError::Unsupported { .. }
    ));
}

#[test]
fn a_hundred_thousand_actors_live_on_a_few_threads_and_leave_nothing() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        let actors: Vec<_> = (0..100_000u64).map(Counter::remote).collect();
        let calls: Vec<_> = actors.iter().map(CounterHandle::incr).collect();
        let counts: HashSet<u64> = get(calls).unwrap().into_iter().collect();
        assert_eq!(counts.len(), 100_000);
        let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
        assert!(threads < 100, "{threads}");
        drop(actors);
        drop(ray);
    });
}

#[test]
fn a_reference_among_native_values_keeps_its_object() {
    #[remote(isolation = "shared")]
    fn wrap(length: usize) -> Vec<ObjectRef<String>> {
        vec![text::remote(length), ray_core::put("put").unwrap()]
    }
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let inner = get(wrap::remote(3usize)).unwrap();
    assert_eq!(get(inner).unwrap(), ["xxx", "put"]);
    // Encoded, since the reference is kept.
    let outer = wrap::remote(4usize);
    let inner = get(&outer).unwrap();
    drop(outer);
    assert_eq!(get(inner).unwrap(), ["xxxx", "put"]);
}
