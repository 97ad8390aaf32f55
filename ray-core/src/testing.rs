//! What `#[ray_core::test]` writes calls to: a session or a process for a test, and a watchdog over it.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// When a test is taken to hang, unless it says another time.
const HANGS: Duration = Duration::from_secs(300);
/// Names the test that this process is for.
const OWN_PROCESS: &str = "RAY_TEST_PROCESS_OF";

/// What a test runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The session of this process, which tests that run at the same time share.
    Shared,
    /// A process of its own, in which it starts sessions itself.
    Own,
}

/// What a test may return.
#[diagnostic::on_unimplemented(
    message = "a test cannot return `{Self}`",
    label = "return nothing, or a `Result` of nothing"
)]
pub trait Passed {
    /// What it returns when another process has found that it passes.
    fn passed() -> Self;
}

impl Passed for () {
    fn passed() {}
}

impl<T: Passed, E> Passed for Result<T, E> {
    fn passed() -> Self {
        Ok(T::passed())
    }
}

/// Runs the body of a test. `path` is that of the test with its crate's name.
pub fn run<R: Passed>(path: &str, session: Session, limit: Option<Duration>, body: impl FnOnce() -> R) -> R {
    // The harness knows it without the crate's name.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    match session {
        Session::Shared => {
            let _watchdog = watch(name, limit);
            let joined = crate::init_or_join();
            #[expect(clippy::expect_used, reason = "a test says by a panic that it fails")]
            let _ray = joined.expect("the test's session starts");
            body()
        }
        Session::Own if std::env::var(OWN_PROCESS).is_ok_and(|own| own == name) => {
            let _watchdog = watch(name, limit);
            let returned = body();
            let left = children();
            assert!(left.is_empty(), "{name} has left processes: {left:?}");
            returned
        }
        Session::Own => {
            in_own_process(name);
            R::passed()
        }
    }
}

/// Runs the body of an async test, which may block too.
pub fn block_on<F: Future>(body: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    #[expect(clippy::expect_used, reason = "a test says by a panic that it fails")]
    runtime.expect("the test's runtime starts").block_on(body)
}

/// The program again, told to run this one test.
fn in_own_process(name: &str) {
    let output = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args([name, "--exact", "--nocapture", "--include-ignored"])
            .env(OWN_PROCESS, name)
            .output()
    });
    #[expect(clippy::expect_used, reason = "a test says by a panic that it fails")]
    let output = output.expect("the test program starts again");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} in a process of its own: {}\n{text}",
        output.status
    );
}

/// Ends the process if the test still runs after its time; until the sender drops.
fn watch(name: &str, limit: Option<Duration>) -> mpsc::Sender<()> {
    let (disarm, disarmed) = mpsc::channel::<()>();
    let (name, limit) = (name.to_owned(), limit.unwrap_or(HANGS));
    std::thread::spawn(move || {
        if disarmed.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            #[expect(clippy::print_stderr, reason = "the process ends at once: nobody else would tell")]
            {
                eprintln!("{name} still runs after {limit:?}: it is taken to hang");
            }
            std::process::abort();
        }
    });
    disarm
}

/// The child processes of this one, the dead that nobody has waited for among them.
fn children() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = |list: String| {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<_>>()
    };
    lists.flat_map(pids).collect()
}
