use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use super::*;

const RETRY: Retry = Retry {
    max_attempts: 3,
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_millis(150),
};

fn open(directory: &tempfile::TempDir, now: Timestamp) -> Queue {
    Queue::open(&directory.path().join("jobs.redb"), RETRY, now).unwrap()
}

fn state(queue: &Queue, id: JobId) -> State {
    queue.job(id).unwrap().unwrap().state
}

#[test]
fn a_job_goes_from_accepted_through_running_to_done_and_is_kept_until_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(&directory, 0);
    let id = queue.submit(json!({"n": 7}), 10).unwrap();
    assert_eq!(state(&queue, id), State::Accepted { due: 10 });
    assert_eq!(queue.claim(9).unwrap(), None);
    let claim = queue.claim(10).unwrap().unwrap();
    assert_eq!((claim.id, claim.attempt, &claim.request), (id, 1, &json!({"n": 7})));
    assert_eq!(state(&queue, id), State::Running);
    assert_eq!(queue.claim(10).unwrap(), None);
    assert_eq!(queue.forget(id).unwrap(), Forgotten::StillGoing);
    assert!(queue.complete(&claim, json!(49)).unwrap());
    drop(queue);
    // AJ-3: also in the next life of the service.
    let queue = open(&directory, 20);
    assert_eq!(state(&queue, id), State::Done { result: json!(49) });
    assert_eq!(queue.forget(id).unwrap(), Forgotten::Yes);
    assert_eq!(queue.forget(id).unwrap(), Forgotten::Unknown);
    assert_eq!(queue.job(id).unwrap(), None);
}

#[test]
fn jobs_are_claimed_in_the_order_in_which_they_are_due_and_names_are_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(&directory, 0);
    let first = queue.submit(json!(1), 5).unwrap();
    let second = queue.submit(json!(2), 4).unwrap();
    assert_eq!(queue.next_due().unwrap(), Some(4));
    let claims = [queue.claim(9).unwrap().unwrap(), queue.claim(9).unwrap().unwrap()];
    assert_eq!(claims.each_ref().map(|claim| claim.id), [second, first]);
    for claim in &claims {
        queue.complete(claim, json!(null)).unwrap();
        queue.forget(claim.id).unwrap();
    }
    assert!(queue.submit(json!(3), 9).unwrap() > second.max(first));
}

#[test]
fn a_failed_attempt_backs_off_and_the_last_one_ends_the_job() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(&directory, 0);
    let id = queue.submit(json!(null), 0).unwrap();
    for (now, due) in [(0, 100), (100, 250)] {
        let claim = queue.claim(now).unwrap().unwrap();
        assert!(queue.fail(&claim, "no luck", now).unwrap());
        assert_eq!(state(&queue, id), State::Accepted { due });
        assert_eq!(queue.claim(due - 1).unwrap(), None);
    }
    let claim = queue.claim(250).unwrap().unwrap();
    assert_eq!(claim.attempt, 3);
    queue.fail(&claim, "no luck at all", 250).unwrap();
    let job = queue.job(id).unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Failed, 3));
    assert_eq!(job.last_error.as_deref(), Some("no luck at all"));
    assert_eq!(queue.next_due().unwrap(), None);
}

#[test]
fn the_pause_doubles_up_to_its_cap_for_any_number_of_attempts() {
    let retry = Retry {
        max_attempts: u32::MAX,
        ..Retry::default()
    };
    let pauses = [1, 2, 3, 9, 10, 99].map(|attempts| retry.pause(attempts).unwrap().as_millis());
    assert_eq!(pauses, [200, 400, 800, 51_200, 60_000, 60_000]);
    assert_eq!(retry.pause(u32::MAX), None);
}

#[test]
fn a_job_that_was_running_when_the_service_ended_is_due_again_and_its_old_attempt_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(&directory, 0);
    let id = queue.submit(json!(null), 0).unwrap();
    let lost = queue.claim(0).unwrap().unwrap();
    drop(queue);
    let queue = open(&directory, 50);
    assert_eq!(state(&queue, id), State::Accepted { due: 50 });
    let claim = queue.claim(50).unwrap().unwrap();
    assert_eq!((claim.id, claim.attempt), (id, 2));
    assert!(!queue.complete(&lost, json!("late")).unwrap());
    assert!(!queue.fail(&lost, "late", 50).unwrap());
    assert!(queue.complete(&claim, json!("new")).unwrap());
    assert!(!queue.complete(&claim, json!("twice")).unwrap());
    assert_eq!(state(&queue, id), State::Done { result: json!("new") });
}

#[test]
fn a_job_that_takes_the_service_with_it_is_stopped_after_its_last_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let id = open(&directory, 0).submit(json!(null), 0).unwrap();
    for _ in 0..RETRY.max_attempts {
        open(&directory, 0).claim(0).unwrap().unwrap();
    }
    assert_eq!(state(&open(&directory, 0), id), State::Failed);
}

const CRASH_FILE: &str = "RAY_EXAMPLES_TEST_QUEUE";

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "the child process of the test on SIGKILL"]
fn child_that_accepts_and_claims_jobs_until_it_is_killed() {
    let Some(path) = env::var_os(CRASH_FILE).map(PathBuf::from) else {
        return;
    };
    let queue = Queue::open(&path, RETRY, 0).unwrap();
    // More than the parent waits for; the end is there for the case that the parent dies.
    for number in 0..1_000_000 {
        let id = queue.submit(json!(number), 0).unwrap();
        if number % 2 == 0 {
            queue.claim(0).unwrap().unwrap();
        }
        println!("\naccepted {id}");
        if std::io::stdout().flush().is_err() {
            return;
        }
    }
}

#[test]
fn every_job_accepted_before_a_sigkill_is_due_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "axum_jobs::queue::tests::child_that_accepts_and_claims_jobs_until_it_is_killed",
        ])
        .args(["--ignored", "--nocapture"])
        .env(CRASH_FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let ids = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("accepted ")?.parse().ok());
        // Ends when the child is dead, or when the parent has heard enough.
        ids.map(|id: JobId| sender.send(id)).find(Result::is_err)
    });
    let accepted: Vec<JobId> = (0..9)
        .map_while(|_| receiver.recv_timeout(Duration::from_secs(60)).ok())
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(accepted.len(), 9);
    // AJ-1 and AJ-2
    let queue = Queue::open(&path, RETRY, 0).unwrap();
    let mut due = Vec::new();
    while let Some(claim) = queue.claim(0).unwrap() {
        due.push(claim.id);
    }
    assert!(
        accepted.iter().all(|id| due.contains(id)),
        "{accepted:?} accepted, {due:?} due"
    );
}
