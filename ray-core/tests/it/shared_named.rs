//! Actors of isolation `shared` that have a name, or outlive their creator: the GCS knows them, and they live in the driver.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use ray_core::{Isolation, ObjectRef, RayError, get, kill, list_actors, put, remote};
use serde::{Deserialize, Serialize, Serializer};

use crate::actors::Counter;
use crate::support::{Gate, Signs, Tally, Watchdog, in_own_process, is_gone, wait_until};

static DROPS: AtomicUsize = AtomicUsize::new(0);

/// What has called, in the order of its calls.
pub(crate) struct Ledger {
    start: i64,
    notes: Vec<(u32, u64)>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
    }
}

/// It cannot be encoded.
#[derive(Debug, Deserialize)]
pub(crate) struct Native(u64);

impl Serialize for Native {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it must not leave its process"))
    }
}

#[remote(isolation = "shared")]
impl Ledger {
    pub(crate) fn new(start: i64) -> Self {
        assert!(start >= 0, "a ledger starts at 0 or above");
        Self {
            start,
            notes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, amount: i64) -> i64 {
        self.start += amount;
        self.start
    }

    pub(crate) fn note(&mut self, caller: u32, number: u64) {
        self.notes.push((caller, number));
    }

    pub(crate) fn notes(&self) -> Vec<(u32, u64)> {
        self.notes.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        std::process::id()
    }

    pub(crate) fn pass(&self, value: Native) -> Native {
        value
    }

    pub(crate) fn explode(&mut self) {
        panic!("in a method")
    }

    /// Goes on until the gate opens, whatever is asked of it.
    pub(crate) fn hold(&self, begun: Tally, gate: Gate) {
        begun.add();
        gate.wait();
    }

    pub(crate) async fn never(&self, begun: Tally) {
        begun.add();
        std::future::pending::<()>().await;
    }
}

#[remote(isolation = "shared")]
fn native(number: u64) -> Native {
    Native(number)
}

#[remote]
fn add_by_name(name: String, amount: i64) -> Result<(u32, i64), RayError> {
    let ledger = LedgerHandle::get(&name)?;
    Ok((std::process::id(), get(&ledger.add(amount))?))
}

#[remote]
fn add_by_handle(ledger: LedgerHandle, amount: i64) -> Result<i64, RayError> {
    get(&ledger.add(amount))
}

/// Several of these wait for one another, on however few CPUs.
#[remote(num_cpus = 0)]
fn note_many(ledger: LedgerHandle, count: u64, begin: Gate, ready: Tally) -> u32 {
    let pid = std::process::id();
    ready.add();
    begin.wait();
    let calls: Vec<_> = (0..count).map(|number| ledger.note(pid, number)).collect();
    get(calls).unwrap();
    pid
}

#[remote]
fn create_named(name: String, start: ObjectRef<i64>) -> (u32, u32) {
    // Its argument is a reference of another process.
    let ledger = Ledger::options().name(&name).remote(&start);
    (std::process::id(), get(&ledger.pid()).unwrap())
}

#[remote(max_retries = 0)]
fn create_detached() {
    let ledger = Ledger::options()
        .name("detached-shared")
        .detached()
        .remote(put(&5).unwrap());
    get(&ledger.add(1)).unwrap();
    std::process::abort();
}

#[remote]
fn call_and_wait(name: String, begun: Tally, gate: Option<Gate>) -> String {
    let ledger = LedgerHandle::get(&name).unwrap();
    let call = match gate {
        Some(gate) => ledger.hold(begun, gate),
        None => ledger.never(begun),
    };
    get(&call).unwrap_err().to_string()
}

#[remote]
fn kill_by_name(name: String) {
    kill(&LedgerHandle::get(&name).unwrap(), true).unwrap();
}

fn is_found(name: &str) -> bool {
    LedgerHandle::get(name).is_ok()
}

fn died<T>(outcome: Result<T, RayError>) -> bool {
    matches!(outcome, Err(RayError::ActorDied { .. }))
}

#[test]
fn a_named_shared_actor_lives_in_the_driver_and_is_found_from_every_process() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let ledger = Ledger::options().name("s-found").remote(0);
    let (pid, sum) = get(&add_by_name::remote("s-found", 1)).unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(sum, 1);
    assert_eq!(get(&LedgerHandle::get("s-found").unwrap().add(1)).unwrap(), 2);
    assert_eq!(get(&add_by_handle::remote(ledger.clone(), 1)).unwrap(), 3);
    assert_eq!(get(&ledger.pid()).unwrap(), std::process::id());
    let listed = list_actors().unwrap();
    let listed = listed
        .iter()
        .find(|one| one.name.as_deref() == Some("s-found"))
        .unwrap();
    assert_eq!((listed.state, listed.pid), ("ALIVE", Some(std::process::id())));
}

