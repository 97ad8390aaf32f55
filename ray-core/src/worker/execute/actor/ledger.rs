//! Which calls the state of an actor contains.
//!
//! - CK-5: a call that the restored state contains is not run again, whatever its caller sends.
//! - CK-6: an outcome is kept until its caller is known to have seen it, as far as room allows; of a call whose outcome is
//!   not known any more, the caller is told so.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::ids::{IdHasher, WorkerId};
use crate::wire::{ActorCallSpec, ObjectValue, SavedAnswer, SavedCaller, SavedCalls, TaskOutcome};

/// Bytes of outcomes that are kept beyond those that have not left.
const KEPT_BYTES: usize = 1 << 20;
/// What an outcome takes beside its values.
const OUTCOME: usize = 128;

/// The calls that have come to an actor, by caller.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    callers: HashMap<WorkerId, Caller, IdHasher>,
    /// Kept outcomes, the oldest first, with their sizes. Some are gone already.
    ages: VecDeque<(WorkerId, u64, usize)>,
    kept: usize,
}

#[derive(Debug, Default)]
struct Caller {
    through: u64,
    open: BTreeSet<u64>,
    answers: BTreeMap<u64, TaskOutcome>,
}

/// What a call that arrives is to the state.
#[derive(Debug)]
pub(super) enum Known {
    /// It has not run.
    New,
    /// It has, and its outcome may be known.
    Ended(Option<TaskOutcome>),
}

impl Ledger {
    /// As it was when a state was saved.
    pub(super) fn restored(calls: SavedCalls) -> Self {
        let mut ledger = Self::default();
        for saved in calls.callers {
            let caller = ledger.callers.entry(saved.caller).or_default();
            caller.through = saved.through;
            caller.open = saved.open.into_iter().collect();
            for SavedAnswer { sequence, outcome } in saved.answers {
                ledger.ages.push_back((saved.caller, sequence, size(&outcome)));
                ledger.kept += size(&outcome);
                caller.answers.insert(sequence, outcome);
            }
        }
        ledger
    }

    /// A call has arrived.
    pub(super) fn arrived(&mut self, from: WorkerId, call: &ActorCallSpec) -> Known {
        let caller = self.callers.entry(from).or_default();
        // Below this number nothing comes again.
        caller.answers = caller.answers.split_off(&call.answered);
        if call.sequence <= caller.through && !caller.open.contains(&call.sequence) {
            return Known::Ended(caller.answers.get(&call.sequence).cloned());
        }
        caller.open.insert(call.sequence);
        Known::New
    }

    /// A call has ended, or was answered without having run. One whose argument was gone comes again.
    pub(super) fn ended(&mut self, from: WorkerId, sequence: u64, outcome: &TaskOutcome) {
        let Some(caller) = self.callers.get_mut(&from) else {
            return;
        };
        if matches!(outcome, TaskOutcome::ArgumentUnreadable { .. }) {
            return;
        }
        caller.open.remove(&sequence);
        caller.through = caller.through.max(sequence);
        if is_worth_keeping(outcome) {
            caller.answers.insert(sequence, outcome.clone());
            self.ages.push_back((from, sequence, size(outcome)));
            self.kept += size(outcome);
        }
    }

    /// All answers have left: of those that may not have been seen, the latest are kept (CK-6).
    pub(super) fn trim(&mut self) {
        while self.kept > KEPT_BYTES
            && let Some((caller, sequence, bytes)) = self.ages.pop_front()
        {
            self.kept = self.kept.saturating_sub(bytes);
            if let Some(caller) = self.callers.get_mut(&caller) {
                caller.answers.remove(&sequence);
            }
        }
    }

    /// A caller is dead: nothing of it comes any more.
    pub(super) fn forget(&mut self, caller: WorkerId) {
        self.callers.remove(&caller);
    }

    /// For a state that is saved while no call runs.
    pub(super) fn saved(&self) -> SavedCalls {
        let callers = self.callers.iter().map(|(id, caller)| SavedCaller {
            caller: *id,
            through: caller.through,
            open: caller.open.range(..=caller.through).copied().collect(),
            answers: caller
                .answers
                .iter()
                .map(|(sequence, outcome)| SavedAnswer {
                    sequence: *sequence,
                    outcome: outcome.clone(),
                })
                .collect(),
        });
        SavedCalls {
            callers: callers.collect(),
        }
    }
}

/// References inside a result are held by this process, and end with it.
fn is_worth_keeping(outcome: &TaskOutcome) -> bool {
    match outcome {
        TaskOutcome::Returned { values } => values.iter().all(|value| value.references().is_empty()),
        TaskOutcome::Failed { .. } | TaskOutcome::StreamEnded { .. } => true,
        TaskOutcome::ArgumentUnreadable { .. } => false,
    }
}

