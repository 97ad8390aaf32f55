//! The only place that reads a clock: wall-clock time for display and persistence, monotonic time for everything else.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustix::time::ClockId;

/// Time since the machine's start, the same in all its processes. Never jumps; stands still while the machine sleeps.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    // The kernel counts from zero and keeps nanoseconds below 10^9.
    Duration::try_from(now).unwrap_or_default()
}

/// A moment in UTC, with microseconds. Written as RFC 3339: `2026-11-21T10:38:05.123456Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    micros: u64,
}

/// A moment's parts, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The year.
    pub year: u64,
    /// The month, from 1.
    pub month: u64,
    /// The day of the month, from 1.
    pub day: u64,
    /// The hour, 0 to 23.
    pub hour: u64,
    /// The minute.
    pub minute: u64,
    /// The second; leap seconds do not exist.
    pub second: u64,
    /// The microsecond.
    pub micro: u64,
}

impl Timestamp {
    /// Now, by the wall clock, which may jump either way.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn now() -> Self {
        // A clock before 1970 is shown as 1970.
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_unix_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment this many microseconds after the start of 1970.
    pub const fn from_unix_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Microseconds since the start of 1970.
    pub const fn unix_micros(self) -> u64 {
        self.micros
    }

    /// The moment's date and time of day.
    pub const fn parts(self) -> Parts {
        let seconds = self.micros / 1_000_000;
        let (year, month, day) = date_of(seconds / 86_400);
        Parts {
            year,
            month,
            day,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micro: self.micros % 1_000_000,
        }
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`: years that begin in March
/// put the leap day last.
const fn date_of(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
        } = self.parts();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(seconds: u64) -> String {
        Timestamp::from_unix_micros(seconds * 1_000_000).to_string()
    }

    #[test]
    fn known_moments_are_written_as_rfc_3339() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(1_709_251_199), "2024-02-29T23:59:59.000000Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(
            Timestamp::from_unix_micros(1_500_000_000_000_042).to_string(),
            "2017-07-14T02:40:00.000042Z"
        );
    }

    proptest! {
        #[test]
        fn the_next_day_is_the_next_day_or_the_first_of_a_month(day in 0_u64..200_000) {
            let (before, after) = (date_of(day), date_of(day + 1));
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = if before.1 == 12 { (before.0 + 1, 1, 1) } else { (before.0, before.1 + 1, 1) };
            prop_assert!(after == next_day || (after == next_month && before.2 >= 28));
            prop_assert!(before.2 <= 31);
        }

        #[test]
        fn text_sorts_as_time_does(one in 0_u64..200_000_000_000_000_000, other in 0_u64..200_000_000_000_000_000) {
            let (one, other) = (Timestamp::from_unix_micros(one), Timestamp::from_unix_micros(other));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }
    }

    #[test]
    fn monotonic_time_never_runs_backwards() {
        let before = monotonic();
        assert!(monotonic() >= before);
    }
}
