//! The processes of the node as the raylet reaches them: by their connections, and by what it spawned.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::guests::relayed;
use super::output::Shown;
use crate::ids::{IdHasher, JobId, NodeId, WorkerId};
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
    /// The other node that it is on; then the connection is that of the node.
    pub(super) guest_of: Option<NodeId>,
}

impl Process {
    fn pid(&self) -> Option<u32> {
        self.pid.or_else(|| Some(self.spawned.as_ref()?.pid()))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<WorkerId, Process, IdHasher>,
    /// Links between guests and processes of this node for which their nodes are to connect.
    tickets: HashMap<u64, Ticket>,
    last_ticket: u64,
}

/// A link that is being made.
#[derive(Debug)]
struct Ticket {
    guest: WorkerId,
    worker: WorkerId,
}

impl Processes {
    pub(super) fn add(&mut self, worker: WorkerId, process: Process) {
        self.known.insert(worker, process);
    }

    /// The job of a process; 0 if it has none.
    pub(super) fn job(&self, worker: WorkerId) -> JobId {
        self.known.get(&worker).map(|process| process.job).unwrap_or_default()
    }

    /// Whether a job has processes here.
    pub(super) fn are_of(&self, job: JobId) -> bool {
        self.known.values().any(|process| process.job == job)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.known.get_mut(&worker)
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Process> {
        self.tickets
            .retain(|_, ticket| ticket.guest != worker && ticket.worker != worker);
        self.known.remove(&worker)
    }

    /// The connection to a process that has joined.
    pub(super) fn sender(&self, to: WorkerId) -> Option<&Sender> {
        self.known.get(&to)?.sender.as_ref()
    }

    pub(super) fn send(&self, to: WorkerId, frame: Frame) {
        let Some(process) = self.known.get(&to) else { return };
        if let Some(sender) = &process.sender {
            sender.send(match process.guest_of {
                Some(_) => relayed(to, &frame),
                None => frame,
            });
        }
    }

    pub(super) fn kill(&self, worker: WorkerId) {
        if let Some(spawned) = self.known.get(&worker).and_then(|process| process.spawned.as_ref()) {
            spawned.kill();
        }
    }

    /// Connects two processes, and tells each.
    pub(super) fn link(&mut self, a: WorkerId, b: WorkerId) {
        let is_guest = |worker| {
            self.known
                .get(worker)
                .is_some_and(|process: &Process| process.guest_of.is_some())
        };
        match (is_guest(&a), is_guest(&b)) {
            (true, _) => return self.want_link(a, b),
            (_, true) => return self.want_link(b, a),
            _ => {}
        }
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
            let known = self.known.get(&peer);
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
        let own = self.known.values().filter(|process| process.handle.is_none());
        own.filter_map(Process::pid).collect()
    }

    /// Asks the node of a guest for a connection between it and a process of this node.
    fn want_link(&mut self, guest: WorkerId, worker: WorkerId) {
        let known = self.known.get(&worker);
        let Some((pid, job)) = known.and_then(|process| Some((process.pid()?, process.job))) else {
            // It has just ended: its death follows.
            return;
        };
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.tickets.insert(ticket, Ticket { guest, worker });
        if let Some(node) = self.known.get(&guest).and_then(|process| process.sender.as_ref()) {
            node.send(Frame::LinkWanted {
                ticket,
                guest,
                worker,
                job,
                pid,
            });
        }
    }

    /// The connection for a link is there.
    pub(super) fn linked(&mut self, node: NodeId, ticket: u64, socket: OwnedFd) {
        let wanted = self.tickets.get(&ticket).is_some_and(|ticket| ticket.guest.is_on(node));
        let Some(Ticket { guest, worker }) = self.tickets.remove(&ticket).filter(|_| wanted) else {
            tracing::warn!(target: "ray_core::raylet", ticket, "a link that nobody waits for");
            return;
        };
        let known = self.known.get(&guest);
        let Some((pid, job)) = known.and_then(|process| Some((process.pid()?, process.job))) else {
            return;
        };
        if let Some(sender) = self.sender(worker) {
            let link = Frame::PeerLink {
                worker: guest,
                job,
                pid,
            };
            sender.send_with(link, vec![socket]);
        }
    }

    pub(super) fn is_guest_of(&self, worker: WorkerId, node: NodeId) -> bool {
        self.known
            .get(&worker)
            .is_some_and(|process| process.guest_of == Some(node))
    }

    /// A node is gone, and with it its processes. Returns their jobs.
    pub(super) fn forget_guests(&mut self, node: NodeId) -> Vec<JobId> {
        let gone = self.known.extract_if(|_, process| process.guest_of == Some(node));
        let jobs: Vec<JobId> = gone.map(|(_, process)| process.job).collect();
        let known = &self.known;
        self.tickets.retain(|_, ticket| known.contains_key(&ticket.guest));
        jobs
    }

    /// Forgets all, and returns those that were spawned.
    pub(super) fn take_spawned(&mut self) -> Vec<Arc<Spawned>> {
        self.known.drain().filter_map(|(_, process)| process.spawned).collect()
    }
}
