//! Whether a wait spins or sleeps. Pure: events and times go in, a budget comes out.
//!
//! Spinning on both sides makes a round trip of a fifth of a microsecond, sleeping costs two wake-ups, but spinning at the wrong
//! moment is worst: the kernel likes to put a woken peer on its waker's core, where it waits until the spinning ends.
//!
//! SPIN-1: after a post that had to wake its receiver, and after a wait that slept, waits sleep.
//! SPIN-2: a spin ends after [`SPIN_MOST`], and none begins unless waits have lately been that short, so a waiter whose peer
//! computes is asleep almost at once, and stays so.
//! SPIN-3: waits spin again only after a probe: one that spins nevertheless. It is made only when both the waits and the times
//! between them are short; every failure halves the rate of probes, success restores it. A post that finds its receiver awake
//! although the pair sleeps is an invitation to a probe (the peer is probing), at a rate that falls likewise: the peer may as
//! well have been stopped, by the kernel, on its way to sleep.
//! SPIN-4: with less than two CPUs nothing ever spins.

use std::time::{Duration, Instant};

use crate::doorbell::Rung;

/// The longest spin: about what two wake-ups cost, so that spinning in vain at most doubles a wait.
pub(crate) const SPIN_MOST: Duration = Duration::from_micros(50);
/// Waits expected to last longer sleep at once. Above [`SPIN_MOST`], since slept waits include the cost of sleeping.
const WAIT_WORTH: Duration = Duration::from_micros(100);
/// One odd wait must not outweigh many.
const SAMPLE_MOST: Duration = Duration::from_micros(400);
/// Waits from probe to probe: at first, and at most.
const PROBE_EVERY: [u32; 2] = [4, 128];
/// Invitations from one accepted to the next: at first, and at most.
const ACCEPT_EVERY: [u32; 2] = [1, 16];
/// A lost core costs a time slice, fifty times a spin in vain: such failures count as several, and may make probes so much rarer.
const LOST_CORE: u32 = 64;
/// Waits that yield first once a yield has brought the answer.
const YIELDS: u32 = 16;

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
    /// Waits sleep.
    Sleeping,
    /// This wait is a probe.
    Probing,
}

/// One in so many: the fewer, the more of them have failed.
#[derive(Debug, Clone)]
struct Rate {
    least: u32,
    most: u32,
    every: u32,
    left: u32,
}

impl Rate {
    fn new([least, most]: [u32; 2]) -> Rate {
        Rate {
            least,
            most,
            every: least,
            left: least,
        }
    }

    /// Counts one, and says whether it is the one.
    fn is_due(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.left = self.every;
        true
    }

    /// Halves the rate, down to the least.
    fn failed(&mut self) {
        self.set(self.every.max((self.every * 2).min(self.most)));
    }

    /// Divides the rate by `factor`, down to the least divided by it.
    fn failed_badly(&mut self, factor: u32) {
        self.set((self.every * factor).min(self.most * factor));
    }

    fn succeeded(&mut self) {
        self.set(self.least);
    }

    fn set(&mut self, every: u32) {
        self.every = every;
        self.left = every;
    }
}

