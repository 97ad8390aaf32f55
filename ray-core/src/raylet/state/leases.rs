//! Leases: a worker that serves an owner for a while, and what that takes of the node (RL-1).
//!
//! *Absent:* the tasks, which the owner pushes straight to the worker.

use std::time::Duration;

use super::requests::Asked;
use super::{Effect, Effects, State};
use crate::ids::{TaskId, WorkerId};
use crate::raylet::workers::Role;
use crate::scheduling::Allocation;
use crate::wire::{DeathCause, Frame, LeaseShape};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) allocation: Allocation,
    pub(super) requester: WorkerId,
    pub(super) worker: WorkerId,
}

impl State {
    /// A worker serves an owner from now on.
    pub(super) fn lease(
        &mut self,
        asked: Asked,
        allocation: Allocation,
        gpus: Vec<u32>,
        worker: WorkerId,
        now: Duration,
        out: &mut Effects,
    ) {
        let Asked {
            requester,
            request,
            shape: LeaseShape { name, shared, .. },
        } = asked;
        let pid = self.workers.get(&worker).map_or(0, |process| process.pid);
        if self.workers.get(&requester).is_none() {
            self.resources.release(allocation);
            if !shared {
                self.workers.set_idle(worker, now);
            }
            return;
        }
        let lease = self.number();
        if !shared {
            self.serves(worker, Role::Leased(lease), name, now, out);
        }
        if worker != requester {
            self.link(requester, worker, out);
        }
        self.leases.insert(
            lease,
            Lease {
                allocation,
                requester,
                worker,
            },
        );
        let frame = Frame::LeaseGranted {
            request,
            lease,
            worker,
            pid,
            gpus,
            crowded: self.is_crowded_for(requester, now),
        };
        out.push(Effect::Send { to: requester, frame });
    }

    pub(super) fn lease_returned(&mut self, lease: u64, reusable: bool, now: Duration, out: &mut Effects) {
        let Some(lease) = self.leases.remove(&lease) else {
            return;
        };
        self.resources.release(lease.allocation);
        // One that is being killed serves nobody any more.
        let leased = self
            .workers
            .get(&lease.worker)
            .is_some_and(|process| matches!(process.role, Role::Leased(_)) && process.ended_for.is_none());
        if leased {
            if reusable {
                self.workers.set_idle(lease.worker, now);
            } else {
                self.retire(lease.worker, out);
            }
        }
        self.schedule(now, out);
    }

    /// A worker waits, and lends its CPU, or goes on: for a lease, or, with the number 0, for all that it serves.
    pub(super) fn blocked(&mut self, worker: WorkerId, number: u64, blocked: bool, now: Duration, out: &mut Effects) {
        let served = self.leases.iter_mut().filter(|(_, lease)| lease.worker == worker);
        for (_, lease) in served.filter(|(id, _)| number == 0 || **id == number) {
            if blocked {
                self.resources.release_cpu(&mut lease.allocation);
            } else {
                self.resources.reacquire_cpu_oversubscribed(&mut lease.allocation);
            }
        }
        if let Some(Role::Actor(actor)) = self.workers.get(&worker).map(|process| process.role.clone())
            && let Some(allocation) = self.actors.get_mut(&actor).and_then(|place| place.allocation.as_mut())
        {
            if blocked {
                self.resources.release_cpu(allocation);
            } else {
                self.resources.reacquire_cpu_oversubscribed(allocation);
            }
        }
        if blocked {
            self.schedule(now, out);
        }
    }

    /// An owner ends a task by force, and with it the worker that serves it.
    pub(super) fn kill_leased(&mut self, from: WorkerId, worker: WorkerId, task: TaskId, out: &mut Effects) {
        let serves = self
            .leases
            .values()
            .any(|lease| lease.worker == worker && lease.requester == from);
        if serves {
            let why = format!("its owner ended task {task} by force");
            self.kill(worker, DeathCause::Killed { why }, out);
        }
    }

    /// RL-1: a worker or an owner is dead.
    pub(super) fn end_leases_with(&mut self, worker: WorkerId, out: &mut Effects) {
        let ended: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.worker == worker || lease.requester == worker)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(lease) = self.leases.remove(&id) else { continue };
            self.resources.release(lease.allocation);
            if lease.requester == worker && lease.worker != worker {
                // It may still run a task that nobody waits for.
                let why = "the owner of its task has ended".into();
                self.kill(lease.worker, DeathCause::Killed { why }, out);
            }
        }
    }
}
