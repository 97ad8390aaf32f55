//! Lost objects are made again. On one node an object is lost when its spill file is gone or damaged.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ray_core::value::Buffer;
use ray_core::{ObjectRef, Ray, RayError, get, get_timeout, put, remote};
use serde::{Deserialize, Serialize};

use super::{MIB, all_is_freed, pattern, push_out, report, small_store};
use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

#[remote]
fn make(number: u64, runs: Tally) -> Buffer {
    runs.add();
    Buffer::from(pattern(number, MIB))
}

#[remote]
fn add_one(of: Buffer, runs: Tally) -> Buffer {
    runs.add();
    let number = u64::from_le_bytes(of.as_slice()[..8].try_into().unwrap());
    Buffer::from(pattern(number + 1, MIB))
}

#[remote(max_retries = 0)]
fn make_once(number: u64) -> Buffer {
    Buffer::from(pattern(number, MIB))
}

#[remote(max_retries = 1)]
fn make_twice(number: u64) -> Buffer {
    Buffer::from(pattern(number, MIB))
}

#[remote]
pub(super) fn check(number: u64, buffer: Buffer) -> bool {
    buffer.as_slice() == pattern(number, MIB)
}

#[derive(Serialize, Deserialize)]
struct Inside(ObjectRef<Buffer>);

#[remote]
fn check_inside(number: u64, inside: Inside) -> bool {
    get(&inside.0).unwrap().as_slice() == pattern(number, MIB)
}

fn spill_files(ray: &Ray) -> Vec<PathBuf> {
    fn below(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), files);
            } else {
                files.push(entry.path());
            }
        }
    }
    let mut files = Vec::new();
    below(&ray.session_dir().join("spill"), &mut files);
    files
}

/// Moves an object to disk and loses it there.
pub(super) fn lose<T>(ray: &Ray, reference: &ObjectRef<T>) {
    push_out(reference);
    for file in spill_files(ray) {
        // The store removes files too, of objects that were dropped.
        let _gone = std::fs::remove_file(file);
    }
}

/// Moves an object to disk and damages all that is there.
fn damage<T>(ray: &Ray, reference: &ObjectRef<T>) {
    push_out(reference);
    for path in spill_files(ray) {
        let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&path) else {
            continue;
        };
        let len = file.metadata().unwrap().len();
        for place in (0..len).step_by(64 << 10) {
            file.seek(SeekFrom::Start(place + 1000)).unwrap();
            file.write_all(b"damage").unwrap();
        }
    }
}

pub(super) fn session() -> Ray {
    small_store(16).init().unwrap()
}

/// Its second run waits.
#[remote]
fn make_then_wait(number: u64, runs: Tally, gate: Gate) -> Buffer {
    if runs.add() > 1 {
        gate.wait();
    }
    Buffer::from(pattern(number, MIB))
}

#[test]
fn a_get_that_finds_its_object_lost_keeps_to_its_time_limit() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let (runs, gate) = (signs.tally("runs"), signs.gate("go on"));
        let made = make_then_wait::remote(5, runs.clone(), gate.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        // A get without an end to its patience would wait for the gate.
        let (over, is_over) = mpsc::channel::<()>();
        let opener = std::thread::spawn(move || {
            let _over_or_late = is_over.recv_timeout(Duration::from_secs(20));
            gate.open();
        });
        for limit in [Duration::ZERO, Duration::from_millis(50)] {
            match get_timeout(&made, limit) {
                Err(RayError::GetTimeout { pending, of, waited }) => assert_eq!((pending, of, waited), (1, 1, limit)),
                other => panic!("{limit:?}: {}", other.is_ok()),
            }
        }
        drop(over);
        opener.join().unwrap();
        assert!(get_timeout(&made, Duration::from_secs(200)).unwrap().as_slice() == pattern(5, MIB));
        assert_eq!(runs.count(), 2);
        drop(made);
        all_is_freed();
    });
}