/// The rule for one waiter, whatever it waits for.
#[derive(Debug, Clone)]
pub struct SpinPolicy {
    allowed: bool,
    regime: Regime,
    wait: Estimate,
    gap: Estimate,
    last_end: Option<Instant>,
    probes: Rate,
    acceptances: Rate,
    /// The probe of the next or this wait was invited.
    invited: bool,
    /// Waits that yield first, before the peer's core is tried again.
    yields_left: u32,
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
            probes: Rate::new(PROBE_EVERY),
            acceptances: Rate::new(ACCEPT_EVERY),
            invited: false,
            yields_left: 0,
        }
    }

    /// A frame was posted and its receiver's bell rung, with this result. After several posts, one wake-up decides.
    #[inline]
    pub fn posted(&mut self, rung: Rung) {
        match (self.regime, rung) {
            (Regime::Spinning, Rung::Woke) => self.regime = Regime::Sleeping,
            (Regime::OnTrial, Rung::Woke) => self.failed(),
            (Regime::OnTrial, Rung::Awake) => self.succeeded(),
            (Regime::Sleeping, Rung::Woke) => self.invited = false,
            (Regime::Sleeping, Rung::Awake) => self.invited = self.acceptances.is_due(),
            (Regime::Spinning, Rung::Awake) | (Regime::Probing, _) => {}
        }
    }

    /// Whether the next wait may spin without asking for the time first: the peer is awake and answers soon.
    #[inline]
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.allowed && matches!(self.regime, Regime::Spinning | Regime::OnTrial) && self.wait.is_under(WAIT_WORTH)
    }

    /// Whether to yield this core before anything else, since the peer was lately seen to run on it. Now and then it says no, so
    /// that a peer that has moved away is noticed.
    #[inline]
    pub fn yields_first(&mut self) -> bool {
        self.yields_left = self.yields_left.saturating_sub(1);
        self.yields_left > 0
    }

    /// A yield of this core, after polling in vain, brought the answer or did not.
    pub fn yielded(&mut self, answered: bool) {
        self.yields_left = if answered { YIELDS } else { 0 };
    }

    /// The spin lost its core to somebody who computes: whether an answer came or not, sleeping would have been better.
    #[cold]
    pub fn preempted(&mut self) {
        self.yields_left = 0;
        self.rate().failed_badly(LOST_CORE);
        self.invited = false;
        self.regime = Regime::Sleeping;
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
            Regime::Sleeping if !self.gap.is_under(SPIN_MOST) => Duration::ZERO,
            Regime::Sleeping if !self.invited && !self.probes.is_due() => Duration::ZERO,
            Regime::Sleeping | Regime::Probing => {
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
            (Regime::Spinning, WaitEnd::Slept) => self.regime = Regime::Sleeping,
            (Regime::Spinning, WaitEnd::Spun) | (Regime::Sleeping, _) => {}
        }
    }

    fn succeeded(&mut self) {
        self.probes.succeeded();
        self.acceptances.succeeded();
        self.invited = false;
        self.regime = Regime::Spinning;
    }

    fn failed(&mut self) {
        self.rate().failed();
        self.invited = false;
        self.regime = Regime::Sleeping;
    }

    /// The rate that the spin at hand was due to.
    fn rate(&mut self) -> &mut Rate {
        if self.invited {
            &mut self.acceptances
        } else {
            &mut self.probes
        }
    }
}

#[cfg(all(test, not(ray_loom)))]
mod tests {
    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    /// A waiter on a clock of its own.
    struct Bench {
        policy: SpinPolicy,
        now: Instant,
    }

    impl Bench {
        fn new(cpus: f64) -> Bench {
            Bench {
                policy: SpinPolicy::new(cpus),
                now: Instant::now(),
            }
        }

        /// Posts, then waits: the answer comes `answer` later, 15 µs later still if the wait slept. Says whether it spun at all.
        fn call(&mut self, rung: Rung, answer: Duration) -> bool {
            self.policy.posted(rung);
            self.wait(answer)
        }

        fn wait(&mut self, answer: Duration) -> bool {
            if self.policy.is_warm() && answer <= MICRO {
                self.policy.caught();
                self.now += answer;
                return true;
            }
            let begin = self.now;
            let budget = self.policy.begun(begin);
            let spun = budget >= answer;
            self.now += if spun { answer } else { answer + 15 * MICRO };
            self.policy
                .ended(begin, self.now, if spun { WaitEnd::Spun } else { WaitEnd::Slept });
            !budget.is_zero()
        }

        fn think(&mut self, gap: Duration) {
            self.now += gap;
        }
    }

    #[test]
    fn a_tight_loop_spins_from_the_first_call() {
        let mut bench = Bench::new(2.0);
        assert!((0..1000).all(|_| bench.call(Rung::Awake, MICRO)));
    }

    #[test]
    fn spin_1_after_a_post_that_woke_its_receiver_the_wait_sleeps() {
        let mut bench = Bench::new(2.0);
        assert!(!bench.call(Rung::Woke, 10 * MICRO));
        bench.policy.posted(Rung::Woke);
        bench.policy.posted(Rung::Awake);
        assert!(!bench.policy.is_warm(), "one of two posts woke somebody");
    }

