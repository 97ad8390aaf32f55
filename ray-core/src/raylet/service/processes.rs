//! The processes of the node as the raylet reaches them: by their connections, and by what it spawned.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::output::Shown;
use crate::ids::{IdHasher, JobId, WorkerId};
use crate::process::Spawned;
use crate::wire::{Frame, Sender};

/// A process that the raylet knows.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) job: JobId,
    pub(super) sender: Option<Sender>,
    /// Its process, if it is a driver.
    pub(super) pid: Option<u32>,
    /// A handle of that process, if it may live on without the raylet.
    pub(super) handle: Option<OwnedFd>,
    pub(super) spawned: Option<Arc<Spawned>>,
    pub(super) shown: Shown,
}

impl Process {
    fn pid(&self) -> Option<u32> {
        self.pid.or_else(|| Some(self.spawned.as_ref()?.pid()))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<WorkerId, Process, IdHasher>);

impl Processes {
    pub(super) fn add(&mut self, worker: WorkerId, process: Process) {
        self.0.insert(worker, process);
    }

    /// The job of a process; 0 if it has none.
    pub(super) fn job(&self, worker: WorkerId) -> JobId {
        self.0.get(&worker).map(|process| process.job).unwrap_or_default()
    }

    /// Whether a job has processes here.
    pub(super) fn are_of(&self, job: JobId) -> bool {
        self.0.values().any(|process| process.job == job)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.0.get_mut(&worker)
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Process> {
        self.0.remove(&worker)
    }

    /// The connection to a process that has joined.
    pub(super) fn sender(&self, to: WorkerId) -> Option<&Sender> {
        self.0.get(&to)?.sender.as_ref()
    }

    pub(super) fn send(&self, to: WorkerId, frame: Frame) {
        if let Some(sender) = self.sender(to) {
            sender.send(frame);
        }
    }

    pub(super) fn kill(&self, worker: WorkerId) {
        if let Some(spawned) = self.0.get(&worker).and_then(|process| process.spawned.as_ref()) {
            spawned.kill();
        }
    }

    /// Connects two processes, and tells each.
    pub(super) fn link(&self, a: WorkerId, b: WorkerId) {
        let (for_a, for_b) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors: each side's requests stay in its line, and the message says why.
                tracing::error!(target: "ray_core::raylet", %error, %a, %b, "two workers cannot be linked");
                return;
            }
        };
        for (to, peer, socket) in [(a, b, for_a), (b, a, for_b)] {
            // One that has just ended: its death follows.
            let known = self.0.get(&peer);
            let Some((pid, job)) = known.and_then(|process| Some((process.pid()?, process.job))) else {
                return;
            };
            if let Some(sender) = self.sender(to) {
                let frame = Frame::PeerLink { worker: peer, job, pid };
                sender.send_with(frame, vec![socket.into()]);
            }
        }
    }

    /// The processes whose memory is the session's: those that it started, and its driver if that ends with it. Those that
    /// only use the node are their users' own affair.
    pub(super) fn own(&self) -> Vec<u32> {
        let own = self.0.values().filter(|process| process.handle.is_none());
        own.filter_map(Process::pid).collect()
    }

    /// Forgets all, and returns those that were spawned.
    pub(super) fn take_spawned(&mut self) -> Vec<Arc<Spawned>> {
        self.0.drain().filter_map(|(_, process)| process.spawned).collect()
    }
}
