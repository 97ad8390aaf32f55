//! Who holds which memory of the node, and who goes when it is short.

use std::time::Duration;

use super::super::census::Purpose;
use super::super::memory::Suspect;
use super::super::workers::{Process, Role};
use super::{Effect, Effects, State};
use crate::host::MemoryUsage;
use crate::ids::WorkerId;
use crate::wire::{DeathCause, Frame};

/// A process that does not tell what it holds within this time is left out of the `memory` report.
const REPORT_WITHIN: Duration = Duration::from_secs(5);
/// When memory is short, less time is given.
const SHORTAGE_WITHIN: Duration = Duration::from_millis(250);

impl State {
    /// Asks the processes of some roles what they hold.
    pub(super) fn ask(&mut self, purpose: Purpose, whom: impl Fn(&Role) -> bool, now: Duration, out: &mut Effects) {
        let (objects, time) = match purpose {
            Purpose::Report { .. } => (true, REPORT_WITHIN),
            Purpose::Shortage(_) => (false, SHORTAGE_WITHIN),
        };
        let of: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, process)| whom(&process.role))
            .map(|(worker, _)| *worker)
            .collect();
        let census = self.censuses.begin(purpose, &of, now + time);
        out.extend(of.into_iter().map(|to| Effect::Send {
            to,
            frame: Frame::TellHoldings { census, objects },
        }));
        self.end_censuses(now, out);
    }

    pub(super) fn end_censuses(&mut self, now: Duration, out: &mut Effects) {
        for census in self.censuses.ended(now) {
            let answers = census.answers;
            out.push(match census.purpose {
                Purpose::Report { to, request } => Effect::Report { to, request, answers },
                Purpose::Shortage(usage) => Effect::Judge { usage, answers },
            });
        }
    }

    /// Whether workers have work: then the memory is watched.
    pub(in super::super) fn has_work(&self) -> bool {
        self.workers
            .iter()
            .any(|(_, process)| matches!(process.role, Role::Leased(_) | Role::Actor(_)))
    }

    /// Memory is short: asks who could go. One at a time: a process that was killed takes a while to give its memory back.
    pub(in super::super) fn memory_short(&mut self, usage: MemoryUsage, now: Duration, out: &mut Effects) {
        if self.victim.is_none() && !self.censuses.has_shortage() {
            let busy = |role: &Role| matches!(role, Role::Leased(_) | Role::Actor(_));
            self.ask(Purpose::Shortage(usage), busy, now, out);
        }
    }

    /// The workers that may be killed for memory.
    pub(in super::super) fn suspects(&self) -> Vec<Suspect> {
        let suspect = |(worker, process): (&WorkerId, &Process)| {
            let restartable = match process.role {
                Role::Leased(_) => None,
                Role::Actor(actor) => Some(self.actors.get(&actor).is_some_and(|place| place.restartable)),
                _ => return None,
            };
            Some(Suspect {
                worker: *worker,
                pid: process.pid,
                serves: process.serves.clone(),
                since: process.since,
                restartable,
            })
        };
        self.workers.iter().filter_map(suspect).collect()
    }

    /// Kills a worker so that others live.
    pub(in super::super) fn kill_for_memory(&mut self, worker: WorkerId, report: String, out: &mut Effects) {
        tracing::warn!(target: "ray_core::raylet", %worker, %report, "a worker is killed because memory is short");
        self.victim = Some(worker);
        self.kill(worker, DeathCause::OutOfMemory { report }, out);
    }
}
