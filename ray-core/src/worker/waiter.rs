//! How a thread or a future waits for a number of objects.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use ray_core_ring::Ringer;

use crate::worker::context;

/// Counts down to the moment when enough objects are ready, then wakes whoever waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    missing: AtomicUsize,
    /// Done at the first failure, however many are missing.
    for_values: bool,
    sleeper: Mutex<Sleeper>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Sleeper {
    waker: Option<Waker>,
    /// The bell by which the thread is woken that waits as the consumer of its process's rings.
    bell: Option<Ringer>,
    /// Threads that sleep until they are notified.
    blocked: usize,
}

impl Waiter {
    /// Waits for `missing` objects.
    pub(crate) fn new(missing: usize) -> Self {
        Self {
            missing: AtomicUsize::new(missing),
            for_values: false,
            sleeper: Mutex::default(),
            woken: Condvar::new(),
        }
    }

    /// Waits for `missing` objects, or for one that fails.
    pub(crate) fn for_values(missing: usize) -> Self {
        Self {
            for_values: true,
            ..Self::new(missing)
        }
    }

    /// One object has failed.
    pub(crate) fn notify_failure(&self) {
        if self.for_values {
            // The one that is counted below is the last.
            self.missing.fetch_min(1, Ordering::AcqRel);
        }
        self.notify();
    }

    /// One object is ready.
    pub(crate) fn notify(&self) {
        let before = self
            .missing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
        if before == Ok(1) {
            // The lock orders this wake-up after the sleeper's last look at the count.
            let mut sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = sleeper.waker.take() {
                waker.wake();
            }
            if let Some(bell) = sleeper.bell.take() {
                // A waiter that is awake has seen the count.
                let _found = bell.ring();
            }
            let blocked = sleeper.blocked > 0;
            drop(sleeper);
            if blocked {
                self.woken.notify_all();
            }
        }
    }

    /// Whether enough are ready.
    pub(crate) fn is_done(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    /// Blocks this thread until enough are ready or the time is over. Returns whether enough are ready.
    pub(crate) fn block(&self, deadline: Option<Instant>) -> bool {
        let mut sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
        sleeper.blocked += 1;
        while !self.is_done() {
            sleeper = match deadline {
                None => self.woken.wait(sleeper).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.woken
                        .wait_timeout(sleeper, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        sleeper.blocked -= 1;
        drop(sleeper);
        self.is_done()
    }

    /// Has the waiting thread woken by this bell.
    pub(crate) fn wake_by(&self, bell: &Ringer) {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner).bell = Some(bell.clone());
    }

    /// Returns when enough are ready.
    pub(crate) async fn done(&self) {
        let _awaiting = context::await_others();
        std::future::poll_fn(|cx| {
            if self.register(cx.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Leaves a waker to be woken when enough are ready. Returns whether they are already.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        let mut sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_done() {
            return true;
        }
        if !sleeper.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            sleeper.waker = Some(waker.clone());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_sleeper_wakes_when_the_last_missing_object_is_ready() {
        let waiter = Arc::new(Waiter::new(2));
        let notifier = waiter.clone();
        let thread = std::thread::spawn(move || (0..2).for_each(|_| notifier.notify()));
        assert!(waiter.block(None));
        thread.join().unwrap();
        waiter.notify();
        assert!(waiter.is_done());
    }

    #[test]
    fn the_time_given_bounds_the_wait() {
        let waiter = Waiter::new(1);
        assert!(!waiter.block(Some(Instant::now() + Duration::from_millis(5))));
    }
}
