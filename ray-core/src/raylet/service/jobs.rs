//! Jobs at the edge: drivers that come, what the workers of each job are started with, and when that is let go.

use std::collections::HashMap;

use super::Raylet;
use super::handle::Arrival;
use crate::ids::{JobId, WorkerId};
use crate::process::Executable;
use crate::raylet::state::Effects;
use crate::session::logs::LogFollower;
use crate::wire::Frame;

/// A job, for which the node starts workers.
#[derive(Debug)]
pub(super) struct Job {
    /// The process that runs its `main`.
    pub(super) driver: WorkerId,
    pub(super) namespace: String,
    /// The program that its workers run.
    pub(super) executable: Executable,
    /// The hash of its table of remote items: its workers must have the same.
    pub(super) items: u64,
    /// Follows the log files of its workers, if they are shown.
    pub(super) follower: Option<LogFollower>,
    /// No actor of it will be started any more.
    over: bool,
}

/// All jobs that the node has something of.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: HashMap<JobId, Job>,
    /// Drivers whose jobs have no number yet.
    arriving: HashMap<WorkerId, Arrival>,
}

impl Jobs {
    pub(super) fn get(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(&job)
    }

    /// A driver has left that was not welcomed yet. Returns whether it was one.
    pub(super) fn left_early(&mut self, driver: WorkerId) -> bool {
        self.arriving.remove(&driver).is_some()
    }
}

impl Raylet {
    /// A driver has come: the GCS gives its job a number, and then it is welcome. Who only asks has no job.
    pub(super) fn arrives(&mut self, arrival: Arrival) {
        if let Err(why) = arrival.check() {
            // It leaves by its connection.
            return arrival.sender.send(Frame::Refused { why });
        }
        let driver = arrival.hello.worker;
        match &arrival.job {
            Some(setup) => {
                let namespace = setup.namespace.clone();
                self.jobs.arriving.insert(driver, arrival);
                self.gcs.send(Frame::AddJob { driver, namespace });
            }
            None => self.observer_joins(&arrival),
        }
    }

    /// The GCS has given a job its number.
    pub(super) fn job_added(&mut self, driver: WorkerId, id: JobId, out: &mut Effects) {
        let Some(Arrival {
            hello,
            sender,
            job: Some(setup),
            executable,
            follower,
        }) = self.jobs.arriving.remove(&driver)
        else {
            // It has left meanwhile.
            return self.gcs.send(Frame::JobEnded { job: id });
        };
        let job = Job {
            driver,
            namespace: setup.namespace,
            executable,
            items: hello.items,
            follower,
            over: false,
        };
        self.jobs.jobs.insert(id, job);
        self.driver_joins(id, &hello, sender, out);
    }

    /// The GCS says that nothing of a job will be started any more.
    pub(super) fn job_over(&mut self, id: JobId) {
        if let Some(job) = self.jobs.jobs.get_mut(&id) {
            job.over = true;
        }
        self.let_go(id);
    }

    /// Lets go of a job that is over once its last process is gone, whose last lines are still to be shown.
    pub(super) fn let_go(&mut self, id: JobId) {
        let over = self.jobs.get(id).is_some_and(|job| job.over);
        if over
            && !self.processes.are_of(id)
            && let Some(job) = self.jobs.jobs.remove(&id)
        {
            // The follower shows what is left, which may take its time.
            tokio::task::spawn_blocking(move || drop(job));
        }
    }
}
