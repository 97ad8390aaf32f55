//! Processes that join: each is told its job, its settings, and where the store is, or why it cannot join.
//!
//! *Absent:* a process of another job than the driver's.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::processes::Process;
use super::{Error, Raylet};
use crate::ids::WorkerId;
use crate::raylet::state::Effects;
use crate::wire::{DeathCause, Frame, Hello, Sender, Welcome};

impl Raylet {
    pub(super) fn driver_joins(&mut self, hello: &Hello, sender: Sender, out: &mut Effects) {
        match self.welcome(hello.worker, hello) {
            Ok((welcome, store)) => {
                sender.send_with(Frame::Welcome { welcome }, vec![store]);
                self.state.driver_joined(hello.worker, hello.pid);
                let process = Process {
                    sender: Some(sender),
                    pid: Some(hello.pid),
                    ..Process::default()
                };
                *self.processes.of(hello.worker) = process;
                self.state.prestart(out);
            }
            // It leaves by its connection.
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
        match self.welcome(worker, hello) {
            Ok((welcome, store)) => {
                sender.send_with(Frame::Welcome { welcome }, vec![store]);
                self.processes.of(worker).sender = Some(sender);
                self.state.worker_joined(worker, now, out);
            }
            Err(error) => {
                let why = error.to_string();
                sender.send(Frame::Refused { why: why.clone() });
                self.state.kill(worker, DeathCause::NotStarted { why }, out);
            }
        }
    }

    fn welcome(&self, worker: WorkerId, hello: &Hello) -> Result<(Box<Welcome>, OwnedFd), Error> {
        let job = &self.options.job;
        let ours = Hello::of_this_process(WorkerId::default(), job.items);
        hello.check(&ours).map_err(Error::Refused)?;
        let client = ray_objstore::ClientId(*hello.worker.as_bytes());
        let store = self.store.connect(job.id.number(), client, hello.pid)?;
        let welcome = Welcome {
            worker,
            node: self.options.node,
            job: job.id,
            driver: job.driver,
            namespace: job.namespace.clone(),
            session_dir: self.options.session.path().to_string_lossy().into_owned(),
            config: self.options.cluster.to_text(),
        };
        Ok((Box::new(welcome), store))
    }
}