#[test]
fn the_driver_and_a_named_shared_actor_pass_values_as_they_are() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let ledger = Ledger::options().name("s-native").remote(0);
    // Before and after it is constructed, as a value and as a result; what is looked up by name is no different.
    for handle in [ledger.clone(), LedgerHandle::get("s-native").unwrap()] {
        let passed: Vec<_> = (0..10).map(|number| handle.pass(Native(number))).collect();
        for (number, passed) in (0..10).zip(passed) {
            assert_eq!(get(passed).unwrap().0, number);
        }
        assert_eq!(get(handle.pass(native::remote(7u64))).unwrap().0, 7);
    }
}

#[test]
fn a_name_of_a_shared_actor_is_taken_once_in_each_namespace() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let first = Ledger::options().name("s-once").remote(0);
    let second = Ledger::options().name("s-once").remote(10);
    let third = Counter::options().name("s-once").remote(10);
    let elsewhere = Ledger::options().name("s-once").namespace("s-elsewhere").remote(20);
    for error in [get(&second.add(1)).unwrap_err(), get(&third.add(1)).unwrap_err()] {
        assert!(matches!(error, RayError::ActorNameTaken { .. }), "{error}");
    }
    assert_eq!(get(&first.add(1)).unwrap(), 1);
    assert_eq!(get(&elsewhere.add(1)).unwrap(), 21);
    let found = LedgerHandle::get_in("s-elsewhere", "s-once").unwrap();
    assert_eq!(get(&found.add(1)).unwrap(), 22);
}

#[test]
fn two_threads_that_get_if_exists_get_the_same_actor() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for round in 0..20 {
        let name = format!("s-race-{round}");
        let barrier = Barrier::new(2);
        let create = || {
            barrier.wait();
            let ledger = Ledger::options().name(&name).get_if_exists(true).remote(0);
            let sums = [ledger.add(1), ledger.add(1)].map(|sum| get(&sum).unwrap());
            (ledger, sums)
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(create);
            let other = scope.spawn(create);
            (one.join().unwrap(), other.join().unwrap())
        });
        let mut sums = [one.1, other.1].concat();
        sums.sort_unstable();
        assert_eq!(sums, [1, 2, 3, 4]);
    }
}

#[test]
fn get_if_exists_may_give_one_with_a_process_of_its_own() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().name("s-other").remote(1);
    let same = Counter::options()
        .name("s-other")
        .get_if_exists(true)
        .isolation(Isolation::Shared)
        .remote(100);
    assert_eq!(get(&same.add(1)).unwrap(), 2);
    assert_eq!(get(&counter.add(1)).unwrap(), 3);
    assert_ne!(get(&same.pid()).unwrap(), std::process::id());
}

#[test]
fn a_named_shared_actor_of_a_worker_lives_in_the_driver_and_ends_with_its_handle() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let start = put(&5i64).unwrap();
    let (creator, host) = get(&create_named::remote("s-of-worker", start.clone())).unwrap();
    assert_ne!(creator, std::process::id());
    assert_eq!(host, std::process::id());
    wait_until(|| !is_found("s-of-worker"));
}

#[test]
fn a_named_shared_actor_ends_after_its_calls_when_its_last_handle_is_gone() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        let ledger = Ledger::options().name("s-last").remote(0);
        get(&ledger.add(1)).unwrap();
        let found = LedgerHandle::get("s-last").unwrap();
        let calls: Vec<_> = (0..100).map(|_| ledger.add(1)).collect();
        drop(ledger);
        assert_eq!(get(calls).unwrap().into_iter().max(), Some(101));
        wait_until(|| !is_found("s-last"));
        wait_until(|| DROPS.load(Ordering::SeqCst) == 1);
        assert!(died(get(&found.add(1))));
        // The name is free.
        let ledger = Ledger::options().name("s-last").remote(7);
        assert_eq!(get(&ledger.add(0)).unwrap(), 7);
        drop((ledger, found));
        wait_until(|| DROPS.load(Ordering::SeqCst) == 2);
        drop(ray);
    });
}

#[test]
fn kill_ends_a_named_shared_actor_from_every_process() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for by_worker in [false, true] {
        let ledger = Ledger::options().name("s-killed").remote(0);
        assert_eq!(get(&ledger.add(1)).unwrap(), 1);
        if by_worker {
            get(&kill_by_name::remote("s-killed")).unwrap();
            // The news comes here by another way than the task's result.
            wait_until(|| get(&ledger.add(1)).is_err());
        } else {
            kill(&ledger, true).unwrap();
        }
        let error = get(&ledger.add(1)).unwrap_err();
        assert!(
            matches!(&error, RayError::ActorDied { cause, .. } if cause.contains("killed")),
            "{error}"
        );
        let error = get(&add_by_handle::remote(ledger.clone(), 1)).unwrap_err();
        assert!(error.to_string().contains("killed by kill()"), "{error}");
        assert!(!is_found("s-killed"));
    }
}

