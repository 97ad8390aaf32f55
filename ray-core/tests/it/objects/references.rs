//! References: what keeps an object alive, across processes and inside values, and that it is freed after.

use std::sync::Mutex;

use ray_core::value::Buffer;
use ray_core::{ObjectRef, RayError, get, put, remote, runtime_context};
use serde::{Deserialize, Serialize};

use super::{MIB, all_is_freed, is_alive, pattern, report, session};
use crate::support::{in_own_process, kill_process, wait_until};

/// A reference inside a reference inside ...
#[derive(Clone, Serialize, Deserialize)]
enum Nest {
    Leaf(ObjectRef<Buffer>),
    Deeper(ObjectRef<Nest>),
}

#[remote]
fn deeper(nest: Nest) -> Nest {
    Nest::Deeper(put(&nest).unwrap())
}

#[remote]
fn length(nest: Nest) -> usize {
    let mut nest = nest;
    loop {
        nest = match nest {
            Nest::Leaf(leaf) => return get(&leaf).unwrap().len(),
            Nest::Deeper(inner) => get(&inner).unwrap(),
        };
    }
}

#[test]
fn references_nested_five_deep_through_five_tasks_keep_the_object_and_then_free_it() {
    in_own_process(|| {
        let _ray = session(2);
        let bytes = pattern(7, MIB);
        let leaf = put(&Buffer::from(bytes.clone())).unwrap();
        let mut nest = deeper::remote(Nest::Leaf(leaf));
        for _ in 1..5 {
            nest = deeper::remote(&nest);
        }
        assert_eq!(get(&length::remote(&nest)).unwrap(), MIB);
        let mut inner = get(&nest).unwrap();
        drop(nest);
        let mut depth = 0;
        let leaf = loop {
            inner = match inner {
                Nest::Leaf(leaf) => break leaf,
                Nest::Deeper(next) => get(&next).unwrap(),
            };
            depth += 1;
        };
        assert_eq!(depth, 5);
        assert_eq!(get(&leaf).unwrap().as_slice(), bytes);
        drop(leaf);
        all_is_freed();
    });
}

#[derive(Clone, Serialize, Deserialize)]
struct Holder {
    inside: ObjectRef<Buffer>,
    weight: Vec<u8>,
}

#[remote]
fn weigh(holder: Holder) -> Result<usize, RayError> {
    Ok(get(&holder.inside)?.len() + holder.weight.len())
}

#[remote]
fn pass(holder: Holder) -> Holder {
    holder
}

#[remote]
fn produce(bytes: usize, weight: usize) -> Holder {
    let inside = put(&Buffer::from(pattern(1, bytes))).unwrap();
    let weight = vec![0; weight];
    Holder { inside, weight }
}

#[test]
fn a_reference_inside_a_value_small_or_large_arrives_in_a_task_and_comes_back() {
    in_own_process(|| {
        let _ray = session(2);
        for weight in [0, MIB] {
            let holder = || Holder {
                inside: put(&Buffer::from(pattern(2, MIB))).unwrap(),
                weight: vec![0; weight],
            };
            // Nothing but the call holds the reference.
            assert_eq!(get(&weigh::remote(holder())).unwrap(), MIB + weight);
            let back = get(&pass::remote(holder())).unwrap();
            assert_eq!(get(&back.inside).unwrap().as_slice(), pattern(2, MIB));
            let stored = put(&holder()).unwrap();
            assert_eq!(get(&weigh::remote(&stored)).unwrap(), MIB + weight);
            let made = produce::remote(MIB, weight);
            assert_eq!(get(&weigh::remote(&made)).unwrap(), MIB + weight);
            let made = get(&made).unwrap();
            assert_eq!(get(&made.inside).unwrap().as_slice(), pattern(1, MIB));
        }
        all_is_freed();
    });
}

/// Gives back what it is given, and keeps nothing of it.
struct Shelf {
    held: Mutex<Vec<Holder>>,
}

