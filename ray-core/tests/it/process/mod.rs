//! Birth, take-over and death of processes (invariants PR-1 to PR-6).

mod deeds;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ray_core::process::{Death, Error, Executable, Output, SpawnRequest, SpawnRole, Spawned, Spawner, takeover};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use deeds::{DEED, ROLE};

/// When a test is taken to hang. No assertion depends on it otherwise.
const HANGS: Duration = Duration::from_secs(120);

/// A child of this program that does the deed, and our end of its socket.
fn request(executable: Executable, deed: &str) -> (SpawnRequest, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(HANGS)).unwrap();
    let mut request = SpawnRequest::new(executable);
    request.environment = [(DEED.into(), deed.into())].into();
    request.role = Some(SpawnRole {
        name: ROLE.to_owned(),
        control: theirs.into(),
        descriptors: Vec::new(),
    });
    (request, ours)
}

fn start(spawner: &Spawner, deed: &str) -> (Spawned, UnixStream) {
    let (request, socket) = request(Executable::current().unwrap(), deed);
    (spawner.spawn_blocking(request).unwrap(), socket)
}

fn death_of(child: &Spawned) -> Death {
    child.wait_blocking(Some(HANGS)).unwrap().expect("the child ends")
}

fn line(socket: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).expect("the child answers");
    line.trim_end().to_owned()
}

fn report(mut socket: UnixStream) -> BTreeMap<String, String> {
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("the child reports");
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A process that is no child of ours.
fn watch(pid: &str) -> OwnedFd {
    let pid = Pid::from_raw(pid.parse().expect("a process id")).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

fn assert_ends(pidfd: &OwnedFd) {
    let timeout = Timespec::try_from(HANGS).unwrap();
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    assert_eq!(
        rustix::event::poll(&mut ended, Some(&timeout)),
        Ok(1),
        "the process outlives its parent or group"
    );
}

fn killed_by(signal: i32) -> impl Fn(Death) -> bool {
    move |death| matches!(death, Death::Killed { signal: by, .. } if by == signal)
}

#[test]
fn this_program_can_take_over() {
    assert_eq!(takeover::available(), Ok(()));
}

#[test]
fn a_child_takes_over_before_main_with_a_clean_environment_and_a_group_of_its_own() {
    let spawner = Spawner::start().unwrap();
    let (mut request, socket) = request(Executable::current().unwrap(), "report");
    let directory = tempfile::tempdir().unwrap();
    let entered = directory.path().canonicalize().unwrap();
    request.working_directory = Some(entered.clone());
    request.args = vec!["ray::worker".into(), "two words".into()];
    let child = spawner.spawn_blocking(request).unwrap();
    let facts = report(socket);
    assert_eq!(death_of(&child), Death::Exited { code: 0 });

    let pid = child.pid().to_string();
    assert_eq!(facts["pid"], pid);
    assert_eq!(facts["group"], pid);
    assert_eq!(facts["parent"], std::process::id().to_string());
    assert_eq!(facts["comm"], "ray::worker");
    assert_eq!(facts["directory"], entered.display().to_string());
    assert_eq!(facts["arguments"], "ray::worker two words");
    assert_eq!(facts["role-variable"], "false");
    let variables: Vec<_> = facts.keys().filter(|key| key.starts_with("env.")).collect();
    assert_eq!(variables, ["env.TEST_DEED"]);
    assert_eq!(facts["SigBlk"], "0000000000000000");
    // The C library keeps two signals above 31 to itself.
    let ignored = u64::from_str_radix(&facts["SigIgn"], 16).unwrap() & 0x7fff_ffff;
    assert_eq!(ignored, 1 << (libc::SIGPIPE - 1));
}

#[test]
fn constructors_run_once_and_so_do_worker_setup_functions() {
    let spawner = Spawner::start().unwrap();
    let (child, socket) = start(&spawner, "report");
    let facts = report(socket);
    assert_eq!(facts["constructed"], "2");
    if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        assert_eq!(
            facts["constructed-after-take-over"], "true",
            "or the linker is not Rust's own"
        );
    }
    assert_eq!(facts["setups"], "1");
    assert!(death_of(&child).is_success());
}

#[test]
fn a_child_holds_its_own_descriptors_and_no_others() {
    let spawner = Spawner::start().unwrap();
    // What careless code of the driver leaves open for children: not close-on-exec.
    let careless = rustix::io::dup(File::open("/proc/self/status").unwrap()).unwrap();
    let (mut request, socket) = request(Executable::current().unwrap(), "report");
    request.stdout = Output::Null;
    request.stderr = Output::Null;
    let extra = File::open("/proc/self/maps").unwrap();
    request
        .role
        .as_mut()
        .unwrap()
        .descriptors
        .push(("extra".to_owned(), extra.into()));
    let child = spawner.spawn_blocking(request).unwrap();
    drop(careless);
    let facts = report(socket);
    let open: BTreeMap<_, _> = facts
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("fd.")?, value.as_str())))
        .collect();
    for null in ["0", "1", "2", "4"] {
        assert_eq!(open[null], "/dev/null", "descriptor {null}");
    }
    assert!(open[facts["control"].as_str()].starts_with("socket:"));
    assert!(facts["control"].parse::<i32>().unwrap() >= 200);
    assert!(facts["extra"].parse::<i32>().unwrap() >= 200);
    // `extra` was closed by the deed itself before it listed them.
    assert_eq!(open.len(), 5, "{open:?}");
    assert!(death_of(&child).is_success());
}

