//! Pools of actors: order, waiting, failures, and what is in the pool.

use std::collections::BTreeSet;
use std::time::Duration;

use ray_core::util::ActorPool;
use ray_core::{Ray, RayError, get, init_or_join, remote};

use crate::support::{Gate, Signs, Watchdog, in_own_process, kill_process};

struct Member {
    calls: u64,
}

#[remote(num_cpus = 0)]
impl Member {
    fn new() -> Self {
        Self { calls: 0 }
    }

    fn double(&mut self, number: u64) -> u64 {
        self.calls += 1;
        2 * number
    }

    /// How many doubles it has made.
    fn calls(&self) -> u64 {
        self.calls
    }

    fn after(&self, gate: Gate, number: u64) -> u64 {
        gate.wait();
        number
    }

    fn check(&self, number: u64) -> Result<u64, String> {
        if number.is_multiple_of(2) {
            Ok(number)
        } else {
            Err(format!("{number} is odd"))
        }
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn die(&self) -> u64 {
        std::process::abort()
    }
}

type Pool = ActorPool<MemberHandle, u64>;

fn members(number: usize) -> Vec<MemberHandle> {
    (0..number).map(|_| Member::remote()).collect()
}

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

#[test]
fn a_map_keeps_the_order_of_its_values_and_uses_every_actor() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let actors = members(3);
    let mut pool = Pool::new(actors.clone()).unwrap();
    let doubled: Vec<u64> = pool
        .map(|actor, number| actor.double(number), 0..50)
        .map(Result::unwrap)
        .collect();
    assert_eq!(doubled, (0..50).map(|number| 2 * number).collect::<Vec<_>>());
    let calls: Vec<u64> = actors.iter().map(|actor| get(&actor.calls()).unwrap()).collect();
    assert_eq!(calls.iter().sum::<u64>(), 50);
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    assert!(!pool.has_next() && pool.has_free());
}

#[test]
fn an_unordered_map_gives_what_is_ready_and_an_ordered_one_waits_for_the_first() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let signs = Signs::new();
    let (late, open) = (signs.gate("late"), signs.gate("open"));
    open.open();
    let mut pool = Pool::new(members(2)).unwrap();
    let gate = |number: u64| if number == 0 { late.clone() } else { open.clone() };
    let mut unordered = pool.map_unordered(|actor, number| actor.after(gate(number), number), 0..6);
    let mut first: Vec<u64> = unordered.by_ref().take(5).map(Result::unwrap).collect();
    // The other actor took them one after another, while the first piece stood still.
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3, 4, 5]);
    late.open();
    assert_eq!(unordered.next().unwrap().unwrap(), 0);
    assert!(unordered.next().is_none());
    drop(unordered);

    let held = signs.gate("held");
    for number in 0..3 {
        let gate = if number == 0 { held.clone() } else { open.clone() };
        pool.submit(move |actor| actor.after(gate, number));
    }
    assert!(matches!(
        pool.get_next(Some(Duration::from_millis(50))),
        Some(Err(RayError::GetTimeout { .. }))
    ));
    let mut later: Vec<u64> = (0..2)
        .map(|_| pool.get_next_unordered(None).unwrap().unwrap())
        .collect();
    later.sort_unstable();
    assert_eq!(later, [1, 2]);
    assert!(pool.has_next());
    held.open();
    assert_eq!(pool.get_next(None).unwrap().unwrap(), 0);
    assert!(pool.get_next(None).is_none() && pool.get_next_unordered(None).is_none() && !pool.has_next());
}

#[test]
fn more_submissions_than_actors_wait_and_come_in_order() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let signs = Signs::new();
    let gate = signs.gate("gate");
    let mut pool = Pool::new(members(1)).unwrap();
    assert!(pool.has_free());
    for number in 0..4 {
        let gate = gate.clone();
        pool.submit(move |actor| actor.after(gate, number));
    }
    assert!(!pool.has_free() && pool.has_next() && pool.pop_idle().is_none());
    gate.open();
    let taken: Vec<u64> = std::iter::from_fn(|| pool.get_next(None)).map(Result::unwrap).collect();
    assert_eq!(taken, [0, 1, 2, 3]);
}

#[test]
fn values_are_taken_as_actors_become_free_and_an_early_end_leaves_a_working_pool() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let mut pool = Pool::new(members(2)).unwrap();
    let taken: Vec<u64> = pool
        .map(|actor, number| actor.double(number), 0..)
        .take(5)
        .map(Result::unwrap)
        .collect();
    assert_eq!(taken, [0, 2, 4, 6, 8]);
    // What still ran belongs to nobody.
    pool.submit(|actor| actor.double(50));
    assert_eq!(pool.get_next(None).unwrap().unwrap(), 100);
    assert!(pool.get_next(None).is_none());
}