#[test]
fn calls_of_other_processes_that_run_are_answered_when_their_actor_is_killed() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let signs = Signs::new();
    let (begun, gate) = (signs.tally("begun"), signs.gate("gate"));
    let ledger = Ledger::options().name("s-busy").remote(0);
    get(&ledger.add(1)).unwrap();
    let blocks = call_and_wait::remote("s-busy", begun.clone(), Some(gate.clone()));
    wait_until(|| begun.count() == 1);
    let awaits = call_and_wait::remote("s-busy", begun.clone(), None);
    wait_until(|| begun.count() == 2);
    kill(&ledger, true).unwrap();
    for call in [blocks, awaits] {
        let text = get(&call).unwrap();
        assert!(text.contains("killed by kill()"), "{text}");
    }
    gate.open();
}

#[test]
fn a_detached_shared_actor_outlives_its_creator_and_ends_with_kill_or_the_session() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        get(&create_detached::remote()).unwrap_err();
        let ledger = LedgerHandle::get("detached-shared").unwrap();
        assert_eq!(get(&ledger.add(1)).unwrap(), 7);
        assert_eq!(get(&ledger.pid()).unwrap(), std::process::id());
        drop(ledger);
        let ledger = LedgerHandle::get("detached-shared").unwrap();
        assert_eq!(get(&ledger.add(1)).unwrap(), 8);
        kill(&ledger, true).unwrap();
        wait_until(|| DROPS.load(Ordering::SeqCst) == 1);
        assert!(!is_found("detached-shared"));
        get(&Ledger::options().detached().name("until-the-end").remote(1).add(1)).unwrap();
        assert!(is_found("until-the-end"));
        drop(ray);
        wait_until(|| DROPS.load(Ordering::SeqCst) == 2);
    });
}

#[test]
fn a_named_shared_actor_ends_with_the_process_that_created_it() {
    #[remote(max_retries = 0)]
    fn create_and_die(name: String) {
        let ledger = Ledger::options().name(&name).remote(0);
        get(&ledger.add(1)).unwrap();
        std::process::abort();
    }
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        get(&create_and_die::remote("s-orphan")).unwrap_err();
        wait_until(|| !is_found("s-orphan"));
        wait_until(|| DROPS.load(Ordering::SeqCst) == 1);
    });
}

#[test]
fn a_panic_in_the_constructor_is_the_error_of_all_calls_and_one_in_a_method_of_its_own() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let broken = Ledger::options().name("s-broken").remote(-1);
    for error in [
        get(&broken.add(1)).unwrap_err(),
        get(&add_by_handle::remote(broken.clone(), 1)).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("a ledger starts at 0") && text.contains("shared_named.rs"),
            "{text}"
        );
    }
    // The name is free again.
    wait_until(|| !is_found("s-broken"));
    let ledger = Ledger::options().name("s-broken").remote(3);
    let text = get(&ledger.explode()).unwrap_err().to_string();
    assert!(
        text.contains("in a method") && text.contains("shared_named.rs"),
        "{text}"
    );
    assert_eq!(get(&ledger.add(1)).unwrap(), 4);
    assert_eq!(get(&add_by_handle::remote(ledger, 1)).unwrap(), 5);
}

#[test]
fn calls_of_each_caller_start_in_its_order() {
    const COUNT: u64 = 2000;
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let signs = Signs::new();
    let (begin, ready) = (signs.gate("begin"), signs.tally("ready"));
    let ledger = Ledger::options().name("s-order").remote(0);
    let callers = [0; 2].map(|_| note_many::remote(ledger.clone(), COUNT, begin.clone(), ready.clone()));
    wait_until(|| ready.count() == 2);
    begin.open();
    let mine: Vec<_> = (0..COUNT)
        .map(|number| ledger.note(std::process::id(), number))
        .collect();
    get(mine).unwrap();
    let mut callers: Vec<u32> = callers.iter().map(|caller| get(caller).unwrap()).collect();
    callers.push(std::process::id());
    let mut of_caller: HashMap<u32, Vec<u64>> = HashMap::new();
    for (caller, number) in get(&ledger.notes()).unwrap() {
        of_caller.entry(caller).or_default().push(number);
    }
    assert_eq!(of_caller.len(), 3);
    for caller in callers {
        assert!(of_caller[&caller].iter().copied().eq(0..COUNT), "{caller}");
    }
}

#[test]
fn what_only_a_process_can_give_is_refused_for_a_named_shared_actor_too() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let named = || Ledger::options().name("s-refused");
    for refused in [
        named().memory(1 << 20).remote(0),
        named().max_restarts(1).remote(0),
        named().num_cpus(1.0).remote(0),
    ] {
        let error = get(&refused.add(1)).unwrap_err();
        assert!(matches!(error, RayError::Unsupported { .. }), "{error}");
    }
    assert!(!is_found("s-refused"));
    assert!(!is_gone(std::process::id()));
}
