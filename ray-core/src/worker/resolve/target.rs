//! What is waited for, and how far it is.

use std::sync::Arc;

use crate::ids::{ObjectId, WorkerId};
use crate::worker::local::LocalTask;
use crate::worker::objects::Slot;
use crate::worker::state::State;

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// An object that the state knows, and its owner.
    Known(ObjectId, WorkerId),
    /// The result of a local task.
    Local(Arc<LocalTask>),
}

impl Target {
    pub(crate) fn object(&self) -> ObjectId {
        match self {
            Self::Known(object, _) => *object,
            Self::Local(task) => task.object(),
        }
    }

    /// As the state knows it, and its owner. A local task that was handed in is this process's.
    pub(super) fn known_as(&self, state: &State) -> (ObjectId, WorkerId) {
        match self {
            Self::Known(object, owner) => (*object, *owner),
            Self::Local(task) => (task.object(), state.me),
        }
    }

    /// Whether it is ready, and whether it has failed. `None`: it is pending.
    pub(super) fn outcome(&self, state: &State) -> Option<bool> {
        match self {
            Self::Local(task) if !task.is_handed_in() => task.is_settled().then(|| task.has_failed()),
            _ => match state.objects.slot(&self.object()) {
                Some(Slot::Pending) => None,
                slot => Some(matches!(slot, Some(Slot::Failed(_)))),
            },
        }
    }

    pub(super) fn is_ready(&self, state: &State) -> bool {
        self.outcome(state).is_some()
    }
}

/// What is known of a list of objects.
pub(super) enum Known {
    /// All have values.
    Values,
    /// All have values up to one that failed.
    Failure,
    /// All have values up to this place.
    Until(usize),
}

/// Goes on from `place`, which then is the first object without a value.
pub(super) fn known_values(state: &State, targets: &[Target], place: &mut usize) -> Known {
    while let Some(target) = targets.get(*place) {
        match target.outcome(state) {
            Some(true) => return Known::Failure,
            None => return Known::Until(*place),
            Some(false) => *place += 1,
        }
    }
    Known::Values
}

/// Those whose outcome decides: the pending ones before the first that has failed, after which nobody asks for the rest.
pub(super) fn pending_values<'a>(state: &State, targets: &'a [Target]) -> Vec<&'a Target> {
    let mut pending = Vec::new();
    for target in targets {
        // It is asked once: the outcome of a local task changes without the state's lock.
        match target.outcome(state) {
            None => pending.push(target),
            Some(true) => break,
            Some(false) => {}
        }
    }
    pending
}
