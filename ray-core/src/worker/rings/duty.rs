//! Who looks while nobody waits.
//!
//! RI-5: a bell that rings for every answer costs a system call and a wake-up each, more than the answer itself. So the
//! bell is left unarmed where a thread of this process comes by anyway and looks in passing: a driver that submits one task
//! after another, an actor whose calls are short. That is a guess, which a tick of the reactor makes good: if nobody has
//! looked for a whole [`TICK`], it looks itself and arms the bell.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Rings;
use crate::worker::Worker;

/// How late what has come may be seen by those who wait elsewhere: at most twice this.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without need before they cease: to begin costs a wake-up.
const QUIET_TICKS: u32 = 8;
/// So many submissions between two wake-ups of the reactor are a burst.
const BURST: u32 = 32;
/// In a burst, every so many submissions look for answers.
const LOOK_EVERY: u32 = 16;

/// What is known of the passers-by.
#[derive(Debug, Default)]
pub(super) struct Duty {
    /// How often somebody has looked.
    looks: AtomicU32,
    /// Submissions since the reactor was woken last.
    submitted: AtomicU32,
    ticking: AtomicBool,
}

impl Duty {
    /// Somebody looks.
    pub(super) fn looked(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rings {
    /// A task or call is about to be submitted.
    pub(crate) fn submitting(&self, worker: &Arc<Worker>) {
        let count = self.duty.submitted.fetch_add(1, Ordering::Relaxed);
        if !self.unarmed.load(Ordering::Relaxed) {
            return;
        }
        if !worker.identity.is_driver() {
            // The code of a task has something to wait for from now on.
            self.listen();
        } else if count.is_multiple_of(LOOK_EVERY) {
            self.duty.looked();
            self.drain_for_busy_main(worker);
        }
    }

    /// Whether what the reactor was woken for is left to those who submit.
    pub(super) fn is_burst(&self, worker: &Worker) -> bool {
        self.duty.submitted.swap(0, Ordering::Relaxed) >= BURST && worker.identity.is_driver()
    }

    /// The consumer goes and leaves the bell unarmed: somebody will look soon, or else a tick.
    pub(super) fn leave_unarmed(&self, worker: &Arc<Worker>) {
        self.unarmed.store(true, Ordering::SeqCst);
        if !self.duty.ticking.swap(true, Ordering::SeqCst) {
            worker.io.spawn(tick(Arc::downgrade(worker)));
        }
    }
}

async fn tick(worker: Weak<Worker>) {
    let mut seen = None;
    let mut quiet = 0;
    loop {
        tokio::time::sleep(TICK).await;
        let Some(worker) = worker.upgrade() else { return };
        let rings = &worker.rings;
        let looks = rings.duty.looks.load(Ordering::Relaxed);
        if !rings.unarmed.load(Ordering::SeqCst) {
            quiet += 1;
        } else if seen.replace(looks) == Some(looks) {
            // Whoever holds the consumer now looks, and decides anew how it leaves the bell.
            if let Some(mut consumer) = rings.try_consumer()
                && rings.unarmed.load(Ordering::SeqCst)
            {
                rings.drain(&worker, &mut consumer);
                rings.let_go(&mut consumer);
            }
        } else {
            quiet = 0;
        }
        if quiet > QUIET_TICKS {
            rings.duty.ticking.store(false, Ordering::SeqCst);
            // Somebody may have left it unarmed and seen that the ticks go on.
            if !rings.unarmed.load(Ordering::SeqCst) || rings.duty.ticking.swap(true, Ordering::SeqCst) {
                return;
            }
            quiet = 0;
        }
    }
}
