//! Processes that join: each is told its job, its settings, and where the store is, or why it cannot join.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::handle::Arrival;
use super::processes::Process;
use super::{Error, Raylet};
use crate::ids::{JobId, WorkerId};
use crate::raylet::state::Effects;
use crate::wire::{DeathCause, Frame, Hello, Sender, Welcome};

/// The job of who has none.
const NO_JOB: JobId = JobId::new(0);

impl Raylet {
    pub(super) fn driver_joins(
        &mut self,
        job: JobId,
        hello: &Hello,
        (sender, handle): (Sender, Option<OwnedFd>),
        out: &mut Effects,
    ) {
        match self.welcome_with_store(job, hello.worker, hello) {
            Ok((welcome, store)) => {
                sender.send_with(Frame::Welcome { welcome }, vec![store]);
                let process = Process {
                    job,
                    sender: Some(sender),
                    pid: Some(hello.pid),
                    handle,
                    ..Process::default()
                };
                self.processes.add(hello.worker, process);
                self.state.driver_joined(hello.worker, job, hello.pid, out);
            }
            // It leaves by its connection.
            Err(error) => {
                sender.send(Frame::Refused { why: error.to_string() });
                self.gcs.send(Frame::JobEnded { job });
            }
        }
    }

    /// Somebody wants to know how the node stands. Objects are no business of such a one: it gets no store.
    pub(super) fn observer_joins(&mut self, arrival: &Arrival) {
        let Arrival { hello, sender, .. } = arrival;
        match self.welcome(NO_JOB, hello.worker, hello) {
            Ok(welcome) => {
                sender.send(Frame::Welcome { welcome });
                let process = Process {
                    sender: Some(sender.clone()),
                    ..Process::default()
                };
                self.processes.add(hello.worker, process);
                self.state.observer_joined(hello.worker, hello.pid);
            }
            Err(error) => sender.send(Frame::Refused { why: error.to_string() }),
        }
    }

    pub(super) fn worker_joins(
        &mut self,
        worker: WorkerId,
        hello: &Hello,
        sender: Sender,
        now: Duration,
        out: &mut Effects,
    ) {
        let job = self.processes.job(worker);
        match self.welcome_with_store(job, worker, hello) {
            Ok((welcome, store)) => {
                sender.send_with(Frame::Welcome { welcome }, vec![store]);
                if let Some(process) = self.processes.get_mut(worker) {
                    process.sender = Some(sender);
                }
                self.state.worker_joined(worker, now, out);
            }
            Err(error) => {
                let why = error.to_string();
                sender.send(Frame::Refused { why: why.clone() });
                self.state.kill(worker, DeathCause::NotStarted { why }, out);
            }
        }
    }

    fn welcome_with_store(
        &self,
        job: JobId,
        worker: WorkerId,
        hello: &Hello,
    ) -> Result<(Box<Welcome>, OwnedFd), Error> {
        let welcome = self.welcome(job, worker, hello)?;
        let client = ray_objstore::ClientId(*hello.worker.as_bytes());
        let store = self.store.connect(job.number(), client, hello.pid)?;
        Ok((welcome, store))
    }

    fn welcome(&self, id: JobId, worker: WorkerId, hello: &Hello) -> Result<Box<Welcome>, Error> {
        let job = self.jobs.get(id);
        let items = job.map_or(hello.items, |job| job.items);
        let ours = Hello::of_this_process(WorkerId::default(), items);
        hello.check(&ours).map_err(Error::Refused)?;
        Ok(Box::new(Welcome {
            worker,
            node: self.options.node,
            job: id,
            driver: job.map_or(hello.worker, |job| job.driver),
            namespace: job.map(|job| job.namespace.clone()).unwrap_or_default(),
            session_dir: self.options.session.path().to_string_lossy().into_owned(),
            config: self.options.cluster.to_text(),
        }))
    }
}
