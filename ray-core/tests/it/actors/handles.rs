//! Handles: how they travel, and what their end means.

use std::collections::BTreeMap;

use ray_core::{ObjectRef, RayError, get, kill, list_actors, put, remote};
use serde::{Deserialize, Serialize};

use super::{Counter, CounterHandle, is_gone};
use crate::support::{Gate, Signs, Watchdog, in_own_process, kill_process, wait_until};

#[remote]
fn add_in_task(counter: CounterHandle, amount: i64) -> i64 {
    get(&counter.add(amount)).unwrap()
}

#[remote]
fn new_counter(start: i64) -> CounterHandle {
    Counter::remote(start)
}

#[remote]
fn pass_on(counter: CounterHandle, deep: u32) -> i64 {
    if deep == 0 {
        get(&counter.add(1)).unwrap()
    } else {
        get(&pass_on::remote(counter.clone(), deep - 1)).unwrap()
    }
}

#[derive(Serialize, Deserialize)]
struct Team {
    members: BTreeMap<String, CounterHandle>,
}

struct Keeper {
    counter: CounterHandle,
}

#[remote]
impl Keeper {
    fn new(counter: CounterHandle) -> Self {
        Self { counter }
    }

    fn add(&mut self, amount: i64) -> ObjectRef<i64> {
        self.counter.add(amount)
    }

    fn counter(&self) -> CounterHandle {
        self.counter.clone()
    }
}

#[test]
fn the_last_handle_ends_the_actor_after_its_pending_calls() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let (runs, gate) = (signs.tally("runs"), signs.gate("go"));
    let counter = Counter::remote(0);
    let pid = get(&counter.pid()).unwrap();
    let copy = counter.clone();
    drop(counter);
    let pending: Vec<_> = (0..10)
        .map(|_| copy.add_noted(runs.clone(), Some(gate.clone())))
        .collect();
    drop(copy);
    gate.open();
    assert_eq!(get(&pending).unwrap(), (1..=10).collect::<Vec<i64>>());
    wait_until(|| is_gone(pid));
}

#[test]
fn calls_whose_references_were_dropped_run_before_the_actor_ends() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let runs = signs.tally("runs");
    let counter = Counter::remote(0);
    for _ in 0..20 {
        drop(counter.add_noted(runs.clone(), None));
    }
    drop(counter);
    wait_until(|| runs.count() == 20);
}

#[test]
fn handles_are_passed_to_tasks_and_returned_from_them() {
    // A worker that made an actor may become an actor of another test, which is killed.
    in_own_process(|| {
        let _ray = ray_core::init().unwrap();
        let counter = Counter::remote(0);
        let added: Vec<_> = (0..5).map(|_| add_in_task::remote(counter.clone(), 1)).collect();
        let mut added = get(&added).unwrap();
        added.sort_unstable();
        assert_eq!(added, [1, 2, 3, 4, 5]);
        assert_eq!(get(&pass_on::remote(counter.clone(), 3)).unwrap(), 6);
        let other = get(&new_counter::remote(100)).unwrap();
        assert_eq!(get(&other.add(1)).unwrap(), 101);
        assert_eq!(get(&add_in_task::remote(other.clone(), 1)).unwrap(), 102);
    });
}

#[test]
fn a_handle_can_be_used_elsewhere_before_its_actor_is_created() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let gate = signs.gate("go");
    let counter = Counter::remote(number_later::remote(gate.clone()));
    let added = add_in_task::remote(counter.clone(), 1);
    let started = signs.tally("started");
    get(&note::remote(started.clone())).unwrap();
    gate.open();
    assert_eq!(get(&added).unwrap(), 8);
}

#[remote(num_cpus = 0)]
fn number_later(gate: Gate) -> i64 {
    gate.wait();
    7
}

#[remote]
fn note(tally: crate::support::Tally) {
    tally.add();
}

#[test]
fn handles_live_inside_values_and_in_the_store() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let members = [
        ("a".to_owned(), Counter::remote(1)),
        ("b".to_owned(), Counter::remote(2)),
    ];
    let team = put(&BTreeMap::from(members)).unwrap();
    let counted = get(&count_team::remote(&team)).unwrap();
    assert_eq!(counted, 3);
    let members = get(&team).unwrap();
    drop(team);
    assert_eq!(get(&members["b"].add(1)).unwrap(), 3);
    let pids = [get(&members["a"].pid()).unwrap(), get(&members["b"].pid()).unwrap()];
    let team = Team { members };
    drop(team);
    wait_until(|| pids.iter().all(|pid| is_gone(*pid)));
}

#[remote]
fn count_team(members: BTreeMap<String, CounterHandle>) -> i64 {
    members.values().map(|member| get(&member.count()).unwrap()).sum()
}

