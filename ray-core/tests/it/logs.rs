//! What workers print and log, as the driver's terminal and the session's files have it.

use std::process::{Command, Output};

use ray_core::{get, remote};
use serde_json::Value as Json;

use crate::support::Watchdog;

/// Which part of a test this process plays: it is the driver whose output the test reads.
const PART: &str = "RAY_TEST_LOGS_PART";

#[remote]
fn talk(words: String) {
    println!("said {words}");
    eprintln!("cried {words}");
}

#[remote]
fn other() {
    println!("another voice");
}

#[remote(max_retries = 0)]
fn stumble() {
    panic!("over the doorstep");
}

#[remote]
fn log(number: u64) {
    tracing::info!(number, "counted");
    tracing::debug!("not shown by default");
}

#[remote]
async fn log_later() {
    tokio::task::yield_now().await;
    tracing::warn!("late");
}

struct Clerk;

#[remote]
impl Clerk {
    fn new() -> Self {
        tracing::info!("constructed");
        Self
    }

    fn note(&mut self, words: String) {
        println!("noted {words}");
        tracing::info!(%words, "written down");
    }
}

/// Runs the named test of this binary as a driver of its own, and returns what it wrote.
fn driver(test: &str, variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::Builder::new().prefix("ray-").tempdir_in("/tmp").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(PART, "driver")
        .env("RAY_TMPDIR", directory.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn is_driver() -> bool {
    std::env::var_os(PART).is_some()
}

/// The lines with the prefix `(name pid=..)`, without it.
fn lines_of(output: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(output).into_owned();
    let without_prefix = |line: &str| {
        // The test harness may have begun a line of its own.
        let (_, rest) = line.split_once(&format!("({name} pid="))?;
        let (pid, words) = rest.split_once(") ")?;
        pid.parse::<u32>().ok()?;
        Some(words.to_owned())
    };
    text.lines().filter_map(without_prefix).collect()
}

#[test]
fn what_workers_print_comes_to_the_driver_under_the_name_of_what_they_run() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        let _ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        get(&talk::remote("one")).unwrap();
        get(&other::remote()).unwrap();
        get(&talk::options().name("orator").remote("two")).unwrap();
        let clerk = Clerk::options().name("bartleby").num_cpus(0).remote();
        get(&clerk.note("three")).unwrap();
        get(&Clerk::options().num_cpus(0).remote().note("four")).unwrap();
        return;
    }
    let test = "logs::what_workers_print_comes_to_the_driver_under_the_name_of_what_they_run";
    let output = driver(test, &[("RAY_LOG_LEVEL", "off")]);
    assert_eq!(lines_of(&output.stdout, "talk"), ["said one"]);
    assert_eq!(lines_of(&output.stderr, "talk"), ["cried one"]);
    assert_eq!(lines_of(&output.stdout, "other"), ["another voice"]);
    assert_eq!(lines_of(&output.stdout, "orator"), ["said two"]);
    assert_eq!(lines_of(&output.stderr, "orator"), ["cried two"]);
    assert_eq!(lines_of(&output.stdout, "bartleby"), ["noted three"]);
    assert_eq!(lines_of(&output.stdout, "Clerk"), ["noted four"]);
}

#[remote]
fn recite(lines: usize) {
    (0..lines).for_each(|line| println!("line {line}"));
}

#[test]
fn all_that_was_printed_is_shown_in_order_before_the_session_has_ended() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        let ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        get(&recite::remote(20_000)).unwrap();
        drop(ray);
        println!("(recite pid=0) the end");
        return;
    }
    let test = "logs::all_that_was_printed_is_shown_in_order_before_the_session_has_ended";
    let expected: Vec<String> = (0..20_000)
        .map(|line| format!("line {line}"))
        .chain(["the end".to_owned()])
        .collect();
    for head_process in ["0", "1"] {
        let output = driver(test, &[("RAY_HEAD_PROCESS", head_process), ("RAY_DEDUP_LOGS", "0")]);
        assert!(
            lines_of(&output.stdout, "recite") == expected,
            "head_process={head_process}"
        );
    }
}

#[test]
fn a_panic_of_a_task_is_told_on_the_drivers_terminal() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        let _ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        assert!(get(&stumble::remote()).is_err());
        return;
    }
    let output = driver("logs::a_panic_of_a_task_is_told_on_the_drivers_terminal", &[]);
    let told = lines_of(&output.stderr, "stumble").join("\n");
    assert!(told.contains("over the doorstep") && told.contains("logs.rs"), "{told}");
}

#[test]
fn log_to_driver_off_shows_nothing_and_keeps_the_files() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        let ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        get(&talk::remote("one")).unwrap();
        let logs = std::fs::read_dir(ray.session_dir().join("logs")).unwrap().flatten();
        let text: String = logs.map(|log| std::fs::read_to_string(log.path()).unwrap()).collect();
        assert!(text.contains("said one") && text.contains("cried one"), "{text}");
        return;
    }
    let test = "logs::log_to_driver_off_shows_nothing_and_keeps_the_files";
    let output = driver(test, &[("RAY_LOG_TO_DRIVER", "0")]);
    assert!(lines_of(&output.stdout, "talk").is_empty());
}

#[test]
fn every_log_line_of_a_worker_carries_job_task_or_actor_and_attempt() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        let _ray = ray_core::Ray::builder().num_cpus(1).init().unwrap();
        get(&log::remote(7_u64)).unwrap();
        get(&log_later::remote()).unwrap();
        get(&Clerk::remote().note("three")).unwrap();
        return;
    }
    let test = "logs::every_log_line_of_a_worker_carries_job_task_or_actor_and_attempt";
    let output = driver(test, &[]);
    let lines = lines_of(&output.stderr, "log");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let (_, ids) = line.split_once(" INFO it::logs job=").unwrap();
    let (ids, message) = ids.split_once(" attempt=0 ").unwrap();
    assert!(ids.contains(" task="), "{line}");
    assert_eq!(message, "counted number=7");
    let later = lines_of(&output.stderr, "log_later").join("\n");
    assert!(
        later.contains(" WARN ") && later.contains(" task=") && later.ends_with(" attempt=0 late"),
        "{later}"
    );
    let clerk = lines_of(&output.stderr, "Clerk");
    assert!(
        clerk
            .iter()
            .all(|line| line.contains(" job=") && line.contains(" actor=")),
        "{clerk:?}"
    );
    assert!(
        clerk
            .iter()
            .any(|line| line.contains(" task=") && line.ends_with("written down words=three"))
    );

    let output = driver(test, &[("RAY_LOG_ENCODING", "JSON"), ("RAY_LOG_LEVEL", "debug")]);
    let lines = lines_of(&output.stderr, "log");
    let objects: Vec<Json> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counted = objects.iter().find(|object| object["message"] == "counted").unwrap();
    assert_eq!((&counted["number"], &counted["attempt"]), (&7.into(), &"0".into()));
    for key in ["time", "level", "target", "job", "task"] {
        assert!(counted[key].is_string(), "{counted}");
    }
    assert!(objects.iter().any(|object| object["message"] == "not shown by default"));
}

#[test]
fn a_driver_gets_log_lines_only_on_demand() {
    let _watchdog = Watchdog::start();
    if is_driver() {
        tracing::info!("before");
        ray_core::logging::init().unwrap();
        let again = ray_core::logging::init().unwrap_err();
        assert_eq!(again.code(), "RAY0031");
        tracing::info!("after");
        return;
    }
    let output = driver("logs::a_driver_gets_log_lines_only_on_demand", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(" INFO it::logs after") && !text.contains("before"),
        "{text}"
    );
}
