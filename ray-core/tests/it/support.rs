//! What the tests share: a watchdog, a process of a test's own, a look for what was left behind, and signs between tasks
//! and the test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// When a test is taken to hang. No assertion depends on it otherwise.
const HANGS: Duration = Duration::from_secs(240);
/// Names the test that this process is for.
const OWN_PROCESS: &str = "RAY_TEST_OWN_PROCESS";

/// Ends the process if a test hangs. Held for the length of a test.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it disarms the thread")] mpsc::Sender<()>);

impl Watchdog {
    pub(crate) fn start() -> Self {
        let (disarm, disarmed) = mpsc::channel::<()>();
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            if disarmed.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("watchdog: {name} hangs");
                std::process::abort();
            }
        });
        Self(disarm)
    }
}

/// Runs a test in a process of its own, so that it may start, kill and end sessions as it likes. Afterwards nothing of
/// them may be left. The body is a closure of the test function itself: its type tells the test's name.
pub(crate) fn in_own_process<F: FnOnce()>(body: F) {
    in_own_process_given(|| Some(((), Vec::new())), body);
}

/// The same with something beside the process, which ends after it, and environment variables. Without, there is no test.
pub(crate) fn in_own_process_given<T, F: FnOnce()>(
    beside: impl FnOnce() -> Option<(T, Vec<(&'static str, String)>)>,
    body: F,
) {
    let closure = std::any::type_name::<F>();
    let path = closure.trim_end_matches("::{{closure}}");
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if std::env::var(OWN_PROCESS).is_ok_and(|own| own == name) {
        let _watchdog = Watchdog::start();
        body();
        assert_nothing_left();
        return;
    }
    let Some((_beside, variables)) = beside() else { return };
    // Sockets of a session have short paths, so its directory does too.
    let directory = tempfile::Builder::new().prefix("ray-").tempdir_in("/tmp").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env(OWN_PROCESS, name)
        .env("RAY_TMPDIR", directory.path())
        .env("RAY_AUTH_TOKEN_PATH", directory.path().join("auth_token"))
        .envs(variables)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success(),
        "{name} in a process of its own: {}\n{text}",
        output.status
    );
    assert!(text.contains("1 passed"), "no test is named `{name}`:\n{text}");
}

/// After all sessions of this process have ended: no child processes, no object memory, nothing of a session but logs.
pub(crate) fn assert_nothing_left() {
    assert_eq!(children(), Vec::<u32>::new(), "child processes are left");
    // Threads of shared work hold the runtime, and with it the memory, until each has heard of the session's end.
    let mut looks = 0;
    wait_until(|| {
        let left = object_memory();
        looks += 1;
        if looks % 500 == 0 {
            println!("object memory is left: {left:?}");
        }
        left.is_empty()
    });
    let Some(base) = std::env::var_os("RAY_TMPDIR") else {
        return;
    };
    for session in std::fs::read_dir(base).unwrap().flatten() {
        if session.file_type().unwrap().is_dir() {
            let left: Vec<_> = std::fs::read_dir(session.path())
                .unwrap()
                .flatten()
                .map(|entry| entry.file_name())
                .filter(|name| name != "logs")
                .collect();
            assert!(left.is_empty(), "{} holds {left:?}", session.path().display());
        }
    }
}

/// The child processes of this one, the dead that nobody has waited for among them.
pub(crate) fn children() -> Vec<u32> {
    children_of(std::process::id())
}

/// The worker processes of this process's sessions: its children, or those of its head.
pub(crate) fn workers() -> Vec<u32> {
    let is_head =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ray::head\n");
    let (heads, mut workers): (Vec<u32>, Vec<u32>) = children().into_iter().partition(is_head);
    workers.extend(heads.into_iter().flat_map(children_of));
    workers
}

fn children_of(pid: u32) -> Vec<u32> {
    // It may have ended.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let mut pids: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.sort_unstable();
    pids
}

/// Whether a line of `/proc/*/maps`, or the target of a link in `/proc/*/fd`, is memory of an object store: a memory file,
/// or a nameless file of a tmpfs that is mounted nowhere (huge pages).
pub(crate) fn is_object_memory(text: &str) -> bool {
    let path = text.find('/').map_or("", |start| &text[start..]);
    let nameless = path.strip_prefix("/#").and_then(|rest| rest.strip_suffix(" (deleted)"));
    path.starts_with("/memfd:ray-objects")
        || nameless.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Open or mapped memory of object stores.
pub(crate) fn object_memory() -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    open.chain(maps.lines().map(str::to_owned))
        .filter(|text| is_object_memory(text))
        .collect()
}

/// Waits for what another thread or process brings about; the watchdog bounds it.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process has ended, or is a zombie that its parent has not waited for.
pub(crate) fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}

/// A test that cannot run here says so, or fails where everything must run.
pub(crate) fn skip(needs: &str) {
    assert!(
        std::env::var_os("RAY_TEST_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "cannot run: needs {needs}"
    );
    eprintln!("skipped: needs {needs}");
}

/// A directory for signs between a test and its tasks.
pub(crate) struct Signs(TempDir);

impl Signs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file of the test's own making.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A count that every process can add to.
    pub(crate) fn tally(&self, name: &str) -> Tally {
        let directory = self.0.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Tally(directory)
    }

    /// Something that happens once, and that every process can wait for.
    pub(crate) fn gate(&self, name: &str) -> Gate {
        Gate(self.0.path().join(name))
    }
}

/// A count on disk: it survives whoever adds to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tally(PathBuf);

impl Tally {
    /// Adds one. Returns the count with it.
    pub(crate) fn add(&self) -> usize {
        let mut count = self.count();
        loop {
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(self.0.join(count.to_string()))
            {
                Ok(_) => return count + 1,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => count += 1,
                Err(error) => panic!("{}: {error}", self.0.display()),
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

/// A file that comes to be once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn open(&self) {
        File::create(&self.0).unwrap();
    }

    pub(crate) fn is_open(&self) -> bool {
        Path::exists(&self.0)
    }

    pub(crate) fn wait(&self) {
        wait_until(|| self.is_open());
    }
}

/// Ends a process as the kernel's out-of-memory killer would.
pub(crate) fn kill_process(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    // It may have ended by itself.
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