#[test]
fn an_actor_holds_a_handle_of_another_from_its_constructor_on() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::remote(0);
    let pid = get(&counter.pid()).unwrap();
    let keeper = Keeper::remote(counter.clone());
    drop(counter);
    let inner = get(&keeper.add(5)).unwrap();
    assert_eq!(get(&inner).unwrap(), 5);
    let counter = get(&keeper.counter()).unwrap();
    drop(keeper);
    assert_eq!(get(&counter.add(1)).unwrap(), 6);
    drop((counter, inner));
    wait_until(|| is_gone(pid));
}

#[test]
fn an_actor_with_a_handle_in_its_constructors_arguments_restarts_with_it() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let keeper = RestartingKeeper::remote(Counter::remote(0));
    assert_eq!(get(&get(&keeper.add(1)).unwrap()).unwrap(), 1);
    kill_process(get(&keeper.pid()).unwrap());
    assert_eq!(get(&get(&keeper.add(1)).unwrap()).unwrap(), 2);
}

struct RestartingKeeper {
    counter: CounterHandle,
}

#[remote(max_restarts = 1, max_task_retries = -1)]
impl RestartingKeeper {
    fn new(counter: CounterHandle) -> Self {
        Self { counter }
    }

    fn add(&mut self, amount: i64) -> ObjectRef<i64> {
        self.counter.add(amount)
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[remote(max_retries = 0)]
fn create_and_die(pid_of_child: ObjectRefBox, go_on: Gate) {
    let counter = Counter::remote(0);
    let pid = get(&counter.pid()).unwrap();
    std::fs::write(&pid_of_child.0, pid.to_string()).unwrap();
    go_on.wait();
    std::process::abort();
}

#[derive(Serialize, Deserialize)]
struct ObjectRefBox(std::path::PathBuf);

#[test]
fn actors_end_with_the_process_that_created_them() {
    // A worker dies with all that it owns, also what it made for other tests.
    in_own_process(|| {
        let (_ray, signs) = (ray_core::init().unwrap(), Signs::new());
        let directory = tempfile::tempdir().unwrap();
        let (place, go_on) = (directory.path().join("pid"), signs.gate("go"));
        let task = create_and_die::remote(ObjectRefBox(place.clone()), go_on.clone());
        let read = || std::fs::read_to_string(&place).unwrap_or_default();
        wait_until(|| !read().is_empty());
        let pid: u32 = read().parse().unwrap();
        assert!(!is_gone(pid));
        go_on.open();
        assert!(matches!(get(&task), Err(RayError::WorkerCrashed { .. })));
        wait_until(|| is_gone(pid));
    });
}

#[test]
fn a_detached_actor_whose_handle_is_dropped_at_once_gets_the_handle_in_its_arguments_all_the_same() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let options = Keeper::options().name("left alone").detached();
    drop(options.remote(Counter::remote(5)));
    wait_until(|| KeeperHandle::get("left alone").is_ok());
    let keeper = KeeperHandle::get("left alone").unwrap();
    let added = get(&keeper.add(1)).unwrap();
    assert_eq!(get(&added).unwrap(), 6);
    kill(&keeper, true).unwrap();
    wait_until(|| KeeperHandle::get("left alone").is_err());
}

struct Owner {
    kept: Vec<ObjectRef<Vec<u8>>>,
}

#[remote]
impl Owner {
    fn new() -> Self {
        Self { kept: Vec::new() }
    }

    fn make(&mut self) -> ObjectRef<Vec<u8>> {
        let made = put(&vec![7u8; 1 << 20]).unwrap();
        self.kept.push(made.clone());
        made
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[test]
fn an_actor_does_not_end_while_others_use_what_it_owns() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let owner = Owner::remote();
    let pid = get(&owner.pid()).unwrap();
    let made = get(&owner.make()).unwrap();
    drop(owner);
    // Everything that could have ended it has long been said when another actor has come and gone.
    let other = Counter::remote(0);
    let other_pid = get(&other.pid()).unwrap();
    drop(other);
    wait_until(|| is_gone(other_pid));
    assert_eq!(get(&made).unwrap().len(), 1 << 20);
    assert!(!is_gone(pid));
    drop(made);
    wait_until(|| is_gone(pid));
}

#[test]
fn all_actors_are_listed_the_dead_too() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().name("listed").namespace("lists").remote(0);
    let pid = get(&counter.pid()).unwrap();
    let find = || {
        list_actors()
            .unwrap()
            .into_iter()
            .find(|actor| actor.namespace == "lists")
            .unwrap()
    };
    let listed = find();
    assert_eq!((listed.state, listed.pid, listed.restarts), ("ALIVE", Some(pid), 0));
    assert_eq!(listed.name.as_deref(), Some("listed"));
    assert!(listed.type_name.ends_with("Counter"));
    drop(counter);
    wait_until(|| find().state == "DEAD");
}
