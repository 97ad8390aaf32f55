//! The one consumer, locked by whoever is it (RI-2).

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};

use ray_core_ring::{Doorbell, SpinPolicy};

use super::Rings;
use super::inbox::Inboxes;

/// What the consumer alone touches.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) bell: Doorbell,
    pub(super) policy: SpinPolicy,
    pub(super) inboxes: Inboxes,
}

/// The consumer, locked. Whoever lets go of it has the reactor look if that was rung meanwhile and found it locked.
pub(super) struct Held<'a> {
    rings: &'a Rings,
    consumer: Option<MutexGuard<'a, Consumer>>,
}

impl Deref for Held<'_> {
    type Target = Consumer;

    #[expect(clippy::expect_used, reason = "the guard is taken by `drop` only")]
    fn deref(&self) -> &Consumer {
        self.consumer.as_ref().expect("held until dropped")
    }
}

impl DerefMut for Held<'_> {
    #[expect(clippy::expect_used, reason = "the guard is taken by `drop` only")]
    fn deref_mut(&mut self) -> &mut Consumer {
        self.consumer.as_mut().expect("held until dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.consumer.take());
        if self.rings.reactor_missed.swap(false, Ordering::SeqCst) {
            // An error means that the counter is full: then the reactor looks anyway.
            let _full = rustix::io::write(&self.rings.event, &1u64.to_ne_bytes());
        }
    }
}

impl Rings {
    pub(super) fn consumer(&self) -> Held<'_> {
        // A panic under the lock is a bug; rings stay consistent record by record.
        Held {
            rings: self,
            consumer: Some(self.consumer.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub(super) fn try_consumer(&self) -> Option<Held<'_>> {
        let consumer = match self.consumer.try_lock() {
            Ok(consumer) => consumer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Held {
            rings: self,
            consumer: Some(consumer),
        })
    }
}
