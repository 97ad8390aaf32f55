//! Actors that fail, die, restart, or are ended.

use ray_core::{RayError, get, kill, list_actors, remote};

use super::{Counter, is_gone};
use crate::support::{Gate, Signs, Tally, Watchdog, in_own_process, kill_process, wait_until};

struct Fragile {
    made: usize,
}

#[remote(max_restarts = -1)]
impl Fragile {
    fn new(made: Tally, how: String) -> Result<Self, std::io::Error> {
        let made = made.add();
        match how.as_str() {
            "error" => Err(std::io::Error::other("no actor today")),
            "panic" => panic!("the constructor panics"),
            "die-first" if made == 1 => std::process::abort(),
            _ => Ok(Self { made }),
        }
    }

    fn made(&self) -> usize {
        self.made
    }

    fn panic(&mut self) {
        panic!("the method panics");
    }
}

#[test]
fn a_constructor_that_fails_is_the_error_of_all_calls_and_is_not_run_again() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    for (how, said) in [("error", "no actor today"), ("panic", "the constructor panics")] {
        let made = signs.tally(how);
        let fragile = Fragile::remote(made.clone(), how);
        for call in [fragile.made(), fragile.made()] {
            let error = get(&call).unwrap_err();
            assert!(matches!(error, RayError::TaskFailed { .. }), "{error}");
            assert!(
                error.to_string().contains(said) && error.to_string().contains("Fragile::new"),
                "{error}"
            );
        }
        assert!(get(&fragile.made()).is_err());
        assert_eq!(made.count(), 1);
    }
}

#[test]
fn a_constructor_whose_process_dies_is_run_again() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let fragile = Fragile::remote(signs.tally("made"), "die-first");
    assert_eq!(get(&fragile.made()).unwrap(), 2);
}

#[test]
fn a_panic_of_a_method_is_the_callers_and_the_actor_goes_on() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let fragile = Fragile::remote(signs.tally("made"), "well");
    let error = get(&fragile.panic()).unwrap_err().to_string();
    assert!(
        error.contains("the method panics") && error.contains("failures.rs"),
        "{error}"
    );
    assert_eq!(get(&fragile.made()).unwrap(), 1);
}

#[test]
fn ten_thousand_calls_to_a_dead_actor_all_get_its_error() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let fragile = Fragile::remote(signs.tally("made"), "error");
    let calls: Vec<_> = (0..10_000).map(|_| fragile.made()).collect();
    assert!(calls.iter().all(|call| get(call).is_err()));
}

#[test]
fn an_actor_restarts_exactly_as_often_as_allowed() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().max_restarts(2).max_task_retries(-1).remote(10);
    for _ in 0..2 {
        assert_eq!(get(&counter.add(1)).unwrap(), 11);
        let pid = get(&counter.pid()).unwrap();
        kill_process(pid);
        wait_until(|| is_gone(pid));
    }
    assert_eq!(get(&counter.add(1)).unwrap(), 11);
    kill_process(get(&counter.pid()).unwrap());
    let error = get(&counter.add(1)).unwrap_err();
    assert!(matches!(error, RayError::ActorDied { .. }), "{error}");
    assert!(
        error.to_string().contains("after 2 restarts") && error.to_string().contains("SIGKILL"),
        "{error}"
    );
}

#[test]
fn a_call_in_flight_at_the_death_is_an_error_without_retries() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    for restarts in [0, 1] {
        let runs = signs.tally(&restarts.to_string());
        let counter = Counter::options().max_restarts(restarts).remote(0);
        let pid = get(&counter.pid()).unwrap();
        let lost = counter.add_noted(runs.clone(), Some(signs.gate("never")));
        wait_until(|| runs.count() == 1);
        kill_process(pid);
        let error = get(&lost).unwrap_err();
        if restarts == 0 {
            assert!(matches!(error, RayError::ActorDied { .. }), "{error}");
        } else {
            assert!(matches!(error, RayError::ActorUnavailable { .. }), "{error}");
            assert_eq!(get(&counter.add(1)).unwrap(), 1);
        }
    }
}

#[test]
fn calls_in_flight_at_the_death_are_sent_again_in_order_and_finished_ones_are_not() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let counter = Counter::options().max_restarts(1).max_task_retries(1).remote(0);
    let pid = get(&counter.pid()).unwrap();
    let (finished, open): (Tally, Tally) = (signs.tally("finished"), signs.tally("open"));
    let go_on = signs.gate("go");
    for number in 1..=5 {
        assert_eq!(get(&counter.add_noted(finished.clone(), None)).unwrap(), number);
    }
    let first = counter.add_noted(open.clone(), Some(go_on.clone()));
    let rest: Vec<_> = (0..100).map(|_| counter.add(1)).collect();
    wait_until(|| open.count() == 1);
    kill_process(pid);
    wait_until(|| open.count() == 2);
    go_on.open();
    // The state is a new one, and only open calls ran on it.
    assert_eq!(get(&first).unwrap(), 1);
    assert_eq!(get(&rest).unwrap(), (2..=101).collect::<Vec<i64>>());
    assert_eq!(finished.count(), 5);
}

