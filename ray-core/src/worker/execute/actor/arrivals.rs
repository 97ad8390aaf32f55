//! The order of calls: those of one caller begin in the order in which it made them, whatever way they came.

use std::collections::{BTreeMap, HashMap};

use crate::ids::{IdHasher, WorkerId};
use crate::worker::execute::Job;

/// Puts the calls of each caller in order: ring and socket may overtake each other.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    callers: HashMap<WorkerId, Caller, IdHasher>,
}

#[derive(Debug, Default)]
struct Caller {
    next: u64,
    early: BTreeMap<u64, Job>,
}

impl Arrivals {
    /// A call has come. Returns the calls whose turn it is.
    pub(super) fn arrived(&mut self, job: Job) -> Vec<Job> {
        let order = job.spec.call.as_ref().map_or(0, |call| call.order);
        let caller = self.callers.entry(job.from).or_default();
        if order > caller.next {
            caller.early.insert(order, job);
            return Vec::new();
        }
        caller.next += 1;
        let mut in_turn = vec![job];
        while let Some(next) = caller.early.remove(&caller.next) {
            caller.next += 1;
            in_turn.push(next);
        }
        in_turn
    }

    /// The caller is dead. Returns the calls whose turn will not come, since those before them are lost.
    pub(super) fn caller_gone(&mut self, caller: WorkerId) -> impl Iterator<Item = Job> + use<> {
        let gone = self.callers.remove(&caller);
        gone.into_iter().flat_map(|caller| caller.early.into_values())
    }
}