    #[test]
    fn spin_2_a_waiter_whose_peer_computes_stops_spinning_and_stays_asleep() {
        let mut bench = Bench::new(2.0);
        let spun = (0..1000)
            .filter(|_| bench.call(Rung::Awake, Duration::from_millis(10)))
            .count();
        assert!(spun <= 2, "{spun} of 1,000 waits");
    }

    #[test]
    fn spin_2_no_budget_is_over_the_most() {
        let mut bench = Bench::new(64.0);
        assert!(bench.policy.begun(bench.now) <= SPIN_MOST);
    }

    #[test]
    fn spin_3_paced_calls_never_spin() {
        let mut bench = Bench::new(2.0);
        // The pace shows after a few calls.
        let mut spun = 0;
        for _ in 0..1000 {
            bench.think(Duration::from_millis(1));
            spun += u32::from(bench.call(Rung::Woke, 5 * MICRO));
        }
        assert_eq!(spun, 0);
    }

    #[test]
    fn spin_3_a_paced_loop_that_becomes_tight_spins_again_soon() {
        let mut bench = Bench::new(2.0);
        for _ in 0..100 {
            bench.think(Duration::from_millis(1));
            bench.call(Rung::Woke, 5 * MICRO);
        }
        // The peer sleeps until a probe keeps us awake.
        let calls = (0_usize..).take_while(|_| !bench.call(Rung::Woke, 5 * MICRO)).count();
        assert!(calls < 40, "{calls} calls");
        assert!((0..100).all(|_| bench.call(Rung::Awake, MICRO)));
    }

    #[test]
    fn spin_3_probes_that_fail_become_rare_and_a_success_makes_them_frequent_again() {
        let mut bench = Bench::new(2.0);
        let probes = (0..20_000).filter(|_| bench.call(Rung::Woke, 5 * MICRO)).count();
        assert!((150..170).contains(&probes), "{probes} probes in 20,000 calls");
        while !bench.call(Rung::Woke, 5 * MICRO) {}
        assert!(bench.call(Rung::Awake, 5 * MICRO), "it succeeded");
        bench.call(Rung::Woke, 5 * MICRO);
        let calls = (0_usize..).take_while(|_| !bench.call(Rung::Woke, 5 * MICRO)).count();
        assert!(calls <= PROBE_EVERY[0] as usize, "{calls} calls");
    }

    #[test]
    fn spin_3_an_invitation_is_accepted_at_once_and_ever_more_rarely_if_it_was_none() {
        let mut bench = Bench::new(2.0);
        bench.call(Rung::Woke, 5 * MICRO);
        assert!(bench.call(Rung::Awake, MICRO), "accepted");
        assert!((0..100).all(|_| bench.call(Rung::Awake, MICRO)), "and stayed");
        let accepted = (0..1600).filter(|_| bench.call(Rung::Awake, 60 * MICRO)).count();
        assert!(accepted < 160, "{accepted} of 1,600");
    }

    #[test]
    fn a_peer_on_the_same_core_is_yielded_to_but_not_for_ever() {
        let mut policy = SpinPolicy::new(2.0);
        assert!(!policy.yields_first());
        policy.yielded(true);
        let yields = (0..100).take_while(|_| policy.yields_first()).count();
        assert!((1..=YIELDS as usize).contains(&yields), "{yields}");
        policy.yielded(true);
        policy.yielded(false);
        assert!(!policy.yields_first());
    }

    #[test]
    fn a_spin_that_loses_its_core_is_a_failure_even_if_the_answer_came() {
        let mut bench = Bench::new(2.0);
        assert!(bench.call(Rung::Awake, MICRO));
        bench.policy.yielded(true);
        assert!(bench.policy.yields_first());
        bench.policy.preempted();
        assert!(!bench.policy.yields_first());
        assert!(!bench.policy.is_warm());
        assert!(!bench.wait(MICRO));
    }

    #[test]
    fn spin_4_below_two_cpus_nothing_spins() {
        let mut bench = Bench::new(1.5);
        assert!(!(0..5000).any(|_| bench.call(Rung::Awake, MICRO)));
    }

    #[test]
    fn one_long_pause_costs_one_spin() {
        let mut bench = Bench::new(2.0);
        for _ in 0..100 {
            bench.call(Rung::Awake, MICRO);
        }
        assert!(bench.wait(Duration::from_secs(1)));
        assert!(!bench.wait(Duration::from_secs(1)));
    }
}
