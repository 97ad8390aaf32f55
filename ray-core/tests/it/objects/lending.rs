//! Workers that own what others use: they are kept, and serve others again when they have ceased to.

use std::collections::HashSet;

use ray_core::value::Buffer;
use ray_core::{ObjectRef, Ray, get, kill, list_workers, put, remote};
use serde::{Deserialize, Serialize};

use super::{MIB, all_is_freed, is_alive, pattern, session};
use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

#[derive(Serialize, Deserialize)]
struct Lent(ObjectRef<Buffer>, ObjectRef<u64>);

/// A large and a small object of this worker, and which process that is.
#[remote]
fn lend(number: u64) -> (u32, Lent) {
    let large = put(&Buffer::from(pattern(number, MIB))).unwrap();
    let small = double::remote(number);
    get(&small).unwrap();
    (std::process::id(), Lent(large, small))
}

#[remote]
fn double(number: u64) -> u64 {
    2 * number
}

struct Idler;

#[remote]
impl Idler {
    fn new() -> Self {
        Self
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn is_idle(pid: u32) -> bool {
    let workers = list_workers().unwrap();
    workers.iter().any(|worker| worker.pid == pid && worker.state == "idle")
}

#[test]
fn what_a_task_lends_outlives_actors_that_are_created_and_killed_beside_it() {
    in_own_process(|| {
        let _ray = session(2);
        let (lender, Lent(large, small)) = get(&lend::remote(7)).unwrap();
        for _ in 0..3 {
            wait_until(|| is_idle(lender));
            // More than there can be idle workers: else the lender might be spared by chance.
            let actors: Vec<_> = (0..4).map(|_| Idler::remote()).collect();
            let pids: HashSet<u32> = actors.iter().map(|actor| get(&actor.pid()).unwrap()).collect();
            assert!(
                pids.len() == 4 && !pids.contains(&lender),
                "{lender} is one of {pids:?}"
            );
            for actor in &actors {
                kill(actor, true).unwrap();
            }
            wait_until(|| pids.iter().all(|pid| !is_alive(*pid)));
        }
        assert!(is_alive(lender));
        assert!(get(&large).unwrap().as_slice() == pattern(7, MIB));
        assert_eq!(get(&small).unwrap(), 14);
        drop((large, small));
        all_is_freed();
    });
}

#[test]
fn a_worker_that_lends_serves_tasks_and_one_that_lends_no_more_becomes_an_actor() {
    in_own_process(|| {
        let _ray = session(1);
        let (lender, Lent(large, small)) = get(&lend::remote(3)).unwrap();
        wait_until(|| is_idle(lender));
        // A task is served by whoever was idle last; with the others busy as actors that is the lender.
        let mut others: Vec<_> = (0..3).map(|_| Idler::remote()).collect();
        others
            .iter()
            .for_each(|other| assert_ne!(get(&other.pid()).unwrap(), lender));
        let (again, Lent(second_large, second_small)) = get(&lend::remote(4)).unwrap();
        drop((large, small));
        assert!(get(&second_large).unwrap().as_slice() == pattern(4, MIB));
        drop((second_large, second_small));
        assert!(is_alive(lender) && is_alive(again));
        wait_until(|| {
            others.push(Idler::remote());
            let pid = get(&others[others.len() - 1].pid()).unwrap();
            pid == lender
        });
        drop(others);
        all_is_freed();
    });
}

#[test]
fn idle_workers_that_lend_are_not_reaped_until_they_have_ceased_to() {
    in_own_process(|| {
        let ray = Ray::builder().num_cpus(1).log_to_driver(false);
        let _ray = ray.config("idle_worker_killing_time_threshold_ms", 20).init().unwrap();
        let signs = Signs::new();
        let (entered, gate) = (signs.tally("entered"), signs.gate("end"));
        // Several processes, each of which lends: they wait for one another.
        let lending: Vec<_> = (0..3)
            .map(|number| lend_together::remote(number, entered.clone(), 3))
            .collect();
        let lent = get(&lending).unwrap();
        drop(lending);
        let lenders: HashSet<u32> = lent.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(lenders.len(), 3);
        // Others, which lend nothing, come and go.
        let beside: Vec<_> = (0..2).map(|_| wait_in_vain::remote(gate.clone())).collect();
        gate.open();
        get(&beside).unwrap();
        drop(beside);
        let idle = || {
            list_workers()
                .unwrap()
                .into_iter()
                .filter(|worker| worker.state == "idle")
        };
        wait_until(|| lenders.iter().all(|pid| is_idle(*pid)));
        wait_until(|| idle().count() <= 4);
        for (number, (pid, Lent(large, _))) in (0..).zip(&lent) {
            assert!(is_alive(*pid));
            assert!(get(large).unwrap().as_slice() == pattern(number, MIB));
        }
        drop(lent);
        wait_until(|| idle().count() == 1);
        all_is_freed();
    });
}

#[remote(num_cpus = 0)]
fn lend_together(number: u64, entered: Tally, all: usize) -> (u32, Lent) {
    entered.add();
    wait_until(|| entered.count() == all);
    let large = put(&Buffer::from(pattern(number, MIB))).unwrap();
    (std::process::id(), Lent(large, put(&number).unwrap()))
}

#[remote(num_cpus = 0)]
fn wait_in_vain(gate: Gate) {
    gate.wait();
}

/// Starts a task that nobody waits for, and ends.
#[remote(max_calls = 1)]
fn start_and_forget(gate: Gate, ended: Tally) -> u32 {
    drop(end_after::remote(gate, ended));
    std::process::id()
}

#[remote(num_cpus = 0)]
fn end_after(gate: Gate, ended: Tally) {
    gate.wait();
    ended.add();
}

#[test]
fn a_retired_worker_ends_only_after_the_tasks_that_it_has_started() {
    in_own_process(|| {
        let _ray = session(2);
        let signs = Signs::new();
        let (gate, ended) = (signs.gate("end"), signs.tally("ended"));
        let pid = get(&start_and_forget::remote(gate.clone(), ended.clone())).unwrap();
        let exiting = || {
            let workers = list_workers().unwrap();
            workers
                .iter()
                .any(|worker| worker.pid == pid && worker.state == "exiting")
        };
        wait_until(exiting);
        gate.open();
        wait_until(|| !is_alive(pid));
        assert_eq!(ended.count(), 1);
        all_is_freed();
    });
}
