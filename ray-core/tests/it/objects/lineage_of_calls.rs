//! Lost results of actors' calls are made again by calling once more, where that was allowed by `max_task_retries`.

use std::time::Duration;

use ray_core::value::Buffer;
use ray_core::{ObjectRef, RayError, get, get_timeout, kill, remote};
use serde::{Deserialize, Serialize};

use super::lineage::{lose, reason, session};
use super::{MIB, all_is_freed, pattern, small_store};
use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

struct Maker {
    made: u64,
}

#[derive(Serialize, Deserialize)]
struct Inside(ObjectRef<Buffer>);

#[remote(max_task_retries = 3)]
impl Maker {
    fn new() -> Self {
        Self { made: 0 }
    }

    fn make(&mut self, number: u64, runs: Tally) -> Buffer {
        runs.add();
        self.made += 1;
        Buffer::from(pattern(number, MIB))
    }

    fn add_one(&mut self, of: Buffer, runs: Tally) -> Buffer {
        runs.add();
        let number = u64::from_le_bytes(of.as_slice()[..8].try_into().unwrap());
        Buffer::from(pattern(number + 1, MIB))
    }

    fn check(&mut self, number: u64, buffer: Buffer) -> bool {
        buffer.as_slice() == pattern(number, MIB)
    }

    fn look_inside(&mut self, inside: Inside) -> Result<usize, RayError> {
        Ok(get(&inside.0)?.len())
    }

    async fn await_inside(&mut self, inside: Inside) -> Result<usize, RayError> {
        Ok(inside.0.await?.len())
    }

    fn wait(&mut self, gate: Gate) {
        gate.wait();
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn items(&self, count: u64, runs: Tally) -> impl Iterator<Item = Buffer> {
        runs.add();
        (0..count).map(|number| Buffer::from(pattern(number, MIB)))
    }
}

#[test]
fn a_lost_result_of_a_call_is_made_again_by_the_actor_as_it_is_then() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let maker = Maker::remote();
        let made = maker.make(5, runs.clone());
        assert!(get(&made).unwrap().as_slice() == pattern(5, MIB));
        lose(&ray, &made);
        assert!(get(&made).unwrap().as_slice() == pattern(5, MIB));
        assert_eq!((runs.count(), get(&maker.made()).unwrap()), (2, 2));
        drop((made, maker));
        all_is_freed();
    });
}

#[test]
fn calls_that_wait_for_lost_results_of_earlier_ones_do_not_hold_these_back() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let [first_runs, second_runs] = ["first", "second"].map(|name| signs.tally(name));
        let gate = signs.gate("go on");
        let maker = Maker::remote();
        let first = maker.make(5, first_runs.clone());
        let second = maker.add_one(&first, second_runs.clone());
        get(&second).unwrap();
        // The first goes with its last handle, and is made again for the second.
        let gone = first.id();
        drop(first);
        wait_until(|| !super::report().objects.iter().any(|object| object.object == gone));
        lose(&ray, &second);
        // All stand in line before anybody notices.
        let waits = maker.wait(gate.clone());
        let checks: Vec<_> = (0..3).map(|_| maker.check(6, &second)).collect();
        let again = maker.add_one(&second, second_runs.clone());
        gate.open();
        get(&waits).unwrap();
        assert_eq!(get(&checks).unwrap(), [true; 3]);
        assert!(get(&again).unwrap().as_slice() == pattern(7, MIB));
        assert_eq!((first_runs.count(), second_runs.count()), (2, 3));
        drop((second, waits, checks, again, maker));
        all_is_freed();
    });
}

#[test]
fn an_exclusive_call_that_waits_for_a_lost_result_of_its_own_actor_is_told_that_it_would_wait_for_ever() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let maker = Maker::remote();
        // It finds the loss itself: the call that would make the value again comes while it waits.
        for asynchronous in [false, true] {
            let made = maker.make(5, runs.clone());
            get(&made).unwrap();
            lose(&ray, &made);
            let inside = Inside(made.clone());
            let looked = if asynchronous {
                maker.await_inside(inside)
            } else {
                maker.look_inside(inside)
            };
            let text = get(&looked).unwrap_err().to_string();
            assert!(text.contains("RAY0019"), "{text}");
        }
        // It begins to wait when that call stands behind it already.
        let made = maker.make(6, runs.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        let gate = signs.gate("go on");
        let waits = maker.wait(gate.clone());
        let looked = maker.look_inside(Inside(made.clone()));
        match get_timeout(&made, Duration::from_millis(300)).unwrap_err() {
            RayError::GetTimeout { pending, of, waited } => {
                assert_eq!((pending, of, waited), (1, 1, Duration::from_millis(300)));
            }
            other => panic!("{other}"),
        }
        gate.open();
        let text = get(&looked).unwrap_err().to_string();
        assert!(text.contains("RAY0019"), "{text}");
        assert!(get(&made).unwrap().as_slice() == pattern(6, MIB));
        // Whichever of call and wait came second was refused.
        assert!(get(&maker.made()).unwrap() >= 4);
        drop((made, waits, looked, maker));
        all_is_freed();
    });
}

#[test]
fn a_call_that_may_not_run_again_or_whose_actor_has_ended_says_so() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let maker = Maker::remote();
        let once = maker.options().max_task_retries(0).make(1, signs.tally("once"));
        get(&once).unwrap();
        lose(&ray, &once);
        assert!(reason(&once).contains("may not be retried"), "{}", reason(&once));

        let made = maker.make(2, signs.tally("killed"));
        get(&made).unwrap();
        kill(&maker, true).unwrap();
        wait_until(|| matches!(get(&maker.made()), Err(RayError::ActorDied { .. })));
        lose(&ray, &made);
        assert!(reason(&made).contains("has ended"), "{}", reason(&made));

        let another = Maker::remote();
        let left = another.make(3, signs.tally("dropped"));
        get(&left).unwrap();
        drop((maker, another));
        lose(&ray, &left);
        assert!(reason(&left).contains("no handle of it"), "{}", reason(&left));
        drop((once, made, left));
        all_is_freed();
    });
}

#[test]
fn an_item_of_an_actors_stream_is_made_again() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let maker = Maker::remote();
        let items: Vec<_> = maker.items(3, runs.clone()).collect();
        get(&items).unwrap();
        lose(&ray, &items[1]);
        for (number, item) in (0..).zip(&items) {
            assert!(get(item).unwrap().as_slice() == pattern(number, MIB));
        }
        assert!(runs.count() > 1);
        drop((items, maker));
        all_is_freed();
    });
}

#[test]
fn an_item_of_an_actors_stream_that_was_dropped_before_its_end_is_made_again() {
    in_own_process(|| {
        let store = small_store(16).config("generator_backpressure_num_objects", 2);
        let ray = store.init().unwrap();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let maker = Maker::remote();
        let mut stream = maker.items(1000, runs.clone());
        let taken: Vec<_> = stream.by_ref().take(2).collect();
        get(&taken).unwrap();
        drop(stream);
        // It runs alone: by then the call that yielded them has ended.
        assert!(get(&maker.check(0, &taken[0])).unwrap());
        lose(&ray, &taken[1]);
        for (number, item) in (0..).zip(&taken) {
            assert!(get(item).unwrap().as_slice() == pattern(number, MIB));
        }
        assert!(runs.count() > 1);
        drop((taken, maker));
        all_is_freed();
    });
}
