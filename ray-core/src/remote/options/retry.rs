//! Whether and when a failed task is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::remote::TaskError;

/// Which errors of the function itself are tried again. A worker's death is, whatever this says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RetryExceptions {
    /// None.
    #[default]
    Never,
    /// All.
    All,
    /// Those that the predicate in the attribute accepts. It runs in the worker.
    Matching,
}

impl RetryExceptions {
    /// Whether this error may be tried again.
    pub fn accepts(self, error: &TaskError) -> bool {
        match self {
            Self::Never => false,
            Self::All => error.kind() == crate::remote::TaskErrorKind::Application,
            Self::Matching => error.wants_retry(),
        }
    }
}

impl From<bool> for RetryExceptions {
    fn from(all: bool) -> Self {
        if all { Self::All } else { Self::Never }
    }
}

/// How long to wait before an attempt: exponential, with jitter and a cap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryBackoff {
    /// Before the first retry.
    pub initial: Duration,
    /// How much longer each further wait is.
    pub factor: f64,
    /// The longest wait.
    pub max: Duration,
    /// Which part of a wait is chance, from 0 to 1.
    pub jitter: f64,
}

impl RetryBackoff {
    /// Doubles from `initial` up to a minute; a fifth of each wait is chance.
    pub const fn exponential(initial: Duration) -> Self {
        Self {
            initial,
            factor: 2.0,
            max: Duration::from_secs(60),
            jitter: 0.2,
        }
    }

    /// The same with another cap.
    pub const fn up_to(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    /// The wait before retry `retry` (from 1); `chance` is uniform in `0..1`.
    pub fn delay(&self, retry: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = (self.initial.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        let jittered = full * (1.0 - self.jitter * chance);
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max)
    }
}

impl From<Duration> for RetryBackoff {
    fn from(initial: Duration) -> Self {
        Self::exponential(initial)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = RetryBackoff::exponential(Duration::from_millis(100)).up_to(Duration::from_secs(1));
        let waits: Vec<_> = (1..=6).map(|retry| backoff.delay(retry, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    proptest! {
        #[test]
        fn a_wait_stays_between_its_jitter_and_the_cap(
            initial in 0u64..10_000, max in 0u64..100_000, jitter in 0.0..=1.0, retry: u32, chance in 0.0..1.0,
        ) {
            let backoff = RetryBackoff {
                jitter,
                ..RetryBackoff::exponential(Duration::from_millis(initial)).up_to(Duration::from_millis(max))
            };
            let wait = backoff.delay(retry, chance).as_secs_f64();
            let longest = backoff.delay(retry, 0.0).as_secs_f64();
            prop_assert!(wait <= longest + 1e-6 && longest <= backoff.max.as_secs_f64() + 1e-6);
            prop_assert!(wait >= longest * (1.0 - jitter) - 1e-6);
        }
    }
}
