//! Asking the processes of the node what they hold.
//!
//! - CE-1: a census ends once: when all have answered, when the last that had not is dead, or when its time is over.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::host::MemoryUsage;
use crate::ids::{IdHasher, WorkerId};
use crate::memory::Holdings;

/// What a census is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Somebody wants the `memory` report.
    Report { to: WorkerId, request: u64 },
    /// Memory is short: somebody must go.
    Shortage(MemoryUsage),
}

/// Answers, and for what.
#[derive(Debug)]
pub(super) struct Census {
    pub(super) purpose: Purpose,
    pub(super) answers: HashMap<WorkerId, Holdings, IdHasher>,
    missing: HashSet<WorkerId, IdHasher>,
    until: Duration,
}

/// The censuses under way.
#[derive(Debug, Default)]
pub(super) struct Censuses {
    next: u64,
    open: HashMap<u64, Census>,
}

impl Censuses {
    /// Begins a census of these processes; the number goes with the question.
    pub(super) fn begin(&mut self, purpose: Purpose, of: &[WorkerId], until: Duration) -> u64 {
        self.next += 1;
        let census = Census {
            purpose,
            answers: HashMap::default(),
            missing: of.iter().copied().collect(),
            until,
        };
        self.open.insert(self.next, census);
        self.next
    }

    /// A process has answered.
    pub(super) fn answered(&mut self, number: u64, from: WorkerId, holdings: Holdings) {
        if let Some(census) = self.open.get_mut(&number)
            && census.missing.remove(&from)
        {
            census.answers.insert(from, holdings);
        }
    }

    /// A process is dead.
    pub(super) fn died(&mut self, worker: &WorkerId) {
        for census in self.open.values_mut() {
            census.missing.remove(worker);
        }
    }

    /// Takes out those that have ended.
    pub(super) fn ended(&mut self, now: Duration) -> Vec<Census> {
        let over = |census: &Census| census.missing.is_empty() || census.until <= now;
        let numbers: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, census)| over(census))
            .map(|(number, _)| *number)
            .collect();
        numbers
            .into_iter()
            .filter_map(|number| self.open.remove(&number))
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn has_shortage(&self) -> bool {
        self.open
            .values()
            .any(|census| matches!(census.purpose, Purpose::Shortage(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings() -> Holdings {
        Holdings {
            running: Vec::new(),
            lends: false,
            pending_bytes: 0,
            lineage_bytes: 0,
            objects: Vec::new(),
        }
    }

    #[test]
    fn ce_1_a_census_ends_with_the_last_answer_or_death_or_with_its_time() {
        let [a, b] = [WorkerId::random(), WorkerId::random()];
        let purpose = || Purpose::Report { to: a, request: 1 };
        let second = Duration::from_secs(1);
        let mut censuses = Censuses::default();

        let number = censuses.begin(purpose(), &[a, b], second);
        censuses.answered(number, a, holdings());
        assert!(censuses.ended(Duration::ZERO).is_empty());
        censuses.died(&b);
        let ended = censuses.ended(Duration::ZERO);
        assert_eq!((ended.len(), ended[0].answers.len()), (1, 1));
        censuses.answered(number, b, holdings());
        assert!(censuses.is_empty() && censuses.ended(second).is_empty());

        censuses.begin(purpose(), &[a], second);
        assert!(censuses.ended(second / 2).is_empty());
        assert_eq!(censuses.ended(second).len(), 1);
    }
}
