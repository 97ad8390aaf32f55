//! Actors: order, overlap, failures, handles, names, limits.

mod calls;
mod failures;
mod handles;
mod names;
mod overlap;
mod placement;

use ray_core::remote;

use crate::support::{Gate, Tally};

/// The actor of most tests.
pub(crate) struct Counter {
    count: i64,
}

#[remote]
impl Counter {
    pub(crate) fn new(start: i64) -> Self {
        Self { count: start }
    }

    pub(crate) fn add(&mut self, amount: i64) -> i64 {
        self.count += amount;
        self.count
    }

    /// Counts on disk too, which outlives the actor, and then waits.
    pub(crate) fn add_noted(&mut self, runs: Tally, go_on: Option<Gate>) -> i64 {
        runs.add();
        if let Some(gate) = go_on {
            gate.wait();
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn count(&self) -> i64 {
        self.count
    }

    pub(crate) fn pid(&self) -> u32 {
        std::process::id()
    }

    pub(crate) fn fail(&mut self, text: String) -> Result<i64, std::io::Error> {
        Err(std::io::Error::other(text))
    }
}

/// Whether a process has ended, or is a zombie that its parent has not waited for.
fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}
