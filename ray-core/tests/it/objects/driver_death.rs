//! What SIGKILL of a driver leaves: nothing.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use ray_core::value::Buffer;
use ray_core::{Ray, get, put, remote};

use super::{MIB, is_alive, pattern, small_store};
use crate::support::{Watchdog, wait_until};

const DRIVER: &str = "RAY_TEST_KILLED_DRIVER";

#[remote]
fn pid_and_touch(buffer: Buffer) -> u32 {
    std::hint::black_box(buffer.len());
    std::process::id()
}

#[remote]
fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

struct Sleeper;

#[remote]
impl Sleeper {
    fn new() -> Self {
        Self
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// The driver that will be killed: it uses all that a session has, tells about it, and waits.
fn driver() {
    let _ray = small_store(32).init().unwrap();
    let references: Vec<_> = (0..16)
        .map(|number| put(&Buffer::from(pattern(number, 4 * MIB))).unwrap())
        .collect();
    let view = get(&references[15]).unwrap();
    let sleeper = Sleeper::remote();
    let mut pids = vec![get(&sleeper.pid()).unwrap()];
    pids.push(get(&pid_and_touch::remote(&references[0])).unwrap());
    let _running = sleep_for_ever::remote();
    let memory = std::fs::read_dir("/proc/self/fd").unwrap().flatten().find_map(|entry| {
        let name = std::fs::read_link(entry.path()).ok()?;
        let ours = name.to_string_lossy().contains("memfd:ray-objects");
        ours.then(|| std::fs::metadata(entry.path()).unwrap().ino())
    });
    pids.extend(crate::support::children());
    pids.extend(crate::support::workers());
    let mut out = std::io::stdout();
    writeln!(out, "\nDRIVER {} {pids:?}", memory.unwrap()).unwrap();
    out.flush().unwrap();
    loop {
        std::thread::park();
        std::hint::black_box(&view);
    }
}

/// Processes that map the file of this inode.
fn mappers(inode: u64) -> usize {
    let field = format!(" {inode} ");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let maps = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("maps")).ok());
    maps.filter(|maps| {
        maps.lines()
            .any(|line| line.contains("memfd:ray-objects") && line.contains(&field))
    })
    .count()
}

#[test]
fn a_driver_killed_by_sigkill_leaves_no_process_no_memory_and_no_spilled_file() {
    let _watchdog = Watchdog::start();
    if std::env::var_os(DRIVER).is_some() {
        return driver();
    }
    let base = tempfile::Builder::new().prefix("ray-").tempdir_in("/tmp").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "objects::driver_death::a_driver_killed_by_sigkill_leaves_no_process_no_memory_and_no_spilled_file",
            "--exact",
            "--nocapture",
        ])
        .env(DRIVER, "1")
        .env("RAY_TMPDIR", base.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("DRIVER "))
        .unwrap();
    let (inode, pids) = told.trim_start_matches("DRIVER ").split_once(' ').unwrap();
    let inode: u64 = inode.parse().unwrap();
    let pids: Vec<u32> = pids
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert!(pids.len() >= 4 && pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    assert!(mappers(inode) >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(|| pids.iter().all(|pid| !is_alive(*pid)));
    // A worker that was born after the driver told of its own ends too.
    wait_until(|| mappers(inode) == 0);

    // The next sessions in that directory remove what the dead one has left on disk.
    let spilled = || {
        let sessions = std::fs::read_dir(base.path()).unwrap().flatten();
        let spills = sessions.filter_map(|session| std::fs::read_dir(session.path().join("spill")).ok());
        spills.flatten().flatten().count()
    };
    assert!(spilled() > 0);
    // They do so aside, and one that ends at once leaves the rest to the one after it.
    wait_until(|| {
        let next = Command::new(std::env::current_exe().unwrap())
            .args([
                "objects::driver_death::a_session_that_does_nothing",
                "--exact",
                "--include-ignored",
            ])
            .env("RAY_TMPDIR", base.path())
            .output()
            .unwrap();
        assert!(next.status.success(), "{}", String::from_utf8_lossy(&next.stdout));
        spilled() == 0
    });
}

#[test]
#[ignore = "only a part of the test above"]
fn a_session_that_does_nothing() {
    let _watchdog = Watchdog::start();
    drop(Ray::builder().num_cpus(1).init().unwrap());
}
