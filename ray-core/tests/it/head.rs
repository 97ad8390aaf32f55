//! A head (raylet, GCS and object store) in a process of its own. That everything else works with one is what the second
//! run of all tests with `RAY_HEAD_PROCESS=1` is for; here is what only a head of its own has.

use std::collections::BTreeSet;
use std::time::Duration;

use ray_core::value::Buffer;
use ray_core::{
    Builder, Bundle, PlacementStrategy, Ray, RayError, available_resources, get, get_timeout, init, list_workers,
    placement_group, put, remote,
};
use rustix::process::{Resource, Rlimit};

use crate::crash::STILLBORN;
use crate::support::{Signs, children, in_own_process, kill_process, wait_until, workers};

#[remote]
fn length(buffer: Buffer) -> usize {
    buffer.len()
}

#[remote]
fn count(to: u64) -> impl Iterator<Item = u64> {
    0..to
}

#[remote(isolation = "shared")]
fn shared_pid() -> u32 {
    std::process::id()
}

#[remote(max_retries = -1)]
fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

struct Counter(u64);

#[remote]
impl Counter {
    fn new() -> Self {
        Self(0)
    }

    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

fn own_head() -> Builder {
    Ray::builder()
        .num_cpus(2)
        .object_store_memory(64 << 20)
        .config("head_process", true)
}

fn threads_of(pid: u32) -> BTreeSet<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_head_of_its_own_holds_the_store_and_the_workers_and_ends_with_its_session() {
    in_own_process(|| {
        for _ in 0..2 {
            let ray = own_head().init().unwrap();
            let buffer = put(&Buffer::from(vec![7; 1 << 20])).unwrap();
            assert_eq!(get(&length::remote(&buffer)).unwrap(), 1 << 20);
            let counter = Counter::remote();
            assert_eq!(get(&counter.next()).unwrap(), 1);
            assert_eq!(get(&shared_pid::remote()).unwrap(), std::process::id());

            let heads = children();
            let [head] = heads.as_slice() else { panic!("{heads:?}") };
            let (here, there) = (threads_of(std::process::id()), threads_of(*head));
            assert!(there.contains("ray::head") && there.contains("ray-store"), "{there:?}");
            assert!(here.contains("ray-io") && !here.contains("ray-store"), "{here:?}");
            let of_head = workers();
            assert!(!of_head.is_empty() && !of_head.contains(head), "{of_head:?}");
            drop(ray);
            assert!(!is_alive(*head) && !of_head.into_iter().any(is_alive));
        }
    });
}

#[test]
fn the_setting_says_where_the_head_lives() {
    in_own_process(|| {
        // So that the run of all tests with this variable is one with heads of their own.
        let wanted = std::env::var("RAY_HEAD_PROCESS").is_ok_and(|value| value == "1");
        let ray = Ray::builder().num_cpus(1).init().unwrap();
        let name = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let names = children().into_iter().filter_map(name);
        assert_eq!(names.filter(|name| name == "ray::head\n").count(), usize::from(wanted));
        // A thread takes its name when it first runs, which may be after `init` returned.
        let holds_store = || threads_of(std::process::id()).contains("ray-store");
        wait_until(|| holds_store() != wanted);
        drop(ray);
        for wanted in [false, true] {
            let _ray = own_head().config("head_process", wanted).init().unwrap();
            wait_until(|| holds_store() != wanted);
        }
    });
}

#[test]
fn a_head_that_is_killed_ends_the_session_with_an_error_and_leaves_nothing() {
    in_own_process(|| {
        let ray = own_head().init().unwrap();
        let counter = Counter::remote();
        assert_eq!(get(&counter.next()).unwrap(), 1);
        let waits = sleep_for_ever::remote();
        let stored = put(&Buffer::from(vec![7; 1 << 20])).unwrap();
        let held = get(&stored).unwrap();
        let group = placement_group([Bundle::new().num_cpus(1)], PlacementStrategy::Pack).unwrap();
        let (head, of_head) = (children(), workers());
        head.iter().copied().for_each(kill_process);
        let is_told = |error: RayError| assert!(matches!(error, RayError::Disconnected { .. }), "{error}");
        is_told(get(&waits).unwrap_err());
        // What is asked for from now on gets the error at once.
        is_told(get(&counter.next()).unwrap_err());
        is_told(get(&Counter::remote().next()).unwrap_err());
        is_told(get(&shared_pid::remote()).unwrap_err());
        is_told(get(&length::remote(&stored)).unwrap_err());
        is_told(get(&count::remote(3).next().unwrap()).unwrap_err());
        is_told(list_workers().unwrap_err());
        is_told(available_resources().unwrap_err());
        is_told(get_timeout(group.ready(), Duration::from_secs(60)).unwrap_err());
        assert!(held.iter().all(|byte| *byte == 7), "what is read stays readable");
        wait_until(|| !of_head.iter().copied().any(is_alive));
        drop((ray, held, stored));

        let _ray = init().unwrap();
        assert_eq!(get(&shared_pid::remote()).unwrap(), std::process::id());
    });
}

#[test]
fn a_head_that_cannot_start_says_why_in_the_same_words_wherever_it_runs() {
    in_own_process(|| {
        let bad = |head_process: bool| {
            let builder = Ray::builder().num_cpus(1).config("head_process", head_process);
            builder.resource("one and a bit", 1.000_000_1).init().unwrap_err()
        };
        let (here, there) = (bad(false), bad(true));
        assert!(matches!(here, RayError::Start { .. }), "{here}");
        assert_eq!(here.to_string(), there.to_string());

        let signs = Signs::new();
        let stillborn = signs.path("stillborn");
        std::fs::write(&stillborn, "").unwrap();
        // SAFETY: no other thread of this test's own process reads or changes the environment meanwhile.
        unsafe { std::env::set_var(STILLBORN, &stillborn) };
        let error = own_head().init().unwrap_err();
        assert!(matches!(error, RayError::Start { .. }), "{error}");
        assert!(error.to_string().contains("SIGABRT"), "{error}");
        std::fs::remove_file(&stillborn).unwrap();
        drop(own_head().init().unwrap());
    });
}

#[test]
fn however_few_descriptors_there_are_a_session_starts_or_says_why_not() {
    in_own_process(|| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
        let limit = |current| rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        let (mut refused, mut started) = (0, 0);
        for spare in 0..64 {
            limit(Some(open + spare));
            let begun = own_head().init();
            limit(maximum);
            match begun {
                Ok(ray) => {
                    started += 1;
                    drop(ray);
                }
                Err(RayError::Start { why }) => {
                    refused += 1;
                    assert!(!why.is_empty());
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(children(), Vec::<u32>::new());
        }
        assert!(refused > 0 && started > 0, "{refused} refused, {started} started");
    });
}
