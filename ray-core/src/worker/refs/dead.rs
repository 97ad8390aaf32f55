//! The workers known to be dead, the latest of them.

use std::collections::VecDeque;

use crate::id_hash::IdSet;
use crate::ids::WorkerId;

/// How many are remembered. A hand-over to a dead worker arrives soon after its death or never; one to a worker that was
/// forgotten would keep its object in scope until the owner ends.
const REMEMBERED: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct DeadWorkers {
    set: IdSet<WorkerId>,
    order: VecDeque<WorkerId>,
}

impl DeadWorkers {
    /// Remembers a death. Tells whether it is news.
    pub(super) fn insert(&mut self, worker: WorkerId) -> bool {
        if !self.set.insert(worker) {
            return false;
        }
        self.order.push_back(worker);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }

    pub(super) fn contains(&self, worker: &WorkerId) -> bool {
        self.set.contains(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_deaths_are_remembered_and_no_more_than_the_bound() {
        let mut dead = DeadWorkers::default();
        let workers: Vec<_> = (0..REMEMBERED + 10).map(|_| WorkerId::random()).collect();
        assert!(workers.iter().all(|worker| dead.insert(*worker)));
        assert!(!dead.insert(workers[20]));
        assert!(!dead.contains(&workers[0]));
        assert!(workers[10..].iter().all(|worker| dead.contains(worker)));
        assert_eq!((dead.set.len(), dead.order.len()), (REMEMBERED, REMEMBERED));
    }
}