#[test]
fn an_object_whose_spill_file_is_gone_or_damaged_is_made_again() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let made = make::remote(5, runs.clone());
        assert!(get(&made).unwrap().as_slice() == pattern(5, MIB));
        lose(&ray, &made);
        assert!(get(&made).unwrap().as_slice() == pattern(5, MIB));
        assert_eq!(runs.count(), 2);
        damage(&ray, &made);
        assert!(get(&made).unwrap().as_slice() == pattern(5, MIB));
        assert_eq!(runs.count(), 3);
        drop(made);
        all_is_freed();
    });
}

#[test]
fn many_who_wait_for_a_lost_object_cause_one_run() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let made = make::remote(5, runs.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(get(&made).unwrap().as_slice() == pattern(5, MIB)));
            }
            let awaited = runtime.block_on(async { (&made).await.unwrap() });
            assert!(awaited.as_slice() == pattern(5, MIB));
            let awaited = runtime.block_on(ray_core::get_async(&made)).unwrap();
            assert!(awaited.as_slice() == pattern(5, MIB));
        });
        assert_eq!(runs.count(), 2);
        drop(made);
        all_is_freed();
    });
}

#[test]
fn a_task_whose_stored_argument_is_lost_waits_until_it_is_made_again() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let made = make::remote(5, runs.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        assert!(get(&check::remote(5, &made)).unwrap());
        lose(&ray, &made);
        // A borrower that gets it.
        assert!(get(&check_inside::remote(5, Inside(made.clone()))).unwrap());
        assert_eq!(runs.count(), 3);
        drop(made);
        all_is_freed();
    });
}

#[test]
fn an_argument_that_was_dropped_is_made_again_first_and_its_lineage_goes_with_the_last_need() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let [first_runs, second_runs] = ["first", "second"].map(|name| signs.tally(name));
        let first = make::remote(5, first_runs.clone());
        let second = add_one::remote(&first, second_runs.clone());
        let third = add_one::remote(&second, second_runs.clone());
        get(&third).unwrap();
        let ids = [first.id(), second.id()];
        drop((first, second));
        wait_until(|| !report().objects.iter().any(|object| ids.contains(&object.object)));
        lose(&ray, &third);
        assert!(get(&third).unwrap().as_slice() == pattern(7, MIB));
        assert_eq!((first_runs.count(), second_runs.count()), (2, 4));
        let lineage = || {
            let processes = report().processes;
            processes.iter().map(|process| process.lineage_bytes).sum::<u64>()
        };
        assert!(lineage() > 0);
        drop(third);
        wait_until(|| lineage() == 0);
        all_is_freed();
    });
}

