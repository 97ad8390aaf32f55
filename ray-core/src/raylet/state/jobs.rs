//! The jobs that have processes on this node. A driver that comes begins a job: the GCS gives it its number.
//!
//! - RJ-1: a worker serves one job for life: it runs that job's executable, and sees that job's objects only.
//! - RJ-2: when the driver is gone, all workers of its job end but those that are actors: which of these end too, the GCS
//!   says.

use std::collections::HashMap;

use super::{Effect, Effects, State};
use crate::ids::{JobId, WorkerId};
use crate::raylet::workers::Role;
use crate::wire::{DeathCause, Frame};

/// The jobs whose drivers are on this node.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    drivers: HashMap<JobId, WorkerId>,
}

impl State {
    /// A driver is welcome; its job has this number.
    pub(in crate::raylet) fn driver_joined(&mut self, worker: WorkerId, job: JobId, pid: u32, out: &mut Effects) {
        self.workers.add(worker, job, pid, Role::Driver, Vec::new());
        self.jobs.drivers.insert(job, worker);
        self.prestart(job, out);
    }

    /// Somebody wants to know how the node stands.
    pub(in crate::raylet) fn observer_joined(&mut self, worker: WorkerId, pid: u32) {
        self.workers.add(worker, JobId::new(0), pid, Role::Observer, Vec::new());
    }

    /// The host of a job's shared work: on the driver's node it is the driver, and there is one as long as its job is.
    pub(super) fn host(&self, job: JobId) -> Option<WorkerId> {
        self.jobs.drivers.get(&job).copied()
    }

    /// The job of a process of this node.
    pub(super) fn job_of(&self, worker: WorkerId) -> Option<JobId> {
        self.workers.get(&worker).map(|process| process.job)
    }

    /// RJ-2.
    pub(super) fn driver_ended(&mut self, job: JobId, out: &mut Effects) {
        self.jobs.drivers.remove(&job);
        self.take_back(|granted| granted.job == job && !granted.asked.is_for_an_actor());
        let left = |role: &Role| !matches!(role, Role::Actor(_) | Role::Driver);
        let workers: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, process)| process.job == job && left(&process.role))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in workers {
            let why = "its job has ended".into();
            self.kill(worker, DeathCause::Killed { why }, out);
        }
        out.push(Effect::ToGcs(Frame::JobEnded { job }));
    }
}
