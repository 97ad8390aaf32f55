//! Grants that become leases and actors: each waits until a worker is there that sees its GPUs (RL-2), and workers that are
//! missing are started.
//!
//! *Absent:* what a lease or an actor is from then on (`leases`, `actors`).

use std::collections::VecDeque;
use std::time::Duration;

use super::requests::{Asked, For};
use super::{Effects, State};
use crate::error::RayError;
use crate::ids::{JobId, WorkerId};
use crate::raylet::workers::Role;
use crate::scheduling::Allocation;
use crate::scheduling::queue::Grant;
use crate::wire::DeathCause;

/// Resources are taken; the worker is not up yet.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) asked: For,
    pub(super) job: JobId,
    pub(super) allocation: Allocation,
    pub(super) gpus: Vec<u32>,
}

impl State {
    /// Grants what can be granted, and asks for turns where requests still wait.
    pub(super) fn schedule(&mut self, now: Duration, out: &mut Effects) {
        while self.grant(now, out) {}
        self.match_workers(now, out);
        // What waits for its placement group is not helped by turns.
        let waits = self.queue.waiting().any(|(_, _, infeasible)| infeasible.is_none());
        self.note_waiting(waits, now, out);
        self.note_resources(out);
    }

    /// Grants what can be granted. Returns whether that made bundles, in which more may be granted.
    fn grant(&mut self, now: Duration, out: &mut Effects) -> bool {
        let mut bundles_made = false;
        for Grant { request, allocation } in self.queue.grantable(&mut self.resources, now) {
            let Some(allocation) = self.grant_to_group(&request, allocation, out) else {
                bundles_made = true;
                continue;
            };
            let gpus: Vec<u32> = allocation.gpus().iter().map(|(index, _)| *index).collect();
            let asked = self.who_asked(&request);
            let Some((job, asked)) = asked.and_then(|asked| Some((self.job_for(&asked)?, asked))) else {
                self.resources.release(allocation);
                continue;
            };
            self.granted.push_back(Granted {
                asked,
                job,
                allocation,
                gpus,
            });
        }
        bundles_made
    }

    /// The job of who asked; none if that process is gone.
    fn job_for(&self, asked: &For) -> Option<JobId> {
        match asked {
            For::Owner(asked) => self.job_of(asked.requester),
            For::Actor { spec, .. } => Some(spec.job),
        }
    }

    /// RL-2: gives each grant a worker, and starts as many as are missing.
    fn match_workers(&mut self, now: Duration, out: &mut Effects) {
        let mut unmatched = VecDeque::new();
        while let Some(granted) = self.granted.pop_front() {
            match self.worker_for(&granted) {
                Some(worker) => self.hand_out(granted, worker, now, out),
                None => unmatched.push_back(granted),
            }
        }
        let mut starting: Vec<(JobId, Vec<u32>)> = self
            .workers
            .iter()
            .filter(|(_, process)| process.role == Role::Starting && process.ended_for.is_none())
            .map(|(_, process)| (process.job, process.gpus.clone()))
            .collect();
        for granted in &unmatched {
            let serves = |(job, gpus): &(JobId, Vec<u32>)| *job == granted.job && *gpus == granted.gpus;
            match starting.iter().position(serves) {
                Some(place) => drop(starting.swap_remove(place)),
                None => self.spawn(granted.job, granted.gpus.clone(), out),
            }
        }
        self.granted = unmatched;
    }

    /// Takes an idle worker that fits, or the host of shared work.
    fn worker_for(&mut self, granted: &Granted) -> Option<WorkerId> {
        match &granted.asked {
            For::Owner(Asked { requester, shape, .. }) if shape.shared => {
                Some(self.host(granted.job).unwrap_or(*requester))
            }
            For::Owner(_) => self.workers.take_idle(granted.job, &granted.gpus, false),
            For::Actor { .. } => self.workers.take_idle(granted.job, &granted.gpus, true),
        }
    }

    fn hand_out(&mut self, granted: Granted, worker: WorkerId, now: Duration, out: &mut Effects) {
        let Granted {
            asked,
            allocation,
            gpus,
            ..
        } = granted;
        match asked {
            For::Owner(asked) => self.lease(asked, allocation, gpus, worker, now, out),
            For::Actor { spec, restarts } => self.place_actor(spec, restarts, allocation, worker, now, out),
        }
    }

    /// Takes back grants that wait for a worker, with their resources. Returns who asked.
    pub(super) fn take_back(&mut self, which: impl Fn(&Granted) -> bool) -> Vec<For> {
        let (back, going_on) = std::mem::take(&mut self.granted)
            .into_iter()
            .partition::<VecDeque<_>, _>(which);
        self.granted = going_on;
        let release = |granted: Granted| {
            self.resources.release(granted.allocation);
            granted.asked
        };
        back.into_iter().map(release).collect()
    }

    /// No process could be started for the grant that has waited longest: trying for ever would not help.
    pub(super) fn grant_failed(&mut self, job: JobId, gpus: &[u32], cause: &DeathCause, out: &mut Effects) {
        let waits = |granted: &Granted| granted.job == job && granted.gpus == gpus;
        let Some(place) = self.granted.iter().position(waits) else {
            return;
        };
        let Some(granted) = self.granted.remove(place) else {
            return;
        };
        self.resources.release(granted.allocation);
        granted
            .asked
            .refuse(RayError::RuntimeEnv { why: cause.to_string() }, out);
    }
}
