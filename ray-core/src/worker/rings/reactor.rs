//! The reactor's part: it is the consumer while no thread waits, and whoever goes leaves the bell to it (RI-3).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Rings;
use super::held::Consumer;
use crate::worker::Worker;

impl Rings {
    /// RI-3.
    pub(super) fn let_go(&self, consumer: &mut Consumer) {
        self.unarmed.store(false, Ordering::Relaxed);
        let Consumer { bell, inboxes, .. } = consumer;
        let eager = self.eager.load(Ordering::Relaxed);
        if !bell.arm(|| inboxes.are_ready(eager) || self.has_errands()) {
            bell.nudge();
        }
    }

    /// The running task begins to wait for something: the reactor listens from now on.
    pub(crate) fn listen(&self) {
        while self.unarmed.load(Ordering::Relaxed) {
            // Who comes to wait as the consumer says that somebody listens; who only looks is soon gone.
            match self.try_consumer() {
                Some(mut consumer) => return self.let_go(&mut consumer),
                None => std::thread::yield_now(),
            }
        }
    }

    /// Whether something has come that this process sees at once.
    fn has_come(&self, consumer: &Consumer) -> bool {
        consumer.inboxes.are_ready(self.eager.load(Ordering::Relaxed)) || self.has_errands()
    }
}

/// The reactor's part: it is the consumer while no thread waits.
pub(crate) async fn serve_reactor(worker: Arc<Worker>) {
    let descriptor = match worker.rings.event.try_clone() {
        Ok(descriptor) => descriptor,
        Err(error) => {
            tracing::error!(target: "ray_core::worker", %error, "no descriptor for the bell: answers come late");
            return;
        }
    };
    // SAFETY: the descriptor is an open one of our own, which the registration owns and closes after itself.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    let event = match registered {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(target: "ray_core::worker", ?error, "the bell cannot be watched: answers come late");
            return;
        }
    };
    let weak = Arc::downgrade(&worker);
    // A thread that is the consumer already leaves the bell to us when it lets go.
    if let Some(mut consumer) = worker.rings.try_consumer() {
        worker.rings.let_go(&mut consumer);
    }
    drop(worker);
    loop {
        let Ok(mut readable) = event.readable().await else {
            return;
        };
        readable.clear_ready();
        let Some(worker) = weak.upgrade() else { return };
        let rings = &worker.rings;
        // A thread that waits is the consumer now, and will leave the bell to us again.
        rings.reactor_missed.store(true, Ordering::SeqCst);
        let Some(mut consumer) = rings.try_consumer() else {
            continue;
        };
        rings.reactor_missed.store(false, Ordering::SeqCst);
        if rings.unarmed.load(Ordering::Relaxed) {
            continue;
        }
        consumer.bell.disarm();
        while rings.has_come(&consumer) {
            rings.drain(&worker, &mut consumer);
        }
        if rings.is_burst(&worker) {
            rings.leave_unarmed(&worker);
        } else {
            rings.let_go(&mut consumer);
        }
    }
}