pub(super) fn reason(reference: &ObjectRef<Buffer>) -> String {
    match get(reference).unwrap_err() {
        RayError::ObjectLost { object, reason } => {
            assert_eq!(object, reference.id());
            reason
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_cannot_be_made_again_says_why() {
    in_own_process(|| {
        let ray = session();
        let stored = put(&Buffer::from(pattern(1, MIB))).unwrap();
        lose(&ray, &stored);
        let text = reason(&stored);
        assert!(
            text.contains("was made by `put`") && text.contains("spill file"),
            "{text}"
        );
        // Who depends on it gets the same error.
        let error = get(&check::remote(1, &stored)).unwrap_err();
        assert!(matches!(error, RayError::ObjectLost { .. }), "{error}");

        let once = make_once::remote(2);
        get(&once).unwrap();
        lose(&ray, &once);
        assert!(reason(&once).contains("may not be retried"), "{}", reason(&once));

        let twice = make_twice::remote(3);
        get(&twice).unwrap();
        lose(&ray, &twice);
        assert!(get(&twice).unwrap().as_slice() == pattern(3, MIB));
        lose(&ray, &twice);
        assert!(reason(&twice).contains("used up its max_retries"), "{}", reason(&twice));
        drop((stored, once, twice));
        all_is_freed();
    });
}

#[test]
fn lineage_over_its_limit_is_given_up_and_the_error_says_so() {
    in_own_process(|| {
        let ray = small_store(16).config("max_lineage_bytes", 1).init().unwrap();
        let made = make_twice::remote(3);
        get(&made).unwrap();
        lose(&ray, &made);
        assert!(reason(&made).contains("max_lineage_bytes"), "{}", reason(&made));
        drop(made);
        all_is_freed();
    });
}

#[remote(num_returns = 2)]
fn make_pair(runs: Tally) -> (Buffer, Buffer) {
    runs.add();
    (Buffer::from(pattern(1, MIB)), Buffer::from(pattern(2, MIB)))
}

#[remote(max_retries = 2, num_returns = 2)]
fn make_pair_once(runs: Tally) -> (Buffer, Buffer) {
    if runs.add() > 1 {
        std::process::abort();
    }
    (Buffer::from(pattern(1, MIB)), Buffer::from(pattern(2, MIB)))
}

#[test]
fn a_run_for_one_of_two_results_leaves_the_other_as_it_is_also_if_it_crashes() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let (first, second) = make_pair::remote(runs.clone());
        // What is read stays in memory, so that the other one alone is lost.
        let held = get(&second).unwrap();
        lose(&ray, &first);
        assert!(get(&first).unwrap().as_slice() == pattern(1, MIB));
        assert_eq!(runs.count(), 2);
        assert!(held.as_slice() == pattern(2, MIB));
        drop(held);
        assert!(get(&second).unwrap().as_slice() == pattern(2, MIB));
        drop((first, second));

        let runs = signs.tally("runs of the one that crashes");
        let (first, second) = make_pair_once::remote(runs.clone());
        let held = get(&second).unwrap();
        lose(&ray, &first);
        let error = get(&first).unwrap_err();
        assert!(matches!(error, RayError::WorkerCrashed { .. }), "{error}");
        assert_eq!(runs.count(), 3);
        drop(held);
        assert!(get(&second).unwrap().as_slice() == pattern(2, MIB));
        drop((first, second));
        all_is_freed();
    });
}

#[remote(isolation = "shared")]
fn check_here(number: u64, buffer: Buffer) -> bool {
    buffer.as_slice() == pattern(number, MIB)
}

#[remote(isolation = "shared")]
fn make_here(number: u64) -> Buffer {
    Buffer::from(pattern(number, MIB))
}

#[remote]
fn checked_by_the_host(number: u64, inside: Inside) -> bool {
    get(&check_here::remote(number, &inside.0)).unwrap()
}

#[remote]
fn made_by_the_host(number: u64) -> Vec<ObjectRef<Buffer>> {
    vec![make_here::remote(number)]
}

