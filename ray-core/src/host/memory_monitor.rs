//! Whom the raylet kills before the kernel does. Pure: the raylet samples and kills.
//!
//! - MM-1: nobody is chosen at or below the threshold.
//! - MM-2: retriable work goes first, among these what owns nothing, among these the newest.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use super::MemoryUsage;

/// How much of the limit may be used before a worker is killed.
pub const DEFAULT_THRESHOLD: f64 = 0.95;

/// How many candidates a report names.
const REPORTED: usize = 5;

/// A worker that may be killed. Drivers are never candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// What the caller knows it by.
    pub id: Id,
    /// What it runs, for the report.
    pub name: String,
    /// Whether its task is run again, or its actor restarted.
    pub retriable: bool,
    /// Whether it owns objects that others refer to: they would be lost with it.
    pub owns_objects: bool,
    /// When its task or actor started, by the monotonic clock.
    pub started_at: Duration,
    /// The memory it uses.
    pub bytes: u64,
}

/// What to do about too much used memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict<Id> {
    /// Whom to kill.
    pub victim: Id,
    /// What the error of its task says.
    pub report: Report,
}

/// Why a worker was killed. Its text names the usage, the limit and the five largest workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    usage: MemoryUsage,
    threshold: f64,
    /// Name and bytes, the largest first.
    largest: Vec<(String, u64)>,
}

/// Whom to kill, if the usage is above the threshold (a part of the limit, 0 to 1) and anybody may be killed.
pub fn judge<Id: Clone>(usage: MemoryUsage, threshold: f64, candidates: &[Candidate<Id>]) -> Option<Verdict<Id>> {
    if usage.fraction() <= threshold {
        return None;
    }
    let victim = candidates
        .iter()
        .min_by_key(|one| (!one.retriable, one.owns_objects, Reverse(one.started_at)))?
        .id
        .clone();
    let mut largest: Vec<_> = candidates.iter().map(|one| (one.name.clone(), one.bytes)).collect();
    largest.sort_by_key(|(_, bytes)| Reverse(*bytes));
    largest.truncate(REPORTED);
    let report = Report {
        usage,
        threshold,
        largest,
    };
    Some(Verdict { victim, report })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} memory are used, above the threshold of {:.0} %; the largest workers:",
            Bytes(self.usage.used),
            Bytes(self.usage.limit),
            self.threshold * 100.0,
        )?;
        for (index, (name, bytes)) in self.largest.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator} {name} {}", Bytes(*bytes))?;
        }
        Ok(())
    }
}

/// A size for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = 1024.0 * 1024.0;
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let mib = self.0 as f64 / MIB;
        if mib < 1024.0 {
            write!(f, "{mib:.1} MiB")
        } else {
            write!(f, "{:.1} GiB", mib / 1024.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: MemoryUsage = MemoryUsage {
        used: 99 << 20,
        limit: 100 << 20,
    };

    fn candidate(id: usize, retriable: bool, owns_objects: bool, started: u64) -> Candidate<usize> {
        Candidate {
            id,
            name: format!("task{id}"),
            retriable,
            owns_objects,
            started_at: Duration::from_secs(started),
            bytes: (id as u64 + 1) << 20,
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate<usize>>> {
        proptest::collection::vec((any::<bool>(), any::<bool>(), 0_u64..50), 0..20).prop_map(|all| {
            all.into_iter()
                .enumerate()
                .map(|(id, (retriable, owns, started))| candidate(id, retriable, owns, started))
                .collect()
        })
    }

    #[test]
    fn mm_1_at_the_threshold_nobody_is_killed() {
        let usage = MemoryUsage { used: 95, limit: 100 };
        assert_eq!(judge(usage, DEFAULT_THRESHOLD, &[candidate(0, true, false, 0)]), None);
        let usage = MemoryUsage { used: 96, limit: 100 };
        assert!(judge(usage, DEFAULT_THRESHOLD, &[candidate(0, true, false, 0)]).is_some());
    }

    proptest! {
        #[test]
        fn mm_2_nobody_is_a_better_victim_than_the_one_chosen(all in candidates()) {
            let Some(verdict) = judge(FULL, DEFAULT_THRESHOLD, &all) else {
                prop_assert!(all.is_empty());
                return Ok(());
            };
            let victim = &all[verdict.victim];
            for other in &all {
                prop_assert!(victim.retriable || !other.retriable);
                if victim.retriable == other.retriable {
                    prop_assert!(!victim.owns_objects || other.owns_objects);
                    if victim.owns_objects == other.owns_objects {
                        prop_assert!(victim.started_at >= other.started_at);
                    }
                }
            }
        }
    }

    #[test]
    fn the_report_names_usage_limit_and_the_five_largest() {
        let all: Vec<_> = (0..7).map(|id| candidate(id, true, false, 0)).collect();
        let report = judge(FULL, DEFAULT_THRESHOLD, &all).unwrap().report.to_string();
        assert_eq!(
            report,
            "99.0 MiB of 100.0 MiB memory are used, above the threshold of 95 %; the largest workers: task6 7.0 MiB, \
             task5 6.0 MiB, task4 5.0 MiB, task3 4.0 MiB, task2 3.0 MiB"
        );
    }
}