#[test]
fn a_closed_pipe_is_an_error_and_not_the_end_of_the_worker() {
    let spawner = Spawner::start().unwrap();
    let (child, socket) = start(&spawner, "write-to-a-closed-pipe");
    assert_eq!(line(&socket), "BrokenPipe");
    assert!(death_of(&child).is_success());
}

#[test]
fn what_was_printed_is_flushed_at_the_end_and_the_exit_code_is_the_roles() {
    let spawner = Spawner::start().unwrap();
    let (mut request, _socket) = request(Executable::current().unwrap(), "leave-text-unflushed");
    let mut output = tempfile::tempfile().unwrap();
    request.stdout = Output::File(output.try_clone().unwrap().into());
    let child = spawner.spawn_blocking(request).unwrap();
    assert_eq!(death_of(&child), Death::Exited { code: 7 });
    assert_eq!(text_of(&mut output), "still in the buffer");
}

fn text_of(file: &mut File) -> String {
    use std::io::Seek;
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// How a child with this deed ends, and what it writes to standard error.
fn death_and_last_words(deed: &str) -> (Death, String) {
    let spawner = Spawner::start().unwrap();
    let (mut request, _socket) = request(Executable::current().unwrap(), deed);
    let mut output = tempfile::tempfile().unwrap();
    request.stderr = Output::File(output.try_clone().unwrap().into());
    let child = spawner.spawn_blocking(request).unwrap();
    let death = death_of(&child);
    (death, text_of(&mut output))
}

#[test]
fn a_stack_overflow_is_told_and_kills_by_its_signal() {
    for (deed, thread) in [("overflow-a-thread", "deep"), ("overflow-the-main-thread", "main")] {
        let (death, words) = death_and_last_words(deed);
        assert!(killed_by(libc::SIGSEGV)(death), "{death}");
        assert!(
            words.contains(&format!("stack overflow in thread `{thread}`")),
            "{words:?}"
        );
    }
}

#[test]
fn another_crash_is_not_told_as_a_stack_overflow() {
    let (death, words) = death_and_last_words("segfault");
    assert!(killed_by(libc::SIGSEGV)(death), "{death}");
    assert!(!words.contains("stack overflow"), "{words:?}");
}

#[test]
fn a_role_that_panics_exits_as_a_main_that_does() {
    let (death, words) = death_and_last_words("panic");
    assert_eq!(death, Death::Exited { code: 101 });
    assert!(words.contains("the deed is to panic"), "{words:?}");
}

#[test]
fn the_end_of_the_parent_is_the_end_of_its_workers() {
    let spawner = Spawner::start().unwrap();
    let (middle, socket) = start(&spawner, "spawn-a-grandchild");
    let grandchild = watch(&line(&socket));
    middle.kill();
    assert!(killed_by(libc::SIGKILL)(death_of(&middle)));
    assert_ends(&grandchild);
}

#[test]
fn the_end_of_the_spawner_is_the_end_of_its_workers() {
    let spawner = Spawner::start().unwrap();
    let (child, socket) = start(&spawner, "sleep");
    assert_eq!(line(&socket), "ready");
    drop(spawner);
    assert!(killed_by(libc::SIGKILL)(death_of(&child)));
}

#[test]
fn the_whole_process_group_dies_with_its_leader() {
    let spawner = Spawner::start().unwrap();
    let (child, socket) = start(&spawner, "start-a-process-in-the-group");
    let member = watch(&line(&socket));
    // Only the leader is killed here, as the kernel's out-of-memory killer would.
    rustix::process::pidfd_send_signal(&child, rustix::process::Signal::KILL).unwrap();
    assert!(killed_by(libc::SIGKILL)(death_of(&child)));
    assert_ends(&member);
}

#[test]
fn a_dropped_handle_kills_and_reaps() {
    let spawner = Spawner::start().unwrap();
    let (child, socket) = start(&spawner, "sleep");
    assert_eq!(line(&socket), "ready");
    let pidfd = child.as_fd().try_clone_to_owned().unwrap();
    drop(child);
    assert_ends(&pidfd);
    // Commands are served in order, so after this the zombie is gone.
    let (next, _socket) = start(&spawner, "sleep");
    drop(next);
    let state = rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    assert_eq!(state.err(), Some(rustix::io::Errno::CHILD));
}

#[test]
fn many_tasks_wait_for_one_death() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let spawner = Spawner::start().unwrap();
        let (request, _socket) = request(Executable::current().unwrap(), "sleep");
        let child = spawner.spawn(request).await.unwrap();
        let kill = async {
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill();
        };
        let (first, second, ()) = tokio::time::timeout(HANGS, async { tokio::join!(child.wait(), child.wait(), kill) })
            .await
            .unwrap();
        assert!(killed_by(libc::SIGKILL)(first.unwrap()));
        assert!(killed_by(libc::SIGKILL)(second.unwrap()));
    });
}

