//! Tells a stack overflow from other crashes.
//!
//! Rust's runtime does this for a program that enters through `main`. A process that took over before `main` does it here:
//! one handler, and for each thread an alternate stack for it to run on. The process still dies by the signal.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::Resource;

/// How much of the alternate stack is for our own handler, beside what the processor's registers need.
const HANDLER_STACK: usize = 32 * 1024;
/// Frames larger than a page may skip the guard page by this much.
const NEAR: usize = 64 * 1024;
const NAME_BYTES: usize = 32;

/// What the handler knows of its thread. Plain data without destructor, so that reading it is async-signal-safe.
#[derive(Clone, Copy)]
struct Watched {
    lowest_stack_address: usize,
    name: [u8; NAME_BYTES],
    name_bytes: usize,
}

thread_local! {
    static WATCHED: Cell<Option<Watched>> = const { Cell::new(None) };
    static ALTERNATE: RefCell<Option<AlternateStack>> = const { RefCell::new(None) };
}

/// Installs the handler for this process, unless the program has one of its own for SIGSEGV or SIGBUS.
pub(super) fn install_handler() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: `sigaction` fills the old action, all zeroes is a valid one to start from, and `on_fault` does only what
        // is async-signal-safe.
        unsafe {
            if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let mut action = action.assume_init();
            if action.sa_sigaction != libc::SIG_DFL {
                continue;
            }
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Gives the calling thread an alternate stack, so that an overflow of its own is told. Each thread of a worker that runs
/// user code calls this first. Without effect where the thread's bounds cannot be found.
pub fn watch_current_thread() {
    if WATCHED.get().is_some() {
        return;
    }
    let Some(lowest_stack_address) = lowest_stack_address() else {
        return;
    };
    let Some(stack) = AlternateStack::install() else { return };
    let thread = std::thread::current();
    // Rust names the first thread only in a program that enters through `main`.
    let unnamed = if is_first_thread() { "main" } else { "<unnamed>" };
    let full = thread.name().unwrap_or(unnamed).as_bytes();
    let name_bytes = full.len().min(NAME_BYTES);
    let mut name = [0; NAME_BYTES];
    name[..name_bytes].copy_from_slice(&full[..name_bytes]);
    WATCHED.set(Some(Watched {
        lowest_stack_address,
        name,
        name_bytes,
    }));
    ALTERNATE.with_borrow_mut(|held| *held = Some(stack));
}

/// How much stack the calling thread has left; `None` where its bounds cannot be found.
pub(crate) fn left() -> Option<usize> {
    thread_local! {
        static LOWEST: Cell<Option<Option<usize>>> = const { Cell::new(None) };
    }
    let lowest = LOWEST.get().unwrap_or_else(|| {
        let found = lowest_stack_address();
        LOWEST.set(Some(found));
        found
    })?;
    let here = 0u8;
    std::ptr::from_ref(&here).addr().checked_sub(lowest)
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid description of the fault.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let sent_by_kernel = code > 0;
    if let Some(watched) = WATCHED.get()
        && sent_by_kernel
        && address.abs_diff(watched.lowest_stack_address) <= NEAR
    {
        tell(b"\nray: stack overflow in thread `");
        tell(&watched.name[..watched.name_bytes]);
        tell(b"`: recurse less deeply, keep large values on the heap, or give the threads a larger stack (RUST_MIN_STACK)\n");
    }
    // SAFETY: both are async-signal-safe. The signal is blocked until this handler returns, then ends the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

fn tell(text: &[u8]) {
    // SAFETY: `write` is async-signal-safe, and the buffer is valid.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

fn is_first_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

fn lowest_stack_address() -> Option<usize> {
    let mut attributes = MaybeUninit::uninit();
    let (mut lowest, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call, read by the second, and destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let read = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut bytes);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if read != 0 {
            return None;
        }
    }
    let highest = lowest.addr() + bytes;
    let limit = rustix::process::getrlimit(Resource::Stack).current;
    match limit.and_then(|limit| usize::try_from(limit).ok()) {
        // The first thread's stack grows down to the limit. Musl tells only how far it has grown.
        Some(limit) if is_first_thread() => highest.checked_sub(limit),
        _ => Some(lowest.addr()),
    }
}

/// A stack for signal handlers with an inaccessible page below it; unmapped at the thread's end.
struct AlternateStack {
    mapping: *mut c_void,
    bytes: usize,
}

impl AlternateStack {
    fn install() -> Option<Self> {
        let page = rustix::param::page_size();
        // SAFETY: reads a word that the kernel gave this process.
        let registers = unsafe { libc::getauxval(AT_MINSIGSTKSZ) };
        let usable = (usize::try_from(registers).ok()? + HANDLER_STACK).next_multiple_of(page);
        let bytes = usable + page;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapping = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .ok()?;
        let stack = Self { mapping, bytes };
        // SAFETY: the first page of our own mapping, which nobody uses yet.
        unsafe { rustix::mm::mprotect(mapping, page, MprotectFlags::empty()) }.ok()?;
        let described = libc::stack_t {
            ss_sp: mapping.wrapping_byte_add(page),
            ss_flags: 0,
            ss_size: usable,
        };
        // SAFETY: the memory stays mapped until `drop` has taken it from the thread.
        let installed = unsafe { libc::sigaltstack(&raw const described, ptr::null_mut()) };
        (installed == 0).then_some(stack)
    }
}

/// Not in `libc` for all Linux targets.
const AT_MINSIGSTKSZ: libc::c_ulong = 51;

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let none = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        // SAFETY: this thread owns the mapping, and stops using it before it goes. If another stack was installed over
        // ours, disabling it only means that an overflow is told less clearly at the thread's very end.
        let unmapped = unsafe {
            libc::sigaltstack(&raw const none, ptr::null_mut());
            rustix::mm::munmap(self.mapping, self.bytes)
        };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
