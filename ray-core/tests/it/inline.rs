//! Tasks that run within the task that waits for them: as if they ran elsewhere.

use std::collections::HashSet;
use std::time::Duration;

use ray_core::value::Buffer;
use ray_core::{ObjectRef, Ray, RayError, get, put, remote, runtime_context};
use serde::{Deserialize, Serialize};

use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

/// With one CPU a task that is started by another waits for that one's.
fn session() -> ray_core::Builder {
    Ray::builder().num_cpus(1).log_to_driver(false)
}

fn id() -> String {
    runtime_context().unwrap().task_id().unwrap().to_string()
}

#[remote]
fn down(depth: u32) -> Vec<(u32, String)> {
    let before = id();
    let mut below = match depth {
        0 => Vec::new(),
        _ => get(&down::remote(depth - 1)).unwrap(),
    };
    assert_eq!(id(), before);
    below.push((std::process::id(), before));
    below
}

#[test]
fn what_a_task_waits_for_runs_within_it_at_most_sixteen_deep() {
    in_own_process(|| {
        let _ray = session().init().unwrap();
        let mut chain = get(&down::remote(20)).unwrap();
        chain.reverse();
        let ids: HashSet<&String> = chain.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), 21);
        let pids: Vec<u32> = chain.iter().map(|(pid, _)| *pid).collect();
        assert!(pids[..17].iter().all(|pid| *pid == pids[0]), "{pids:?}");
        assert!(
            pids[17..].iter().all(|pid| *pid == pids[17] && *pid != pids[0]),
            "{pids:?}"
        );
    });
}

#[remote]
fn pid() -> u32 {
    std::process::id()
}

#[remote(max_retries = 2, retry_exceptions)]
fn fails_twice(attempts: Tally) -> Result<(u32, u32), String> {
    let attempt = runtime_context().unwrap().attempt();
    if attempts.add() < 3 {
        return Err(format!("attempt {attempt}"));
    }
    Ok((std::process::id(), attempt))
}

#[remote]
fn panics() {
    panic!("no way");
}

#[remote]
fn bears_failures(attempts: Tally) -> (u32, Result<(u32, u32), String>, String) {
    let error = get(&panics::remote()).unwrap_err().to_string();
    let third = get(&fails_twice::remote(attempts)).map_err(|error| error.to_string());
    (std::process::id(), third, error)
}

#[test]
fn errors_panics_and_retries_are_those_of_the_inner_task() {
    in_own_process(|| {
        let _ray = session().init().unwrap();
        let signs = Signs::new();
        let attempts = signs.tally("attempts");
        let (outer, third, panicked) = get(&bears_failures::remote(attempts.clone())).unwrap();
        assert_eq!((third, attempts.count()), (Ok((outer, 2)), 3));
        assert!(panicked.contains("no way") && panicked.contains("panics"), "{panicked}");
    });
}

#[remote(max_retries = 0)]
fn aborts(runs: Tally) -> u32 {
    runs.add();
    std::process::abort();
}

/// Whether the inner task was told to have crashed, and in which attempt of this one.
#[remote(max_retries = 1)]
fn survives(runs: Tally) -> (bool, u32) {
    let crashed = matches!(get(&aborts::remote(runs)), Err(RayError::WorkerCrashed { .. }));
    (crashed, runtime_context().unwrap().attempt())
}

#[test]
fn who_dies_of_what_it_runs_is_run_again_and_then_survives_it() {
    in_own_process(|| {
        let _ray = session().init().unwrap();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        assert_eq!(get(&survives::remote(runs.clone())).unwrap(), (true, 1));
        assert_eq!(runs.count(), 2);
    });
}

#[remote]
fn with_others() -> [bool; 4] {
    let elsewhere = |other: ObjectRef<u32>| get(&other).unwrap() != std::process::id();
    let timed = pid::options().timeout(Duration::from_secs(600)).remote();
    [
        !elsewhere(pid::remote()),
        elsewhere(timed),
        elsewhere(pid_once::remote()),
        elsewhere(pid::options().resource("special", 1).remote()),
    ]
}

#[remote(max_calls = 1)]
fn pid_once() -> u32 {
    std::process::id()
}

#[remote(max_retries = 0)]
fn never_again() -> bool {
    get(&pid::remote()).unwrap() != std::process::id()
}

#[remote]
fn turned_off() -> bool {
    get(&pid::remote()).unwrap() != std::process::id()
}

#[test]
fn what_needs_a_process_or_more_than_the_waiting_task_has_runs_elsewhere() {
    in_own_process(|| {
        {
            let _ray = session().resource("special", 1.0).init().unwrap();
            assert_eq!(get(&with_others::remote()).unwrap(), [true; 4]);
            assert!(get(&never_again::remote()).unwrap());
        }
        let _ray = session().config("run_waited_tasks_inline", false).init().unwrap();
        assert!(get(&turned_off::remote()).unwrap());
    });
}

#[remote]
fn until_cancelled(begun: Gate, ended: Gate) {
    begun.open();
    wait_until(|| runtime_context().unwrap().is_cancelled());
    ended.open();
}

#[remote]
fn waits_for_it(begun: Gate, ended: Gate) {
    // The error of the inner one.
    let _cancelled = get(&until_cancelled::remote(begun, ended));
}

#[test]
fn a_cancel_reaches_the_task_within_another() {
    in_own_process(|| {
        let _ray = session().init().unwrap();
        let signs = Signs::new();
        let (begun, ended) = (signs.gate("begun"), signs.gate("ended"));
        let outer = waits_for_it::remote(begun.clone(), ended.clone());
        begun.wait();
        ray_core::cancel(&outer).unwrap();
        let error = get(&outer).unwrap_err();
        assert!(matches!(error, RayError::Cancelled { .. }), "{error}");
        ended.wait();
        // Its worker serves on.
        assert!(get(&pid::remote()).unwrap() > 0);
    });
}

#[derive(Serialize, Deserialize)]
struct Made {
    large: Buffer,
    small: ObjectRef<u64>,
}

#[remote]
fn make(of: Buffer) -> Made {
    let small = put(&(of.len() as u64)).unwrap();
    Made { large: of, small }
}

#[remote]
fn passes_on(of: Buffer) -> (bool, ObjectRef<Made>) {
    let stored = put(&of).unwrap();
    let made = make::remote(&stored);
    let same = get(&made).unwrap().large.as_slice() == of.as_slice();
    (same, made)
}

#[test]
fn values_and_references_of_a_task_within_another_live_as_long_as_they_are_held() {
    in_own_process(|| {
        let _ray = session().init().unwrap();
        let (same, made) = get(&passes_on::remote(Buffer::from(vec![7_u8; 1 << 20]))).unwrap();
        assert!(same);
        let Made { large, small } = get(&made).unwrap();
        assert!(large.as_slice().iter().all(|byte| *byte == 7));
        assert_eq!(get(&small).unwrap(), 1 << 20);
        drop((large, small, made));
        wait_until(|| ray_core::memory_report().unwrap().objects.is_empty());
    });
}
