//! Whether a wait spins or sleeps. Pure: events and times go in, a budget comes out.
//!
//! Spinning on both sides makes a round trip of a fifth of a microsecond, sleeping costs two wake-ups, but spinning at the wrong
//! moment is worst: the kernel likes to put a woken peer on its waker's core, where it waits until the spinning ends.
//!
//! SPIN-1: after a post that had to wake its receiver, and after a wait that slept, the next wait does not spin (it is *cold*).
//! SPIN-2: a spin ends after [`SPIN_MOST`], and none begins unless waits have lately been that short, so a waiter whose peer
//! computes is asleep almost at once, and stays so.
//! SPIN-3: a cold pair spins again only through a probe: a rare cold wait that spins nevertheless. It is made only when both the
//! waits and the times between them are short; every failure halves the rate of probes, success restores it.
//! SPIN-4: with less than two CPUs nothing ever spins.

use std::time::{Duration, Instant};

use crate::doorbell::Rung;

/// The longest spin: about what two wake-ups cost, so that spinning in vain at most doubles a wait.
pub(crate) const SPIN_MOST: Duration = Duration::from_micros(50);
/// Waits expected to last longer sleep at once. Above [`SPIN_MOST`], since slept waits include the cost of sleeping.
const WAIT_WORTH: Duration = Duration::from_micros(100);
/// One odd wait must not outweigh many.
const SAMPLE_MOST: Duration = Duration::from_micros(400);
const PROBE_EVERY_LEAST: u32 = 4;
const PROBE_EVERY_MOST: u32 = 1024;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitEnd {
    /// While spinning.
    Spun,
    /// After sleeping, by a ring or by the deadline.
    Slept,
}

/// A running mean that forgets: each sample weighs an eighth.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    nanos: u64,
}

impl Estimate {
    const ZERO: Estimate = Estimate { nanos: 0 };

    fn add(&mut self, sample: Duration) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "samples are cut to less than a millisecond"
        )]
        let sample = sample.min(SAMPLE_MOST).as_nanos() as u64;
        self.nanos = (self.nanos * 7 + sample) / 8;
    }

    fn is_under(self, limit: Duration) -> bool {
        u128::from(self.nanos) < limit.as_nanos()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Cold waits to go before the next probe.
    In(u32),
    /// This wait is one.
    Running,
    /// It ended while spinning; what the next post or wait finds decides whether the pair stays awake.
    Judged,
}

/// The rule for one waiter, whatever it waits for.
#[derive(Debug, Clone)]
pub struct SpinPolicy {
    allowed: bool,
    cold: bool,
    /// No post yet since the last wait.
    fresh: bool,
    wait: Estimate,
    gap: Estimate,
    last_end: Option<Instant>,
    probe: Probe,
    probe_every: u32,
}

impl SpinPolicy {
    /// A policy for a process that may use `cpus` CPUs (quota and affinity, not the host's number).
    #[must_use]
    pub fn new(cpus: f64) -> SpinPolicy {
        SpinPolicy {
            allowed: cpus >= 2.0,
            cold: false,
            fresh: true,
            wait: Estimate::ZERO,
            gap: Estimate::ZERO,
            last_end: None,
            probe: Probe::In(PROBE_EVERY_LEAST),
            probe_every: PROBE_EVERY_LEAST,
        }
    }

    /// A frame was posted and its receiver's bell rung, with this result. One wake-up among several posts makes the next wait cold.
    #[inline]
    pub fn posted(&mut self, rung: Rung) {
        self.cold = rung == Rung::Woke || (self.cold && !self.fresh);
        self.fresh = false;
        if self.probe == Probe::Judged {
            self.judge(!self.cold);
        }
    }

    /// Whether the next wait may spin without asking for the time first: the peer is awake and answers soon.
    #[inline]
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.allowed && !self.cold && self.wait.is_under(WAIT_WORTH)
    }

    /// A warm wait ended within a few polls, too short to be timed.
    #[inline]
    pub fn caught(&mut self) {
        self.wait.add(Duration::ZERO);
        self.fresh = true;
        self.last_end = None;
        if self.probe == Probe::Judged {
            self.judge(true);
        }
    }

    /// A wait begins; how long may it spin? Answer with [`SpinPolicy::ended`].
    pub fn begun(&mut self, now: Instant) -> Duration {
        if let Some(last) = self.last_end.take() {
            self.gap.add(now.saturating_duration_since(last));
        }
        if self.is_warm() {
            return SPIN_MOST;
        }
        let promising = self.wait.is_under(WAIT_WORTH) && self.gap.is_under(SPIN_MOST);
        match self.probe {
            _ if !self.allowed || !promising => Duration::ZERO,
            Probe::In(waits) if waits > 1 => {
                self.probe = Probe::In(waits - 1);
                Duration::ZERO
            }
            _ => {
                self.probe = Probe::Running;
                SPIN_MOST
            }
        }
    }

    /// The wait that began at `begin` has ended.
    pub fn ended(&mut self, begin: Instant, now: Instant, end: WaitEnd) {
        self.wait.add(now.saturating_duration_since(begin));
        self.last_end = Some(now);
        self.cold = end == WaitEnd::Slept;
        self.fresh = true;
        match (self.probe, end) {
            (Probe::Running, WaitEnd::Spun) => self.probe = Probe::Judged,
            (Probe::Running, WaitEnd::Slept) => self.judge(false),
            (Probe::Judged, _) => self.judge(!self.cold),
            (Probe::In(_), _) => {}
        }
    }

    fn judge(&mut self, success: bool) {
        self.probe_every = if success {
            PROBE_EVERY_LEAST
        } else {
            (self.probe_every * 2).min(PROBE_EVERY_MOST)
        };
        self.probe = Probe::In(self.probe_every);
    }
}
