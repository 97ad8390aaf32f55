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

/// Whether the pair keeps itself awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Regime {
    /// Waits spin.
    Spinning,
    /// A probe has just succeeded: the next post or wait decides whether the pair stays awake.
    OnTrial,
    /// Waits sleep; so many more before the next probe.
    Sleeping { probe_in: u32 },
    /// This wait is a probe.
    Probing,
}

/// The rule for one waiter, whatever it waits for.
#[derive(Debug, Clone)]
pub struct SpinPolicy {
    allowed: bool,
    regime: Regime,
    wait: Estimate,
    gap: Estimate,
    last_end: Option<Instant>,
    probe_every: u32,
    shares_core: bool,
}

impl SpinPolicy {
    /// A policy for a process that may use `cpus` CPUs (quota and affinity, not the host's number).
    #[must_use]
    pub fn new(cpus: f64) -> SpinPolicy {
        SpinPolicy {
            allowed: cpus >= 2.0,
            regime: Regime::Spinning,
            wait: Estimate::ZERO,
            gap: Estimate::ZERO,
            last_end: None,
            probe_every: PROBE_EVERY_LEAST,
            shares_core: false,
        }
    }

    /// A frame was posted and its receiver's bell rung, with this result. After several posts, one wake-up decides.
    #[inline]
    pub fn posted(&mut self, rung: Rung) {
        match (self.regime, rung) {
            (Regime::Spinning, Rung::Woke) => self.sleep_for_now(),
            (Regime::OnTrial, Rung::Woke) => self.failed(),
            (Regime::OnTrial, Rung::Awake) => self.succeeded(),
            _ => {}
        }
    }

    /// Whether the next wait may spin without asking for the time first: the peer is awake and answers soon.
    #[inline]
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.allowed && matches!(self.regime, Regime::Spinning | Regime::OnTrial) && self.wait.is_under(WAIT_WORTH)
    }

    /// Whether the peer was last seen to run on this very core, so that it answers only once we yield.
    #[inline]
    #[must_use]
    pub fn shares_core(&self) -> bool {
        self.shares_core
    }

    /// A yield of this core brought the answer, or did not.
    #[inline]
    pub fn yielded(&mut self, answered: bool) {
        self.shares_core = answered;
    }

    /// A warm wait ended within a few polls, too short to be timed.
    #[inline]
    pub fn caught(&mut self) {
        self.wait.add(Duration::ZERO);
        self.last_end = None;
        if self.regime == Regime::OnTrial {
            self.succeeded();
        }
    }

    /// A wait begins; how long may it spin? Answer with [`SpinPolicy::ended`].
    pub fn begun(&mut self, now: Instant) -> Duration {
        if let Some(last) = self.last_end.take() {
            self.gap.add(now.saturating_duration_since(last));
        }
        let promising = self.allowed && self.wait.is_under(WAIT_WORTH);
        match self.regime {
            _ if !promising => Duration::ZERO,
            Regime::Spinning | Regime::OnTrial => SPIN_MOST,
            // The peer sleeps again if we come back late.
            Regime::Sleeping { .. } if !self.gap.is_under(SPIN_MOST) => Duration::ZERO,
            Regime::Sleeping { probe_in } if probe_in > 1 => {
                self.regime = Regime::Sleeping { probe_in: probe_in - 1 };
                Duration::ZERO
            }
            Regime::Sleeping { .. } | Regime::Probing => {
                self.regime = Regime::Probing;
                SPIN_MOST
            }
        }
    }

    /// The wait that began at `begin` has ended.
    pub fn ended(&mut self, begin: Instant, now: Instant, end: WaitEnd) {
        self.wait.add(now.saturating_duration_since(begin));
        self.last_end = Some(now);
        match (self.regime, end) {
            (Regime::Probing, WaitEnd::Spun) => self.regime = Regime::OnTrial,
            (Regime::OnTrial, WaitEnd::Spun) => self.succeeded(),
            (Regime::Probing | Regime::OnTrial, WaitEnd::Slept) => self.failed(),
            (Regime::Spinning, WaitEnd::Slept) => self.sleep_for_now(),
            (Regime::Spinning, WaitEnd::Spun) | (Regime::Sleeping { .. }, _) => {}
        }
    }

    fn sleep_for_now(&mut self) {
        self.regime = Regime::Sleeping {
            probe_in: self.probe_every,
        };
    }

    fn succeeded(&mut self) {
        self.probe_every = PROBE_EVERY_LEAST;
        self.regime = Regime::Spinning;
    }

    fn failed(&mut self) {
        self.probe_every = (self.probe_every * 2).min(PROBE_EVERY_MOST);
        self.sleep_for_now();
    }
}
