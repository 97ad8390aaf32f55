//! What the children of these tests do. Each deed runs in place of the harness's `main`.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ray_core::process::role::{ROLE_VARIABLE, ROLES};
use ray_core::process::setup::{WORKER_SETUP, run_worker_setup};
use ray_core::process::{Executable, Role, RoleEntry, Spawner, stack};

/// The variable that names the deed of a child.
pub(crate) const DEED: &str = "TEST_DEED";
/// The role of the children of these tests.
pub(crate) const ROLE: &str = "deed";

static CONSTRUCTED: AtomicUsize = AtomicUsize::new(0);
static CONSTRUCTED_AFTER_TAKE_OVER: AtomicBool = AtomicBool::new(false);
static SETUPS: AtomicUsize = AtomicUsize::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

// Rust's own linker (lld) sorts by the number and puts this one last; GNU ld puts all numbered ones first.
#[used]
#[unsafe(link_section = ".init_array.70000")]
static LATE_CONSTRUCTOR: extern "C" fn() = late_constructor;

extern "C" fn constructor() {
    CONSTRUCTED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn late_constructor() {
    CONSTRUCTED.fetch_add(1, Ordering::Relaxed);
    CONSTRUCTED_AFTER_TAKE_OVER.store(std::env::var_os(ROLE_VARIABLE).is_none(), Ordering::Relaxed);
}

#[linkme::distributed_slice(WORKER_SETUP)]
static SETUP: fn() = || {
    SETUPS.fetch_add(1, Ordering::Relaxed);
};

#[linkme::distributed_slice(ROLES)]
static DEEDS: RoleEntry = RoleEntry { name: ROLE, run };

fn run(role: Role) -> i32 {
    let deed = std::env::var(DEED).expect("the test names the deed");
    match deed.as_str() {
        "report" => report(role),
        "write-to-a-closed-pipe" => write_to_a_closed_pipe(role),
        "overflow-a-thread" => overflow_a_thread(),
        "overflow-the-main-thread" => {
            std::hint::black_box(recurse(0));
            0
        }
        "segfault" => segfault(),
        "spawn-a-grandchild" => spawn_a_grandchild(role),
        "start-a-process-in-the-group" => start_a_process_in_the_group(role),
        "sleep" => sleep_for_ever(role),
        "leave-text-unflushed" => {
            print!("still in the buffer");
            7
        }
        "panic" => panic!("the deed is to panic"),
        other => panic!("no deed `{other}`"),
    }
}

fn socket(role: Role) -> UnixStream {
    UnixStream::from(role.control)
}

/// One `key=value` line for each fact.
fn report(mut role: Role) -> i32 {
    let mut text = String::new();
    let mut tell = |key: &str, value: &dyn std::fmt::Display| text.push_str(&format!("{key}={value}\n"));
    run_worker_setup();
    run_worker_setup();
    tell("setups", &SETUPS.load(Ordering::Relaxed));
    tell("constructed", &CONSTRUCTED.load(Ordering::Relaxed));
    tell(
        "constructed-after-take-over",
        &CONSTRUCTED_AFTER_TAKE_OVER.load(Ordering::Relaxed),
    );
    tell("pid", &std::process::id());
    tell("parent", &role.parent_pid);
    tell("group", &rustix::process::getpgrp().as_raw_nonzero());
    tell("comm", &std::fs::read_to_string("/proc/self/comm").unwrap().trim_end());
    tell("directory", &std::env::current_dir().unwrap().display());
    tell("control", &role.control.as_raw_fd());
    let extra = role.take_descriptor("extra").map_or(-1, |extra| extra.as_raw_fd());
    tell("extra", &extra);
    let arguments = std::fs::read_to_string("/proc/self/cmdline").unwrap();
    tell("arguments", &arguments.trim_end_matches('\0').replace('\0', " "));
    for (name, value) in std::env::vars() {
        tell(&format!("env.{name}"), &value);
    }
    tell("role-variable", &std::env::var_os(ROLE_VARIABLE).is_some());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        if let Some((key @ ("SigBlk" | "SigIgn"), mask)) = line.split_once(':') {
            tell(key, &mask.trim());
        }
    }
    for number in 0..1024 {
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) {
            tell(&format!("fd.{number}"), &target.display());
        }
    }
    socket(role).write_all(text.as_bytes()).unwrap();
    0
}

fn write_to_a_closed_pipe(role: Role) -> i32 {
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    let error = writer.write_all(b"x").unwrap_err();
    writeln!(socket(role), "{:?}", error.kind()).unwrap();
    0
}

fn overflow_a_thread() -> i32 {
    let thread = std::thread::Builder::new().name("deep".to_owned()).spawn(|| {
        stack::watch_current_thread();
        recurse(0)
    });
    std::hint::black_box(thread.unwrap().join().unwrap());
    0
}

#[expect(unconditional_recursion, reason = "the deed is to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + frame[depth as usize % 64]
}

fn segfault() -> i32 {
    // SAFETY: none; the deed is to crash at an address far from any stack.
    unsafe { std::ptr::without_provenance::<u8>(16).read_volatile().into() }
}

/// Spawns a child that sleeps, tells its pid, and sleeps too.
fn spawn_a_grandchild(role: Role) -> i32 {
    let spawner = Spawner::start().unwrap();
    let (request, _socket) = super::request(Executable::current().unwrap(), "sleep");
    let grandchild = spawner.spawn_blocking(request).unwrap();
    writeln!(socket(role), "{}", grandchild.pid()).unwrap();
    park_for_ever()
}

fn start_a_process_in_the_group(role: Role) -> i32 {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    writeln!(socket(role), "{}", child.id()).unwrap();
    child.wait().unwrap();
    0
}

fn sleep_for_ever(role: Role) -> i32 {
    writeln!(socket(role), "ready").unwrap();
    park_for_ever()
}

fn park_for_ever() -> i32 {
    loop {
        std::thread::park();
    }
}
