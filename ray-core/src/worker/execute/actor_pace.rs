//! How fast an actor's calls go, and so whether one more thread would help.
//!
//! AP-1: a call that may start is left to a thread that runs another, if calls have lately been shorter than it takes to
//! start or wake a thread. That is a guess: if a whole [`LOOK_AFTER`] passes without a call being taken, threads start for
//! all that wait, since the one that runs may be waiting for one of them.

use std::time::Duration;

/// Less than a thread takes to begin.
const SHORT: Duration = Duration::from_micros(20);
/// How long what was left to others may stand.
pub(super) const LOOK_AFTER: Duration = Duration::from_millis(1);

/// What is known of an actor's calls that run on threads.
#[derive(Debug, Default)]
pub(super) struct Pace {
    running: usize,
    taken: u64,
    typical: Option<Duration>,
    /// Somebody looks after what was left.
    pub(super) watched: bool,
}

impl Pace {
    /// A thread has taken a call.
    pub(super) fn took(&mut self) {
        self.running += 1;
        self.taken += 1;
    }

    /// A call has ended on its thread. The estimate falls at once and rises slowly, since what is measured may include the
    /// time that others had the core.
    pub(super) fn ended(&mut self, ran: Duration) {
        self.running = self.running.saturating_sub(1);
        self.typical = Some(match self.typical {
            Some(typical) if typical < ran => typical + (ran - typical) / 16,
            _ => ran,
        });
    }

    /// A thread is done with something that says nothing about calls.
    pub(super) fn left(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Calls taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Calls are so short that whoever runs one is soon back.
    pub(super) fn is_brief(&self) -> bool {
        self.typical.is_some_and(|typical| typical < SHORT)
    }

    /// AP-1. `looking` threads run nothing and are about to take a call.
    pub(super) fn leaves_to_others(&self, looking: usize) -> bool {
        self.running + looking > 0 && self.is_brief()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_calls_are_left_to_the_thread_that_runs_and_others_are_not() {
        let mut pace = Pace::default();
        assert!(!pace.leaves_to_others(1));
        pace.took();
        // Nothing is known yet.
        assert!(!pace.leaves_to_others(0));
        pace.ended(Duration::from_micros(2));
        assert!(!pace.leaves_to_others(0), "nobody runs");
        assert!(pace.leaves_to_others(1));
        pace.took();
        assert!(pace.leaves_to_others(0));
        pace.ended(Duration::from_millis(1));
        pace.took();
        assert!(!pace.leaves_to_others(0));
        assert_eq!(pace.taken(), 3);
    }
}