#[test]
fn a_pool_is_awaited_on_a_single_thread() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut pool = Pool::new(members(2)).unwrap();
        let mut doubled = Vec::new();
        let mut results = pool.map(|actor, number| actor.double(number), 0..8);
        while let Some(result) = results.next_async().await {
            doubled.push(result.unwrap());
        }
        drop(results);
        assert_eq!(doubled, (0..8).map(|number| 2 * number).collect::<Vec<_>>());
        pool.submit(|actor| actor.double(4));
        assert_eq!(pool.get_next_async(None).await.unwrap().unwrap(), 8);
        pool.submit(|actor| actor.double(5));
        let limit = Some(Duration::from_secs(200));
        assert_eq!(pool.get_next_unordered_async(limit).await.unwrap().unwrap(), 10);
        let signs = Signs::new();
        let gate = signs.gate("gate");
        let held = gate.clone();
        pool.submit(move |actor| actor.after(held, 1));
        let late = pool.get_next_async(Some(Duration::from_millis(20))).await;
        assert!(matches!(late, Some(Err(RayError::GetTimeout { .. }))), "{late:?}");
        // The blocking form is refused, with the way out, and nothing is lost.
        let refused = pool.get_next(None).unwrap().unwrap_err();
        assert!(matches!(refused, RayError::BlockingInAsync { .. }), "{refused}");
        gate.open();
        assert_eq!(pool.get_next_async(None).await.unwrap().unwrap(), 1);
    });
}

#[test]
fn an_error_of_the_code_is_its_results_and_the_actor_works_on() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let mut pool = Pool::new(members(1)).unwrap();
    let results: Vec<_> = pool.map(|actor, number| actor.check(number), 0..4).collect();
    assert_eq!(results.len(), 4);
    for (number, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert!(value == number && value % 2 == 0),
            Err(error) => assert!(error.to_string().contains(&format!("{number} is odd")), "{error}"),
        }
    }
    assert!(pool.has_free());
}

#[test]
fn actors_are_pushed_once_and_popped_while_idle() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let mut pool = Pool::new([]).unwrap();
    assert!(!pool.has_free() && pool.pop_idle().is_none() && pool.get_next(None).is_none());
    pool.submit(|actor| actor.double(3));
    let nobody = pool.get_next(None).unwrap().unwrap_err();
    assert!(nobody.to_string().contains("push() one"), "{nobody}");
    let actor = Member::remote();
    pool.push(actor.clone()).unwrap();
    assert_eq!(pool.get_next(None).unwrap().unwrap(), 6);
    let twice = pool.push(actor.clone()).unwrap_err();
    assert!(twice.to_string().contains("in the pool already"), "{twice}");
    let popped = pool.pop_idle().unwrap();
    assert_eq!(get(&popped.calls()).unwrap(), 1);
    assert!(pool.pop_idle().is_none());
    pool.push(popped).unwrap();
    assert!(pool.has_free());
}

#[test]
fn a_dead_actor_leaves_the_pool_and_the_others_do_the_work() {
    in_own_process(|| {
        let _ray = session();
        let mut pool = Pool::new(members(2)).unwrap();
        pool.submit(|actor| actor.die());
        let died = pool.get_next(None).unwrap().unwrap_err();
        assert!(matches!(died, RayError::ActorDied { .. }), "{died}");
        // All of it is done by the one that is left: a dead actor would answer fastest.
        let doubled: Vec<u64> = pool
            .map(|actor, n| actor.double(n), 0..20)
            .map(Result::unwrap)
            .collect();
        assert_eq!(doubled.len(), 20);
        let survivor = pool.pop_idle().unwrap();
        assert!(pool.pop_idle().is_none());
        assert_eq!(get(&survivor.calls()).unwrap(), 20);

        // The last one dies under a map: the rest is an error once, and the pool can go on with a new actor.
        kill_process(get(&survivor.pid()).unwrap());
        pool.push(survivor).unwrap();
        let results: Vec<_> = pool.map(|actor, n| actor.double(n), 0..20).collect();
        assert!(results.len() < 20 && results.iter().all(Result::is_err), "{results:?}");
        let last = results.last().unwrap().as_ref().unwrap_err();
        assert!(last.to_string().contains("no living actor"), "{last}");
        pool.push(Member::remote()).unwrap();
        let doubled: BTreeSet<u64> = pool
            .map_unordered(|actor, n| actor.double(n), 0..4)
            .map(Result::unwrap)
            .collect();
        assert_eq!(doubled, BTreeSet::from([0, 2, 4, 6]));
    });
}

#[test]
fn an_actor_that_restarts_stays_in_the_pool() {
    in_own_process(|| {
        let _ray = session();
        let actor = Member::options().max_restarts(-1).remote();
        let mut pool = Pool::new([actor]).unwrap();
        pool.submit(|actor| actor.die());
        let lost = pool.get_next(None).unwrap().unwrap_err();
        assert!(matches!(lost, RayError::ActorUnavailable { .. }), "{lost}");
        let doubled: Vec<_> = pool.map(|actor, n| actor.double(n), 0..3).collect();
        assert_eq!(doubled.len(), 3);
        assert!(pool.has_free());
    });
}
