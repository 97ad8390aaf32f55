//! Named, namespaced, shared and detached actors.

use ray_core::{RayError, get, kill, remote};

use super::{Counter, CounterHandle, is_gone};
use crate::support::{Watchdog, in_own_process, kill_process, wait_until};

#[remote]
fn add_by_name(name: String, amount: i64) -> i64 {
    get(&CounterHandle::get(&name).unwrap().add(amount)).unwrap()
}

#[test]
fn a_named_actor_is_found_from_every_process() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().name("found").remote(0);
    assert_eq!(get(&add_by_name::remote("found", 1)).unwrap(), 1);
    let found = CounterHandle::get("found").unwrap();
    assert_eq!(get(&found.add(1)).unwrap(), 2);
    assert_eq!(get(&counter.add(1)).unwrap(), 3);
}

#[test]
fn a_handle_found_by_name_does_not_keep_the_actor_alive() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().name("weakly").remote(0);
    let pid = get(&counter.pid()).unwrap();
    let found = CounterHandle::get("weakly").unwrap();
    drop(counter);
    wait_until(|| is_gone(pid));
    assert!(matches!(get(&found.add(1)), Err(RayError::ActorDied { .. })));
    wait_until(|| matches!(CounterHandle::get("weakly"), Err(RayError::ActorNotFound { .. })));
}

#[test]
fn a_name_is_taken_once_in_each_namespace() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let first = Counter::options().name("once").remote(0);
    let second = Counter::options().name("once").remote(10);
    let elsewhere = Counter::options().name("once").namespace("elsewhere").remote(20);
    let error = get(&second.add(1)).unwrap_err();
    assert!(matches!(error, RayError::ActorNameTaken { .. }), "{error}");
    assert_eq!(get(&first.add(1)).unwrap(), 1);
    assert_eq!(get(&elsewhere.add(1)).unwrap(), 21);
    assert_eq!(
        get(&CounterHandle::get_in("elsewhere", "once").unwrap().add(1)).unwrap(),
        22
    );
    // The handle that is an error can be passed on, and stays one.
    let error = get(&add_with::remote(second.clone())).unwrap_err();
    assert!(error.to_string().contains("RAY0020"), "{error}");
}

#[remote]
fn add_with(counter: CounterHandle) -> Result<i64, RayError> {
    get(&counter.add(1))
}

#[test]
fn get_if_exists_gives_the_living_actor_to_all_who_ask() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let shared = || {
        Counter::options()
            .name("shared")
            .get_if_exists(true)
            .max_restarts(1)
            .remote(0)
    };
    let first = shared();
    let others = [shared(), shared()];
    let mut calls = vec![first.add(1)];
    calls.extend(others.iter().map(|other| other.add(1)));
    let mut counted = get(&calls).unwrap();
    counted.sort_unstable();
    assert_eq!(counted, [1, 2, 3]);
    // Also where such a handle is passed on, at once and after a restart.
    assert_eq!(get(&add_with::remote(others[0].clone())).unwrap(), 4);
    let pid = get(&others[1].pid()).unwrap();
    kill_process(pid);
    wait_until(|| is_gone(pid));
    wait_until(|| get(&first.add(0)).is_ok());
    assert_eq!(get(&others[0].add(1)).unwrap(), 1);
    assert_eq!(get(&first.add(1)).unwrap(), 2);
    // These handles do not hold it; the first does.
    drop(others);
    assert_eq!(get(&first.add(1)).unwrap(), 3);
    kill(&shared(), true).unwrap();
    assert!(matches!(get(&first.add(1)), Err(RayError::ActorDied { .. })));
}

#[test]
fn a_name_is_free_again_when_its_actor_is_dead() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for _ in 0..3 {
        let counter = Counter::options().name("again").remote(0);
        assert_eq!(get(&counter.add(1)).unwrap(), 1);
        kill(&counter, true).unwrap();
    }
}

#[remote(max_retries = 0)]
fn create_detached() {
    let counter = Counter::options().name("detached").detached().remote(0);
    get(&counter.add(1)).unwrap();
    std::process::abort();
}

#[test]
fn a_detached_actor_outlives_its_handles_and_its_creator() {
    // A worker dies with all that it owns, also what it made for other tests.
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        get(&create_detached::remote()).unwrap_err();
        let counter = CounterHandle::get("detached").unwrap();
        assert_eq!(get(&counter.add(1)).unwrap(), 2);
        drop(counter);
        let counter = CounterHandle::get("detached").unwrap();
        let pid = get(&counter.pid()).unwrap();
        assert_eq!(get(&counter.add(1)).unwrap(), 3);
        kill(&counter, true).unwrap();
        wait_until(|| is_gone(pid));
    });
}

#[test]
fn a_name_of_another_type_is_an_error() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let _other = Other::options().name("other-type").remote();
    let found = || CounterHandle::get("other-type");
    wait_until(|| !matches!(found(), Err(RayError::ActorNotFound { .. })));
    let error = found().unwrap_err();
    assert!(error.to_string().contains("Other"), "{error}");
}

struct Other;

#[remote]
impl Other {
    fn new() -> Self {
        Self
    }
}
