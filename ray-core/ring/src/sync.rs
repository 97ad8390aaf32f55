//! The atomics, so that loom can replace them, and the two ways to sleep: a futex and an eventfd.

#[cfg(ray_loom)]
pub(crate) use self::modelled::*;
#[cfg(not(ray_loom))]
pub(crate) use self::real::*;

#[cfg(not(ray_loom))]
mod real {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use rustix::event::{EventfdFlags, Timespec};
    use rustix::io::Errno;
    use rustix::thread::futex;

    /// Sleeps while `word` holds `expected`; `false` when `timeout` passed. May return early for no reason.
    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        // No PRIVATE flag: the peer that wakes us is another process.
        !matches!(
            futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref()),
            Err(Errno::TIMEDOUT)
        )
    }

    /// Wakes the one thread that sleeps on `word`.
    pub(crate) fn futex_wake(word: &AtomicU32) {
        // It fails only for a bad address, and this one is mapped.
        let _woken = futex::wake(word, futex::Flags::empty(), 1);
    }

    /// A descriptor that becomes readable when the bell is rung.
    #[derive(Debug)]
    pub(crate) struct Event(pub(crate) OwnedFd);

    impl Event {
        pub(crate) fn create() -> Result<Event, Errno> {
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Event)
        }

        pub(crate) fn signal(&self) {
            // EAGAIN means that the counter is full: it is readable already.
            let _written = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        }

        pub(crate) fn drain(&self) {
            // EAGAIN means that nobody rang: nothing to take back.
            let _read = rustix::io::read(&self.0, &mut [0_u8; 8]);
        }

        pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(ray_loom)]
mod modelled {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        // The kernel's queue: comparing the word and falling asleep are one step for a waker.
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) -> bool {
        let guard = QUEUE.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(QUEUE.1.wait(guard).unwrap());
        }
        true
    }

    pub(crate) fn futex_wake(_word: &AtomicU32) {
        drop(QUEUE.0.lock().unwrap());
        QUEUE.1.notify_all();
    }

    #[derive(Debug)]
    pub(crate) struct Event(Mutex<bool>, Condvar);

    impl Event {
        pub(crate) fn modelled() -> Event {
            Event(Mutex::new(false), Condvar::new())
        }

        pub(crate) fn signal(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_all();
        }

        pub(crate) fn drain(&self) {
            *self.0.lock().unwrap() = false;
        }

        /// What a reactor does: sleeps until the descriptor is readable.
        pub(crate) fn park(&self) {
            let mut readable = self.0.lock().unwrap();
            while !*readable {
                readable = self.1.wait(readable).unwrap();
            }
        }
    }
}