fn size(outcome: &TaskOutcome) -> usize {
    let values: &[ObjectValue] = match outcome {
        TaskOutcome::Returned { values } => values,
        _ => &[],
    };
    let values = values.iter().map(|value| match value {
        ObjectValue::Inline { object } => object.len(),
        _ => OUTCOME,
    });
    OUTCOME + values.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::error::RayError;
    use crate::ids::{ActorId, ObjectId};

    fn call(sequence: u64, answered: u64) -> ActorCallSpec {
        ActorCallSpec {
            actor: ActorId::default(),
            method: 0,
            sequence,
            answered,
            order: 0,
            group: None,
        }
    }

    fn outcome(bytes: usize) -> TaskOutcome {
        let object = Bytes::from(vec![0; bytes]);
        TaskOutcome::Returned {
            values: vec![ObjectValue::Inline { object }],
        }
    }

    fn is_new(ledger: &mut Ledger, from: WorkerId, sequence: u64) -> bool {
        matches!(ledger.arrived(from, &call(sequence, 0)), Known::New)
    }

    fn after_restart(ledger: &Ledger) -> Ledger {
        let bytes = crate::wire::to_bytes(&ledger.saved());
        Ledger::restored(crate::wire::from_bytes(bytes).unwrap())
    }

    #[test]
    fn ck_5_calls_that_had_ended_are_known_after_a_restart_and_all_others_run() {
        let (mut ledger, from) = (Ledger::default(), WorkerId::random());
        for sequence in [3, 5, 8, 9] {
            assert!(is_new(&mut ledger, from, sequence));
        }
        // 5 waits in a full group while 8 passes it; 9 waits too.
        ledger.ended(from, 3, &outcome(1));
        ledger.ended(from, 8, &outcome(2));
        let mut restored = after_restart(&ledger);
        assert!(matches!(restored.arrived(from, &call(3, 3)), Known::Ended(Some(_))));
        assert!(is_new(&mut restored, from, 5));
        assert!(!is_new(&mut restored, from, 8));
        assert!(is_new(&mut restored, from, 9));
        assert!(is_new(&mut restored, WorkerId::random(), 3));
    }

    #[test]
    fn a_call_that_was_given_back_for_an_argument_runs_when_it_comes_again() {
        let (mut ledger, from) = (Ledger::default(), WorkerId::random());
        assert!(is_new(&mut ledger, from, 1) && is_new(&mut ledger, from, 2));
        let gone = TaskOutcome::ArgumentUnreadable {
            object: ObjectId::default(),
            why: String::new(),
            lost: true,
        };
        ledger.ended(from, 1, &gone);
        ledger.ended(from, 2, &outcome(1));
        assert!(is_new(&mut after_restart(&ledger), from, 1));
        assert!(is_new(&mut ledger, from, 1));
    }

    #[test]
    fn ck_6_outcomes_go_when_the_caller_has_seen_them() {
        let (mut ledger, from) = (Ledger::default(), WorkerId::random());
        assert!(is_new(&mut ledger, from, 1));
        ledger.ended(from, 1, &outcome(1));
        assert_eq!(ledger.saved().callers[0].answers.len(), 1);
        ledger.arrived(from, &call(2, 2));
        assert!(ledger.saved().callers[0].answers.is_empty());
        assert!(!is_new(&mut ledger, from, 1));
        ledger.forget(from);
        assert!(ledger.saved().callers.is_empty());
    }

    #[test]
    fn ck_6_what_is_kept_beyond_need_is_bounded_and_the_latest_stays() {
        let (mut ledger, from) = (Ledger::default(), WorkerId::random());
        for sequence in 1..=30 {
            assert!(is_new(&mut ledger, from, sequence));
            ledger.ended(from, sequence, &outcome(100_000));
        }
        assert_eq!(ledger.saved().callers[0].answers.len(), 30);
        ledger.trim();
        let kept = ledger.saved().callers.remove(0).answers;
        assert!((5..=10).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last().unwrap().sequence, 30);
        assert!(matches!(ledger.arrived(from, &call(1, 1)), Known::Ended(None)));
    }

    #[test]
    fn errors_are_outcomes_too() {
        let (mut ledger, from) = (Ledger::default(), WorkerId::random());
        assert!(is_new(&mut ledger, from, 1));
        let error = RayError::internal("a failure");
        ledger.ended(from, 1, &TaskOutcome::Failed { error, retry: false });
        let again = after_restart(&ledger).arrived(from, &call(1, 1));
        assert!(matches!(again, Known::Ended(Some(TaskOutcome::Failed { .. }))));
    }
}