#[test]
fn a_deleted_executable_still_spawns() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("program");
    // By another process: a child that another test starts while this one writes the file holds it open for writing until
    // its `exec`, and a file that is written may not be executed.
    let copied = std::process::Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let executable = Executable::open(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let spawner = Spawner::start().unwrap();
    let (request, socket) = request(executable, "report");
    let child = spawner.spawn_blocking(request).unwrap();
    assert_eq!(report(socket)["pid"], child.pid().to_string());
    assert!(death_of(&child).is_success());
}

#[test]
fn a_program_whose_file_is_still_written_is_waited_for_but_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let executable = Executable::open(&copy).unwrap();
    let spawner = Spawner::start().unwrap();
    let writing = std::fs::OpenOptions::new().append(true).open(&copy).unwrap();
    let error = spawner
        .spawn_blocking(request(executable.clone(), "report").0)
        .unwrap_err();
    assert!(error.to_string().contains("Text file busy"), "{error}");
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(writing);
    });
    let (request, socket) = request(executable, "report");
    let child = spawner.spawn_blocking(request).unwrap();
    assert_eq!(report(socket)["pid"], child.pid().to_string());
    assert!(death_of(&child).is_success());
    ends.join().unwrap();
}

#[test]
fn a_stray_role_variable_changes_nothing() {
    let stray = "1 1 1 deed executable=3 control=4";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env("RAY_TAKEOVER", stray)
        .arg("--list")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("a_stray_role_variable_changes_nothing"));
}

#[test]
fn a_role_that_the_program_lacks_is_told() {
    let spawner = Spawner::start().unwrap();
    let (mut request, _socket) = request(Executable::current().unwrap(), "report");
    request.role.as_mut().unwrap().name = "unheard-of".to_owned();
    let mut output = tempfile::tempfile().unwrap();
    request.stderr = Output::File(output.try_clone().unwrap().into());
    let child = spawner.spawn_blocking(request).unwrap();
    assert_eq!(death_of(&child), Death::Exited { code: 70 });
    assert!(text_of(&mut output).contains("no role `unheard-of`"));
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let spawner = Spawner::start().unwrap();
    let program = || request(Executable::current().unwrap(), "report").0;

    let mut too_big = program();
    too_big.environment.insert("BIG".into(), "x".repeat(16 << 20).into());
    let error = spawner.spawn_blocking(too_big).unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }));
    assert!(error.to_string().contains("pass less"), "{error}");

    let mut nowhere = program();
    nowhere.working_directory = Some("/nowhere/at/all".into());
    let error = spawner.spawn_blocking(nowhere).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");

    let mut zero = program();
    zero.environment.insert("SECRET".into(), "a\0b".into());
    let error = spawner.spawn_blocking(zero).unwrap_err().to_string();
    assert!(error.contains("SECRET") && !error.contains("a\0b"), "{error}");

    let no_program = SpawnRequest::new(Executable::open("/proc/self/status").unwrap());
    let error = spawner.spawn_blocking(no_program).unwrap_err().to_string();
    assert!(error.contains("may not be executed"), "{error}");

    let error = Executable::open("/nowhere/program").unwrap_err().to_string();
    assert!(error.contains("/nowhere/program"), "{error}");
}