#[test]
fn shared_work_gets_a_lost_argument_on_one_cpu_and_what_it_made_for_others_is_made_again() {
    in_own_process(|| {
        let ray = small_store(16).num_cpus(1).init().unwrap();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let made = make::remote(5, runs.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        assert!(get(&check_here::remote(5, &made)).unwrap());
        lose(&ray, &made);
        assert!(get(&checked_by_the_host::remote(5, Inside(made.clone()))).unwrap());
        assert_eq!(runs.count(), 3);

        let [of_task] = <[_; 1]>::try_from(get(&made_by_the_host::remote(6)).unwrap()).unwrap();
        assert!(get(&of_task).unwrap().as_slice() == pattern(6, MIB));
        lose(&ray, &of_task);
        assert!(get(&of_task).unwrap().as_slice() == pattern(6, MIB));
        drop((made, of_task));
        all_is_freed();
    });
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Without arguments: what a shared task is given as a value it takes.
#[remote(isolation = "shared")]
fn make_seven_here() -> Buffer {
    RUNS.fetch_add(1, Ordering::SeqCst);
    Buffer::from(pattern(7, MIB))
}

#[remote(isolation = "shared")]
fn add_one_here(of: Buffer) -> Buffer {
    RUNS.fetch_add(1, Ordering::SeqCst);
    let number = u64::from_le_bytes(of.as_slice()[..8].try_into().unwrap());
    Buffer::from(pattern(number + 1, MIB))
}

#[remote(isolation = "shared", num_returns = 2)]
fn make_two_here() -> (Buffer, Buffer) {
    RUNS.fetch_add(1, Ordering::SeqCst);
    (Buffer::from(pattern(1, MIB)), Buffer::from(pattern(2, MIB)))
}

#[test]
fn a_result_of_shared_work_that_went_to_the_store_for_others_is_made_again() {
    in_own_process(|| {
        let ray = session();
        let runs = |expected| assert_eq!(RUNS.load(Ordering::SeqCst), expected);
        // A process needs it, so that it goes to the store; there it is lost.
        let made = make_seven_here::remote();
        assert!(get(&check::remote(7, &made)).unwrap());
        runs(1);
        for lost in 1..=3 {
            lose(&ray, &made);
            match lost {
                1 => assert!(get(&check::remote(7, &made)).unwrap()),
                2 => assert!(get(&check_inside::remote(7, Inside(made.clone()))).unwrap()),
                _ => assert!(get(&made).unwrap().as_slice() == pattern(7, MIB)),
            }
            runs(1 + lost);
        }
        // Its retries are used up.
        lose(&ray, &made);
        let error = get(&made).unwrap_err();
        assert!(error.to_string().contains("max_retries"), "{error}");
        drop(made);
        all_is_freed();
    });
}

#[test]
fn the_arguments_of_a_shared_task_that_is_run_again_are_made_again_too() {
    in_own_process(|| {
        let ray = session();
        // The argument is moved to the task, its only user.
        let added = add_one_here::remote(make_seven_here::remote());
        assert!(get(&check::remote(8, &added)).unwrap());
        assert_eq!(RUNS.load(Ordering::SeqCst), 2);
        lose(&ray, &added);
        assert!(get(&check::remote(8, &added)).unwrap());
        assert_eq!(RUNS.load(Ordering::SeqCst), 4);
        // Of two results one is lost; the other stays as it is, here and in the store.
        let (first, second) = make_two_here::remote();
        assert!(get(&check::remote(1, &first)).unwrap());
        lose(&ray, &first);
        assert!(get(&check::remote(1, &first)).unwrap());
        assert_eq!(RUNS.load(Ordering::SeqCst), 6);
        assert!(get(&check::remote(2, &second)).unwrap());
        drop((added, first, second));
        all_is_freed();
    });
}

#[test]
fn a_shared_task_that_has_taken_its_values_is_not_run_again_and_the_error_says_so() {
    in_own_process(|| {
        let ray = session();
        let made = make_here::remote(6);
        // As it is, it cannot be lost.
        let kept = make_here::remote(6);
        assert!(get(&check::remote(6, &made)).unwrap());
        lose(&ray, &made);
        let error = get(&made).unwrap_err();
        assert!(error.to_string().contains("never left its process"), "{error}");
        assert!(get(kept).unwrap().as_slice() == pattern(6, MIB));
        drop(made);
        all_is_freed();
    });
}

/// Holds what it is constructed with.
struct Reader {
    buffer: Buffer,
}

#[remote]
impl Reader {
    fn new(buffer: Buffer) -> Self {
        Self { buffer }
    }

    fn holds(&self, number: u64) -> bool {
        self.buffer.as_slice() == pattern(number, MIB)
    }

    fn check(&self, number: u64, buffer: Buffer) -> bool {
        buffer.as_slice() == pattern(number, MIB)
    }
}

#[test]
fn an_actor_gets_a_lost_argument_of_its_constructor_and_of_its_calls() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let made = make::remote(5, runs.clone());
        get(&made).unwrap();
        lose(&ray, &made);
        let reader = Reader::remote(&made);
        assert!(get(&reader.holds(5)).unwrap());
        let second = make::remote(6, runs.clone());
        get(&second).unwrap();
        lose(&ray, &second);
        assert!(get(&reader.check(6, &second)).unwrap());
        assert_eq!(runs.count(), 4);
        drop((made, second, reader));
        all_is_freed();
    });
}
