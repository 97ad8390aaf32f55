//! Jobs at the edge: drivers that come, what the workers of each job are started with, and when that is let go.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::handle::{Arrival, Beginning};
use super::inputs::Input;
use super::processes::Process;
use super::ways::Shipped;
use super::{JobOutput, Raylet};
use crate::ids::{JobId, WorkerId};
use crate::process::{Executable, watch_handle};
use crate::raylet::state::Effects;
use crate::session::logs::LogFollower;
use crate::wire::{Frame, GuestJob};

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
    /// The program's hash and length, once other nodes have asked.
    hash: Arc<OnceLock<(blake3::Hash, u64)>>,
    /// Follows the log files of its workers, if they are shown.
    output: Option<JobOutput>,
    /// No actor of it will be started any more.
    over: bool,
}

impl Job {
    /// What other nodes need to start workers of it.
    pub(super) fn shipped(&self) -> Shipped {
        Shipped {
            executable: self.executable.clone(),
            hash: self.hash.clone(),
            job: GuestJob {
                namespace: self.namespace.clone(),
                driver: self.driver,
                items: self.items,
                program: Bytes::new(),
                size: 0,
            },
        }
    }

    /// A job whose driver is on another node.
    pub(super) fn of_guests(guest: GuestJob, executable: Executable) -> Self {
        Self {
            driver: guest.driver,
            namespace: guest.namespace,
            executable,
            items: guest.items,
            hash: Arc::default(),
            output: None,
            over: false,
        }
    }

    /// What follows the log files of its workers, if they are shown.
    pub(super) fn follower(&self) -> Option<&LogFollower> {
        self.output.as_ref().map(JobOutput::follower)
    }
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

    pub(super) fn add(&mut self, id: JobId, job: Job) {
        self.jobs.insert(id, job);
    }

    /// Takes the outputs of all.
    pub(super) fn take_outputs(&mut self) -> Vec<JobOutput> {
        let jobs = self.jobs.values_mut();
        jobs.filter_map(|job| job.output.take()).collect()
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
        match &arrival.begins {
            Some(begins) => {
                let namespace = begins.setup.namespace.clone();
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
            begins:
                Some(Beginning {
                    setup,
                    executable,
                    output,
                }),
            process,
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
            hash: Arc::default(),
            output,
            over: false,
        };
        self.jobs.jobs.insert(id, job);
        self.driver_joins(id, &hello, (sender, process), out);
    }

    /// A driver's connection has ended. Its process may live on: what it looks at in the store stays where it is until that
    /// ends too. What its workers print is shown no more, since nobody is there to see it; if the session ends with it, its
    /// last lines are shown first.
    pub(super) fn driver_left(&mut self, driver: WorkerId, process: Process) {
        if let Some(handle) = process.handle {
            self.left.insert(driver, handle);
            let job = self.jobs.jobs.get_mut(&process.job);
            if let Some(output) = job.and_then(|job| job.output.take()) {
                self.show_rest(output);
            }
        }
        self.let_go(process.job);
    }

    /// A process has ended, or left: what it owned in the store is free, and what it looked at once it cannot any more.
    pub(super) fn forget_in_store(&mut self, worker: WorkerId) {
        self.store.free_owned_by(worker.prefix());
        let inputs = self.inputs.clone();
        match self.left.remove(&worker).map(watch_handle) {
            None => self.store.client_died(ray_objstore::ClientId(*worker.as_bytes())),
            Some(Ok(end)) => drop(tokio::spawn(async move {
                end.await;
                // A raylet that has ended has no store.
                let _ended = inputs.send(Input::Vanished { worker }).await;
            })),
            // Unwatched, its pins stay as long as the node.
            Some(Err(error)) => {
                tracing::warn!(target: "ray_core::raylet", %error, %worker, "a driver's process cannot be watched")
            }
        }
    }

    /// The GCS says that nothing of a job will be started any more.
    pub(super) fn job_over(&mut self, id: JobId, out: &mut Effects) {
        self.forget_fetch(id);
        self.state.job_over(id, out);
        if let Some(job) = self.jobs.jobs.get_mut(&id) {
            job.over = true;
        }
        self.let_go(id);
    }

    /// Lets go of a job that is over once its last process is gone, whose last lines are still to be shown.
    pub(super) fn let_go(&mut self, id: JobId) {
        let over = self.jobs.get(id).is_some_and(|job| job.over);
        if !over || self.processes.are_of(id) {
            return;
        }
        if let Some(output) = self.jobs.jobs.remove(&id).and_then(|job| job.output) {
            self.show_rest(output);
        }
    }

    /// Shows what is left of a job's output beside the loop, as it may take its time.
    pub(super) fn show_rest(&mut self, output: JobOutput) {
        while self.showing.try_join_next().is_some() {}
        self.showing.spawn(output.end());
    }
}
