//! Take-over: a child that was spawned in a role never runs the user's `main`.
//!
//! An entry of `.init_array` runs before `main`. In every process but a child of ours it returns at once, after one look at
//! the environment. Order in a child (PR-5, PR-6): descriptors and variable are taken away, the parent-death signal is set,
//! SIGPIPE is ignored, the constructors after ours run, then the role. The process leaves by `exit`, so what `atexit` and
//! destructors promise happens.

mod init_array;

use std::ffi::{c_char, c_int};
use std::io::Write;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::AssertUnwindSafe;

use rustix::fs::{Mode, OFlags};
use rustix::io::{DupFlags, Errno};
use rustix::process::Signal;

use super::role::{self, Announcement, ROLE_VARIABLE, ROLES, Role};
use super::stack;
use init_array::{InitArray, InitFunction};

/// The lowest number that a role's descriptors get, out of the way of user code.
const FIRST_HIDDEN_FD: RawFd = 200;

/// The exit code of a role that panicked, as of a `main` that does.
const PANICKED: i32 = 101;
/// The exit code of a process that could not take over (`EX_SOFTWARE`).
const CANNOT_TAKE_OVER: i32 = 70;

/// Why this program's children cannot take over by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// This crate lies in a shared library.
    #[error(
        "this program uses ray-core from a shared library, so its executable cannot become a worker: name a worker \
         command, a program that links ray-core and the same tasks"
    )]
    SharedLibrary,
    /// The kernel started the program in secure-execution mode.
    #[error(
        "this program runs set-uid, set-gid or with file capabilities (AT_SECURE), where workers refuse to take over: \
         remove these from the file, or give the capabilities to the calling process instead"
    )]
    SecureExecution,
    /// The executable is linked statically at a fixed address.
    #[error(
        "this executable is linked statically at a fixed address, so its constructors cannot be found: link it \
         position-independent (`-C relocation-model=pie`)"
    )]
    StaticFixedAddress,
}

/// Whether children of this program (the same executable) take over by themselves.
pub fn available() -> Result<(), Unavailable> {
    match init_array::of_main_executable() {
        None => Err(Unavailable::StaticFixedAddress),
        Some(array) if array.index_of(&raw const TAKEOVER).is_none() => Err(Unavailable::SharedLibrary),
        Some(_) if is_secure_execution() => Err(Unavailable::SecureExecution),
        Some(_) => Ok(()),
    }
}

/// Takes over if this process is a child in a role; else returns. For the `main` of an explicit worker command, where this
/// crate lies in a shared library; everywhere else it has happened before `main`.
pub fn take_over_now() {
    if let Some(announced) = announced_to_us() {
        become_role(settle(&announced));
    }
}

// Not under Miri, which runs constructors but has no processes.
#[cfg_attr(not(miri), used, unsafe(link_section = ".init_array"))]
static TAKEOVER: InitFunction = take_over;

extern "C" fn take_over(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    let Some(announced) = announced_to_us() else { return };
    let Some(array) = init_array::of_main_executable() else {
        return;
    };
    let Some(ours) = array.index_of(&raw const TAKEOVER) else {
        return;
    };
    let role = settle(&announced);
    run_later_constructors(&array, ours, argc, argv, envp);
    become_role(role)
}

fn run_later_constructors(
    array: &InitArray,
    ours: usize,
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
) {
    for function in array.functions_after(ours) {
        // Under musl the arguments are not there: it calls constructors with none, and those look at none.
        function(argc, argv, envp);
    }
}

/// The announcement, if the variable is there and names a socket that our parent made for us.
fn announced_to_us() -> Option<Announcement> {
    let announced = Announcement::from_environment()?;
    if is_secure_execution() {
        return None;
    }
    // SAFETY: the number is only looked at; if it is not open, the calls fail.
    let control = unsafe { BorrowedFd::borrow_raw(announced.control) };
    (role::socket_inode(control) == Some(announced.control_inode)).then_some(announced)
}

fn is_secure_execution() -> bool {
    // SAFETY: reads a word that the kernel gave this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Makes the process a role's before any further user code runs.
fn settle(announced: &Announcement) -> Role {
    // SAFETY: constructors run before `main` in the process's first thread. A constructor of C code may have started
    // others, but the variables of a child that was started a moment ago are read by none of ours.
    unsafe { std::env::remove_var(ROLE_VARIABLE) };
    die_with_parent(announced.parent_pid);
    ignore_broken_pipes();
    // Shown by `ps` and `top`; the kernel's default would be the descriptor's number.
    let title = if announced.role == role::HEAD {
        c"ray::head"
    } else {
        c"ray::worker"
    };
    if rustix::thread::set_name(title).is_err() {
        give_up("it cannot be named");
    }
    match hide(announced) {
        Ok(role) => role,
        Err(errno) => give_up(&format!("its descriptors cannot be moved: {errno}")),
    }
}

fn hide(announced: &Announcement) -> Result<Role, Errno> {
    // The executable was needed for `exec` only.
    drop(own(announced.executable));
    let mut number = own(announced.control);
    let control = hidden_copy(&number)?;
    // A read or write of the number that the socket had must do no harm.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::dup3(&null, &mut number, DupFlags::CLOEXEC)?;
    let _stays_open = number.into_raw_fd();
    let descriptors = announced
        .named
        .iter()
        .map(|(name, number)| Ok((name.clone(), hidden_copy(&own(*number))?)))
        .collect::<Result<_, Errno>>()?;
    Ok(Role {
        name: announced.role.clone(),
        parent_pid: announced.parent_pid,
        control,
        descriptors,
    })
}

/// The descriptor under a high number, closed on exec.
fn hidden_copy(descriptor: &OwnedFd) -> Result<OwnedFd, Errno> {
    match rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST_HIDDEN_FD) {
        // The limit on open files is lower than that.
        Err(Errno::INVAL) => rustix::io::fcntl_dupfd_cloexec(descriptor, 3),
        copied => copied,
    }
}

fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the parent opened this number for us (the socket's inode proves that the announcement is ours), it names each
    // number once, and no code that ran before us knows of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn die_with_parent(parent_pid: u32) {
    if let Err(errno) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        give_up(&format!("it cannot ask to die with its parent: {errno}"));
    }
    // The parent may have ended before the request.
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(parent_pid) {
        let killed = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        give_up(&format!("its parent has ended, and it cannot follow: {killed:?}"));
    }
}

fn ignore_broken_pipes() {
    // SAFETY: installs no handler, only "ignore".
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

fn become_role(role: Role) -> ! {
    stack::install_handler();
    stack::watch_current_thread();
    let Some(entry) = ROLES.iter().find(|entry| entry.name == role.name) else {
        give_up(&format!("this program has no role `{}`", role.name));
    };
    let run = entry.run;
    let code = std::panic::catch_unwind(AssertUnwindSafe(|| run(role))).unwrap_or(PANICKED);
    std::process::exit(code)
}

fn give_up(why: &str) -> ! {
    // Nobody is left to tell if standard error is closed too.
    let _told = writeln!(
        std::io::stderr(),
        "ray: process {} cannot take over its role: {why}",
        std::process::id()
    );
    std::process::exit(CANNOT_TAKE_OVER)
}