#[remote]
impl Shelf {
    fn new() -> Self {
        Self { held: Mutex::default() }
    }

    fn lay(&self, holder: Holder) {
        self.held.lock().unwrap().push(holder);
    }

    fn take(&self) -> Option<Holder> {
        self.held.lock().unwrap().pop()
    }

    fn take_all(&self) -> impl Iterator<Item = Holder> {
        std::iter::from_fn(|| self.held.lock().unwrap().pop())
    }
}

#[test]
fn a_last_reference_that_comes_back_to_its_owner_in_a_result_or_an_item_is_not_freed_on_the_way() {
    in_own_process(|| {
        let _ray = session(2);
        let shelf = Shelf::remote();
        let holder = |number| Holder {
            inside: put(&Buffer::from(pattern(number, MIB))).unwrap(),
            weight: Vec::new(),
        };
        let is_whole = |back: &Holder, number| get(&back.inside).unwrap().as_slice() == pattern(number, MIB);
        for number in 0..20 {
            // From here on nobody but the actor holds the object, which the driver owns.
            get(&shelf.lay(holder(number))).unwrap();
            let back = get(&shelf.take()).unwrap().unwrap();
            assert!(is_whole(&back, number));
            get(&shelf.lay(back)).unwrap();
            for item in shelf.take_all() {
                assert!(is_whole(&get(&item).unwrap(), number));
            }
        }
        drop(shelf);
        all_is_freed();
    });
}

/// Keeps what it is given.
struct Keeper {
    kept: Vec<Holder>,
}

#[remote]
impl Keeper {
    fn new(first: Holder) -> Self {
        Self { kept: vec![first] }
    }

    fn keep(&mut self, holder: Holder) {
        self.kept.push(holder);
    }

    fn sizes(&self) -> Vec<usize> {
        self.kept
            .iter()
            .map(|holder| get(&holder.inside).unwrap().len())
            .collect()
    }