#[test]
fn no_answered_call_runs_twice_however_the_actor_dies() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let counter = Counter::options().max_restarts(-1).remote(0);
    let runs = signs.tally("runs");
    let mut answered = 0;
    let mut open = 0;
    for round in 0..5 {
        let pid = get(&counter.pid()).unwrap_or_default();
        let calls: Vec<_> = (0..50).map(|_| counter.add_noted(runs.clone(), None)).collect();
        if pid != 0 && round % 2 == 0 {
            kill_process(pid);
        }
        for call in calls {
            match get(&call) {
                Ok(_) => answered += 1,
                Err(RayError::ActorUnavailable { .. }) => open += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    let runs = runs.count();
    assert!(
        (answered..=answered + open).contains(&runs),
        "{answered} answered, {open} lost, {runs} ran"
    );
}

#[test]
fn kill_for_good_ends_an_actor_that_could_restart() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let counter = Counter::options().max_restarts(-1).max_task_retries(-1).remote(0);
    let pid = get(&counter.pid()).unwrap();
    let runs = signs.tally("runs");
    let open = counter.add_noted(runs.clone(), Some(signs.gate("never")));
    wait_until(|| runs.count() == 1);
    kill(&counter, true).unwrap();
    let error = get(&open).unwrap_err();
    assert!(
        matches!(error, RayError::ActorDied { .. }) && error.to_string().contains("kill()"),
        "{error}"
    );
    assert!(matches!(get(&counter.add(1)), Err(RayError::ActorDied { .. })));
    wait_until(|| is_gone(pid));
}

#[test]
fn kill_not_for_good_lets_an_actor_restart() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().max_restarts(1).max_task_retries(-1).remote(5);
    assert_eq!(get(&counter.add(1)).unwrap(), 6);
    let pid = get(&counter.pid()).unwrap();
    kill(&counter, false).unwrap();
    wait_until(|| is_gone(pid));
    assert_eq!(get(&counter.add(1)).unwrap(), 6);
    kill(&counter, false).unwrap();
    wait_until(|| matches!(get(&counter.add(1)), Err(RayError::ActorDied { .. })));
}

struct Slow;

#[remote(max_restarts = -1)]
impl Slow {
    fn new(made: Tally, go_on: Gate) -> Self {
        if made.add() > 1 {
            go_on.wait();
        }
        Self
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[test]
fn dropping_the_last_handle_during_a_restart_ends_the_actor() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let (made, go_on) = (signs.tally("made"), signs.gate("go"));
    let slow = Slow::remote(made.clone(), go_on.clone());
    kill_process(get(&slow.pid()).unwrap());
    wait_until(|| made.count() == 2);
    drop(slow);
    go_on.open();
    let dead = || {
        let all = list_actors().unwrap();
        all.iter()
            .filter(|actor| actor.type_name.ends_with("Slow"))
            .all(|actor| actor.state == "DEAD")
    };
    wait_until(dead);
    assert_eq!(made.count(), 2);
}

#[test]
fn a_dropped_handle_does_not_restart_an_actor_that_dies() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let (made, runs) = (signs.tally("made"), signs.tally("runs"));
    let fragile = Dying::remote(made.clone());
    drop(fragile.die(runs.clone()));
    drop(fragile);
    wait_until(|| runs.count() == 1);
    wait_until(|| {
        let all = list_actors().unwrap();
        all.iter()
            .filter(|actor| actor.type_name.ends_with("Dying"))
            .all(|actor| actor.state == "DEAD")
    });
    assert_eq!((runs.count(), made.count()), (1, 1));
}

struct Dying;

#[remote(max_restarts = 0)]
impl Dying {
    fn new(made: Tally) -> Self {
        made.add();
        Self
    }

    fn die(&mut self, runs: Tally) {
        runs.add();
        std::process::abort();
    }
}

#[remote]
fn when_open(gate: Gate) -> i64 {
    gate.wait();
    1
}

#[test]
fn an_actor_is_killed_before_the_arguments_of_its_constructor_are_ready() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let gate = signs.gate("argument");
    let counter = Counter::options()
        .name("unborn")
        .remote(when_open::remote(gate.clone()));
    let call = counter.add(1);
    kill(&counter, true).unwrap();
    for call in [call, counter.add(1)] {
        let error = get(&call).unwrap_err();
        assert!(
            matches!(&error, RayError::ActorDied { cause, .. } if cause.contains("kill()")),
            "{error}"
        );
    }
    gate.open();
    // Nor is it created later.
    assert_eq!(get(&Counter::options().name("unborn").remote(5).add(1)).unwrap(), 6);
}

#[test]
fn kill_waits_for_the_creation_of_an_actor_no_longer_than_the_setting_says() {
    in_own_process(|| {
        let ray = ray_core::Ray::builder()
            .config("gcs_server_request_timeout_seconds", 3)
            .init()
            .unwrap();
        let signs = Signs::new();
        let gate = signs.gate("argument");
        let counter = Counter::options()
            .name("maybe")
            .get_if_exists(true)
            .remote(when_open::remote(gate.clone()));
        let error = kill(&counter, true).unwrap_err();
        assert!(matches!(error, RayError::ActorPending { .. }), "{error}");
        gate.open();
        assert_eq!(get(&counter.add(1)).unwrap(), 2);
        kill(&counter, true).unwrap();
        assert!(matches!(get(&counter.add(1)), Err(RayError::ActorDied { .. })));
        drop(ray);
    });
}
