//! From references to values: `get` and `wait`, blocking or not.

mod foreign;
mod lend;
mod read;
mod target;
mod wait;

use std::sync::Arc;

pub(crate) use read::{Found, Unreadable};
pub(crate) use target::Target;

use crate::worker::Worker;

impl Worker {
    /// Whether each of the objects is ready.
    pub(crate) fn are_all_ready(&self, targets: &[Target]) -> bool {
        self.read(|state| targets.iter().all(|target| target.is_ready(state)))
    }

    /// Which of the objects are ready, in the order given.
    pub(crate) fn are_ready(&self, targets: &[Target]) -> Vec<bool> {
        self.read(|state| targets.iter().map(|target| target.is_ready(state)).collect())
    }

    /// Whether the object is ready. One that the store has lost is made again from here on.
    pub(crate) fn has_value_or_error(self: &Arc<Self>, target: &Target) -> bool {
        match target {
            Target::Known(object, _) => self.ready_value(*object).is_some(),
            Target::Local(_) => self.are_all_ready(std::slice::from_ref(target)),
        }
    }

    /// Whether the object will never have a value.
    pub(crate) fn has_failed(&self, target: &Target) -> bool {
        self.read(|state| target.outcome(state) == Some(true))
    }
}
