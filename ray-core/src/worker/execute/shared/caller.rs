//! A caller that runs what it is about to wait for itself, under its own permit if it has one.

use std::cell::Cell;
use std::sync::Arc;

use super::run;
use crate::ids::TaskId;
use crate::process::stack;
use crate::worker::Worker;
use crate::worker::context::{self, Hosting};
use crate::worker::execute::inline::{MAX_DEPTH, MIN_STACK};
use crate::worker::state::Permit;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The permit that this thread has and does not need while it waits.
pub(in crate::worker::execute) fn loan() -> Option<Permit> {
    match context::hosting() {
        Some(Hosting::Shared(permit)) => Some(permit),
        Some(Hosting::Process) | None => None,
    }
}

/// A caller that runs what it waits for, for as long as this lives.
pub(in crate::worker::execute) struct Deeper(u32);

impl Deeper {
    /// `None`: it is too deep already, or the stack is nearly used up.
    pub(in crate::worker::execute) fn step() -> Option<Self> {
        let depth = DEPTH.get();
        let room = depth < MAX_DEPTH && stack::left().is_some_and(|left| left >= MIN_STACK);
        room.then(|| {
            DEPTH.set(depth + 1);
            Self(depth)
        })
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// Runs the task that this thread is about to wait for, if it stands in line and there is stack left. Returns whether it
/// did, or whether something that the task waits for was run.
pub(crate) fn run_for_caller(worker: &Arc<Worker>, task: TaskId) -> bool {
    let Some(_deeper) = Deeper::step() else { return false };
    let loan = loan();
    let Some(started) = worker.with(|state, now, out| state.shared_take_for(task, loan, now, out)) else {
        return false;
    };
    let done = run(worker, started);
    if let Some(done) = done {
        worker.with(|state, now, out| state.shared_done(done, now, out));
    }
    true
}