    fn take(&mut self) -> Option<Holder> {
        self.kept.pop()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[test]
fn an_actor_keeps_references_of_its_constructor_and_its_calls_and_gives_them_back() {
    in_own_process(|| {
        let _ray = session(2);
        for weight in [0, MIB] {
            let holder = |bytes| Holder {
                inside: put(&Buffer::from(pattern(3, bytes))).unwrap(),
                weight: vec![0; weight],
            };
            let keeper = Keeper::remote(holder(1000));
            get(&keeper.keep(holder(2000))).unwrap();
            assert_eq!(get(&keeper.sizes()).unwrap(), [1000, 2000]);
            for bytes in [2000, 1000] {
                let back = get(&keeper.take()).unwrap().unwrap();
                assert_eq!(get(&back.inside).unwrap().as_slice(), pattern(3, bytes));
            }
            assert!(get(&keeper.take()).unwrap().is_none());
        }
        all_is_freed();
    });
}

#[test]
fn what_a_dead_borrower_held_is_freed() {
    in_own_process(|| {
        let _ray = session(2);
        let inside = put(&Buffer::from(pattern(4, MIB))).unwrap();
        let id = inside.id();
        let keeper = Keeper::remote(Holder {
            inside,
            weight: Vec::new(),
        });
        let pid = get(&keeper.pid()).unwrap();
        assert!(report().objects.iter().any(|object| object.object == id));
        kill_process(pid);
        assert!(get(&keeper.pid()).is_err());
        wait_until(|| !report().objects.iter().any(|object| object.object == id));
        drop(keeper);
        all_is_freed();
    });
}

#[remote]
fn lend() -> (u32, Holder) {
    let inside = put(&Buffer::from(pattern(5, MIB))).unwrap();
    let weight = Vec::new();
    (std::process::id(), Holder { inside, weight })
}

#[test]
fn an_object_dies_with_its_owner_and_the_error_says_so() {
    in_own_process(|| {
        let _ray = session(2);
        let (pid, lent) = get(&lend::remote()).unwrap();
        assert_eq!(get(&lent.inside).unwrap().as_slice(), pattern(5, MIB));
        kill_process(pid);
        let error = loop {
            match get(&lent.inside) {
                Ok(_) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, RayError::OwnerDied { .. }), "{error}");
        let error = get(&weigh::remote(lent)).unwrap_err();
        assert!(error.to_string().contains("died with its owner"), "{error}");
        all_is_freed();
    });
}

#[remote(max_calls = 1)]
fn lend_and_retire() -> (u32, Holder) {
    let inside = put(&Buffer::from(pattern(6, MIB))).unwrap();
    let weight = Vec::new();
    (std::process::id(), Holder { inside, weight })
}

#[test]
fn a_worker_that_owns_something_lent_is_not_ended_before_it_comes_back() {
    in_own_process(|| {
        let _ray = session(1);
        let (pid, lent) = get(&lend_and_retire::remote()).unwrap();
        wait_until(|| {
            let processes = report().processes;
            processes
                .iter()
                .any(|process| process.pid == pid && process.state == "exiting")
        });
        // Others come and go meanwhile.
        let (other, second) = get(&lend_and_retire::remote()).unwrap();
        assert_ne!(other, pid);
        drop(second);
        wait_until(|| !is_alive(other));
        assert!(is_alive(pid));
        assert_eq!(get(&lent.inside).unwrap().as_slice(), pattern(6, MIB));
        drop(lent);
        wait_until(|| !is_alive(pid));
        all_is_freed();
    });
}

#[remote]
fn same_worker() -> String {
    runtime_context().unwrap().worker_id().to_string()
}

#[test]
fn a_reference_that_is_cloned_and_dropped_by_many_threads_is_freed_once() {
    in_own_process(|| {
        let _ray = session(2);
        let reference = put(&Buffer::from(pattern(8, MIB))).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let reference = reference.clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        let again = reference.clone();
                        assert_eq!(get(&again).unwrap().len(), MIB);
                    }
                });
            }
        });
        assert!(!get(&same_worker::remote()).unwrap().is_empty());
        drop(reference);
        all_is_freed();
    });
}

/// Lives in the driver, and holds a reference.
struct Lender {
    kept: Inner,
}

#[derive(Serialize, Deserialize)]
struct Inner(ObjectRef<Buffer>);

#[remote(isolation = "shared")]
impl Lender {
    fn new(kept: Inner, size: Buffer) -> Self {
        assert_eq!(size.len(), MIB);
        Self { kept }
    }

    fn len(&self) -> usize {
        get(&self.kept.0).unwrap().len()
    }
}

/// Makes and drops such an actor in a worker process, with or without a call of it.
#[remote]
fn keep_elsewhere(name: String, calls: bool) -> usize {
    let [kept, size] = [1, 2].map(|number| put(&Buffer::from(pattern(number, MIB))).unwrap());
    let lender = Lender::options().name(&name).remote(Inner(kept), &size);
    drop(size);
    if calls { get(&lender.len()).unwrap() } else { MIB }
}

#[test]
fn a_named_shared_actor_holds_the_references_of_its_constructor_and_lets_them_go() {
    in_own_process(|| {
        let _ray = session(2);
        let [kept, size] = [1, 2].map(|number| put(&Buffer::from(pattern(number, MIB))).unwrap());
        let lender = Lender::options().name("lender").remote(Inner(kept), &size);
        drop(size);
        assert_eq!(get(&lender.len()).unwrap(), MIB);
        assert_eq!(get(&lender.len()).unwrap(), MIB);
        drop(lender);
        all_is_freed();
        // Of another process, which has to hand them over; the actor may be gone before it is constructed.
        for round in 0..10 {
            assert_eq!(
                get(&keep_elsewhere::remote(format!("lender-{round}"), round % 2 == 0)).unwrap(),
                MIB
            );
        }
        all_is_freed();
    });
}
