//! `#[ray_core::test]` and `#[ray_core::worker_setup]`.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ray_core::{Ray, RayError, get, remote, runtime_context};

use crate::support::{Gate, Signs};

static SET_UP: OnceLock<u32> = OnceLock::new();
static TIMES: AtomicU32 = AtomicU32::new(0);

#[ray_core::worker_setup]
fn set_up() {
    TIMES.fetch_add(1, Ordering::Relaxed);
    SET_UP.get_or_init(std::process::id);
    // Only the workers of a session that was told so.
    let Ok(context) = runtime_context() else { return };
    assert!(!context.session_dir().join("logs/setup-panics").exists(), "told to");
}

/// Whether the setup has run in this process, and how often.
#[remote]
fn setups() -> (bool, u32) {
    (SET_UP.get() == Some(&std::process::id()), TIMES.load(Ordering::Relaxed))
}

#[remote]
fn hold(busy: Gate, gate: Gate) {
    busy.open();
    gate.wait();
}

struct Asked((bool, u32));

#[remote(num_cpus = 0)]
impl Asked {
    fn new() -> Self {
        Self((SET_UP.get() == Some(&std::process::id()), TIMES.load(Ordering::Relaxed)))
    }

    fn at_birth(&self) -> (bool, u32) {
        self.0
    }
}

#[ray_core::test]
fn a_setup_has_run_once_before_the_first_task() {
    let tasks: Vec<_> = (0..20).map(|_| setups::remote()).collect();
    assert!(get(&tasks).unwrap().into_iter().all(|seen| seen == (true, 1)));
    assert_eq!(get(Asked::remote().at_birth()).unwrap(), (true, 1));
    assert!(SET_UP.get().is_none(), "it has run in the driver");
}

#[ray_core::test(own)]
fn a_setup_that_panics_ends_the_worker_and_the_task_says_so() {
    let ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
    let signs = Signs::new();
    let (busy, gate) = (signs.gate("busy"), signs.gate("gate"));
    let holding = hold::remote(busy.clone(), gate.clone());
    busy.wait();
    // Whoever is born from now on panics; the one that is up is busy.
    std::fs::write(ray.session_dir().join("logs/setup-panics"), "").unwrap();
    let task = get(setups::options().num_cpus(0).max_retries(1).remote()).map(drop);
    let actor = get(Asked::remote().at_birth()).map(drop);
    for error in [task.unwrap_err(), actor.unwrap_err()] {
        assert!(error.to_string().contains("exited with code 1"), "{error}");
    }
    let logs = std::fs::read_dir(ray.session_dir().join("logs")).unwrap().flatten();
    let texts: Vec<_> = logs
        .filter_map(|log| std::fs::read_to_string(log.path()).ok())
        .collect();
    let is_told = |text: &String| text.contains("a worker_setup function panicked: told to, at ");
    assert!(texts.iter().any(is_told), "{texts:?}");
    gate.open();
    get(holding).unwrap();
}

#[ray_core::test]
async fn an_async_test_may_await_and_block() -> Result<(), RayError> {
    assert_eq!(setups::remote().await?, (true, 1));
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(get(setups::remote())?, (true, 1));
    Ok(())
}

#[ray_core::test(timeout = "200s")]
fn a_test_may_return_an_error() -> ray_core::Result<()> {
    get(setups::remote()).map(drop)
}

#[ray_core::test(own)]
async fn a_test_of_its_own_starts_the_session_it_wants() -> Result<(), RayError> {
    assert!(matches!(runtime_context(), Err(RayError::NotInitialized {})));
    let _ray = Ray::builder().num_cpus(3).log_to_driver(false).init()?;
    assert_eq!(ray_core::cluster_resources()?["CPU"], 3.0);
    Ok(())
}

#[ray_core::test]
#[should_panic(expected = "as it should")]
fn a_failed_test_fails() {
    assert_eq!(get(setups::remote()).unwrap().1, 0, "as it should");
}

/// Under another name of the crate, and where names of the prelude mean something else.
mod renamed {
    use ray_core as cluster;

    type Option = u8;
    #[derive(Debug)]
    struct Some;

    #[cluster::worker_setup(crate = cluster)]
    fn set_up() {}

    #[cluster::test(crate = cluster, timeout = "100s")]
    fn a_test_names_the_crate_as_it_is_told() {
        let _names: (Option, Some) = (1, Some);
        assert!(cluster::runtime_context().unwrap().is_driver());
    }
}

/// Not a test of the suite: the next one runs them in a process of their own and sees them fail.
mod failing {
    #[ray_core::test(timeout = "300ms")]
    #[ignore = "hangs on purpose"]
    fn hangs() {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }

    #[ray_core::test(own)]
    #[ignore = "fails on purpose"]
    fn fails_elsewhere() {
        assert_eq!(1, 2, "of its own accord");
    }

    #[ray_core::test]
    #[ignore = "fails on purpose"]
    async fn returns_an_error() -> Result<(), String> {
        Err("no luck".to_owned())
    }
}

#[test]
fn what_hangs_or_fails_is_told() {
    for (test, told) in [
        ("hangs", "hangs still runs after 300ms"),
        ("fails_elsewhere", "of its own accord"),
        ("returns_an_error", "no luck"),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                &format!("harness::failing::{test}"),
                "--exact",
                "--include-ignored",
                "--nocapture",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && text.contains(told), "{test}:\n{text}");
    }
}
