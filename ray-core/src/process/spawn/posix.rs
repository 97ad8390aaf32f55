//! The call of `posix_spawn`.
//!
//! Not `fork`: copying the page tables of a driver with much resident memory takes tens of milliseconds, and code between
//! `fork` and `exec` of a program with threads may only do what is async-signal-safe.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use rustix::process::Pid;

use super::request::Plan;
use crate::process::role::EXECUTABLE_FD;

pub(super) fn spawn(plan: &Plan) -> io::Result<Pid> {
    let mut actions = FileActions::new()?;
    actions.open_null(0, libc::O_RDONLY)?;
    for &number in &plan.discard {
        actions.open_null(number, libc::O_WRONLY)?;
    }
    for (source, number) in plan.raw_moves() {
        actions.duplicate(source, number)?;
    }
    actions.close_from(plan.first_closed)?;
    if let Some((_, directory)) = &plan.working_directory {
        actions.change_directory(directory)?;
    }
    let attributes = Attributes::new()?;
    let path = CString::new(format!("/proc/self/fd/{EXECUTABLE_FD}"))?;
    let args = pointers(&plan.args);
    let environment = pointers(&plan.environment);
    let mut pid: libc::pid_t = 0;
    // SAFETY: both arrays end with a null pointer, and point to strings that live as long as `plan`; actions and attributes
    // are initialised; `posix_spawn` keeps none of them and returns after the child's exec.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(error)?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn returned no process id"))
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect()
}

/// The functions of this family return the error instead of setting `errno`.
fn check(error: c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the pointer is valid for writing, and the value is used only after the call succeeded.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    fn open_null(&mut self, number: RawFd, flags: c_int) -> io::Result<()> {
        // SAFETY: the actions are initialised, and the path is copied.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, number, c"/dev/null".as_ptr(), flags, 0)
        })
    }

    fn duplicate(&mut self, source: RawFd, number: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, source, number) })
    }

    fn change_directory(&mut self, directory: &CStr) -> io::Result<()> {
        // SAFETY: the actions are initialised, and the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, directory.as_ptr()) })
    }

    /// Closes what other code of this program has opened without close-on-exec.
    fn close_from(&mut self, first: RawFd) -> io::Result<()> {
        type AddCloseFrom = unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, c_int) -> c_int;
        // SAFETY: the name is a C string.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"posix_spawn_file_actions_addclosefrom_np".as_ptr()) };
        if found.is_null() {
            return self.close_each_from(first);
        }
        // SAFETY: the symbol of that name is a function of this type in every C library that has it.
        let add_close_from = unsafe { std::mem::transmute::<*mut libc::c_void, AddCloseFrom>(found) };
        // SAFETY: the actions are initialised.
        check(unsafe { add_close_from(&raw mut self.0, first) })
    }

    /// The same where the C library cannot (musl, glibc before 2.34). What another thread opens at this very moment is
    /// missed; our own descriptors are close-on-exec anyway.
    fn close_each_from(&mut self, first: RawFd) -> io::Result<()> {
        let open = std::fs::read_dir("/proc/self/fd")?;
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
        for number in numbers.filter(|&number| number >= first && is_inherited(number)) {
            // SAFETY: the actions are initialised. In the child, closing what is closed does no harm.
            check(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut self.0, number) })?;
        }
        Ok(())
    }
}

/// Whether an open descriptor is not close-on-exec.
fn is_inherited(number: RawFd) -> bool {
    // SAFETY: only reads a flag.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used afterwards.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A process group of its own, no blocked signal, every signal's default action.
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the pointer is valid for writing, and the value is used only after the call succeeded.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            Self(attributes.assume_init())
        };
        let flags = libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut signals = MaybeUninit::uninit();
        let this = &raw mut attributes.0;
        // SAFETY: the attributes and the signal set (by `sigemptyset`, `sigfillset`) are initialised before they are read.
        unsafe {
            #[expect(clippy::cast_possible_truncation, reason = "the flags are the lowest bits")]
            check(libc::posix_spawnattr_setflags(this, flags as libc::c_short))?;
            check(libc::posix_spawnattr_setpgroup(this, 0))?;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(this, signals.as_ptr()))?;
            libc::sigfillset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigdefault(this, signals.as_ptr()))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used afterwards.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
