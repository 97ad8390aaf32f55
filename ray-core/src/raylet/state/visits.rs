//! Processes of this node that are guests of others: they lease workers there, and are linked with processes there.
//!
//! To its guest another node looks like this one: the guest's frames for it are passed on, and so are the answers. What has
//! a number is numbered anew here, since each node numbers its own leases.
//!
//! - RV-1: a node hears of a guest before the guest's first frame, and of the guest's end after the last.
//! - RV-2: when a node is lost, each guest of it hears once of the death of every process there that it was linked with; what
//!   stood in line there is asked for anew.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{IdHasher, NodeId, WorkerId};
use crate::wire::{DeathCause, Frame, LeaseShape, to_bytes};

/// What processes of this node have elsewhere.
#[derive(Debug, Default)]
pub(super) struct Visits {
    /// By requester and its number.
    requests: HashMap<(WorkerId, u64), (NodeId, LeaseShape)>,
    /// By the number here.
    leases: HashMap<u64, LeaseThere>,
    hosts: HashMap<NodeId, Host>,
}

#[derive(Debug)]
struct LeaseThere {
    node: NodeId,
    /// The number there.
    lease: u64,
    owner: WorkerId,
    worker: WorkerId,
}

/// What another node knows of this one.
#[derive(Debug, Default)]
struct Host {
    guests: HashSet<WorkerId, IdHasher>,
    /// Processes there, and the guests that are linked with them, or have asked for that.
    linked: HashMap<WorkerId, HashSet<WorkerId, IdHasher>, IdHasher>,
}

impl Host {
    fn link(&mut self, guest: WorkerId, worker: WorkerId) {
        self.linked.entry(worker).or_default().insert(guest);
    }

    fn unlink(&mut self, guest: WorkerId, worker: WorkerId) {
        if let Some(guests) = self.linked.get_mut(&worker) {
            guests.remove(&guest);
            if guests.is_empty() {
                self.linked.remove(&worker);
            }
        }
    }
}

impl State {
    /// A request goes to another node.
    pub(super) fn visit_for_lease(
        &mut self,
        node: NodeId,
        from: WorkerId,
        request: u64,
        shape: LeaseShape,
        out: &mut Effects,
    ) {
        self.visits.requests.insert((from, request), (node, shape.clone()));
        self.pass_on(node, from, &Frame::RequestLease { request, shape }, out);
    }

    /// RV-1: passes a guest's frame on to its host.
    fn pass_on(&mut self, node: NodeId, guest: WorkerId, frame: &Frame, out: &mut Effects) {
        let Some(process) = self.workers.get(&guest) else {
            return;
        };
        let (job, pid) = (process.job, process.pid);
        let host = self.visits.hosts.entry(node).or_default();
        let mut send = |frame| out.push(Effect::ToNode { node, frame });
        if host.guests.insert(guest) {
            send(Frame::GuestComes {
                worker: guest,
                job,
                pid,
            });
        }
        send(Frame::Relay {
            guest,
            frame: to_bytes(frame),
        });
    }

    /// A frame of a process of this node, if it concerns another node: then it is passed on. Else it comes back.
    pub(super) fn frame_for_elsewhere(&mut self, from: WorkerId, frame: Frame, out: &mut Effects) -> Option<Frame> {
        let (node, frame) = match frame {
            Frame::ReturnLease { lease, reusable } if self.visits.leases.contains_key(&lease) => {
                let there = self.visits.leases.remove(&lease)?;
                let lease = there.lease;
                (there.node, Frame::ReturnLease { lease, reusable })
            }
            Frame::CancelLeaseRequest { request } if self.visits.requests.contains_key(&(from, request)) => {
                let (node, _) = self.visits.requests.remove(&(from, request))?;
                (node, Frame::CancelLeaseRequest { request })
            }
            Frame::KillWorker { worker, .. } if !worker.is_on(self.node) => (self.node_of(worker)?, frame),
            // A guest is found here.
            Frame::Connect { worker } if !worker.is_on(self.node) && self.workers.get(&worker).is_none() => {
                let Some(node) = self.node_of(worker) else {
                    out.push(Effect::tell_gone(from, worker, DeathCause::NodeGone {}));
                    return None;
                };
                self.visits.hosts.entry(node).or_default().link(from, worker);
                (node, frame)
            }
            frame => return Some(frame),
        };
        self.pass_on(node, from, &frame, out);
        None
    }

    /// A host's frame for its guest.
    pub(in crate::raylet) fn host_frame(
        &mut self,
        node: NodeId,
        guest: WorkerId,
        frame: Frame,
        now: Duration,
        out: &mut Effects,
    ) {
        let frame = match frame {
            Frame::LeaseGranted {
                request,
                lease,
                worker,
                pid,
                gpus,
                crowded,
            } => {
                let wanted = self.visits.requests.remove(&(guest, request)).is_some();
                if !wanted || self.workers.get(&guest).is_none() {
                    // It was cancelled meanwhile.
                    let frame = Frame::ReturnLease { lease, reusable: true };
                    return self.pass_on(node, guest, &frame, out);
                }
                let number = self.number();
                let there = LeaseThere {
                    node,
                    lease,
                    owner: guest,
                    worker,
                };
                self.visits.leases.insert(number, there);
                Frame::LeaseGranted {
                    request,
                    lease: number,
                    worker,
                    pid,
                    gpus,
                    crowded,
                }
            }
            Frame::AskAgain { request } => {
                let asked = self.visits.requests.remove(&(guest, request));
                if let Some((_, shape)) = asked {
                    self.request(guest, request, shape, now, out);
                }
                return;
            }
            Frame::LeaseRefused { request, error } => {
                self.visits.requests.remove(&(guest, request));
                Frame::LeaseRefused { request, error }
            }
            Frame::PeerGone { worker, cause } => {
                self.unlinked(node, guest, worker);
                Frame::PeerGone { worker, cause }
            }
            other => other,
        };
        out.push(Effect::Send { to: guest, frame });
    }

    /// A guest has a connection to a process of its host.
    pub(in crate::raylet) fn linked_elsewhere(&mut self, node: NodeId, guest: WorkerId, worker: WorkerId) {
        self.visits.hosts.entry(node).or_default().link(guest, worker);
    }

    fn unlinked(&mut self, node: NodeId, guest: WorkerId, worker: WorkerId) {
        if let Some(host) = self.visits.hosts.get_mut(&node) {
            host.unlink(guest, worker);
        }
        let ended = |there: &LeaseThere| there.owner == guest && there.worker == worker;
        self.visits.leases.retain(|_, there| !ended(there));
    }

    /// The connection between a guest and a process of its host could not be made: to each the other is dead.
    pub(in crate::raylet) fn link_failed(
        &mut self,
        node: NodeId,
        guest: WorkerId,
        worker: WorkerId,
        out: &mut Effects,
    ) {
        self.unlinked(node, guest, worker);
        out.push(Effect::tell_gone(guest, worker, DeathCause::NodeGone {}));
    }

    /// What stands in line at a node, by what it asks for.
    pub(super) fn in_line_at(&self, node: NodeId) -> impl Iterator<Item = &LeaseShape> {
        let requests = self.visits.requests.values();
        requests.filter(move |(at, _)| *at == node).map(|(_, shape)| shape)
    }

    /// The way to or from a node has ended, or there is none. The head, which hears of it, counts one of the two nodes among the
    /// dead: they cannot work together, and what each believes of the other's processes would differ from then on.
    pub(in crate::raylet) fn way_lost(&mut self, node: NodeId, why: String, out: &mut Effects) {
        if self.address_of(node).is_some() {
            out.push(Effect::ToGcs(Frame::NodeUnreachable { node, why }));
        }
    }

    /// A process of this node is dead.
    pub(super) fn visits_end(&mut self, worker: WorkerId, cause: &DeathCause, out: &mut Effects) {
        self.visits.requests.retain(|(from, _), _| *from != worker);
        self.visits.leases.retain(|_, there| there.owner != worker);
        for (node, host) in &mut self.visits.hosts {
            host.linked.retain(|_, guests| {
                guests.remove(&worker);
                !guests.is_empty()
            });
            if host.guests.remove(&worker) {
                let cause = cause.clone();
                let frame = Frame::GuestGone { worker, cause };
                out.push(Effect::ToNode { node: *node, frame });
            }
        }
    }

    /// RV-2.
    pub(super) fn host_lost(&mut self, node: NodeId, now: Duration, out: &mut Effects) {
        let Some(host) = self.visits.hosts.remove(&node) else {
            return;
        };
        self.visits.leases.retain(|_, there| there.node != node);
        for (worker, guests) in host.linked {
            let told = guests.into_iter();
            out.extend(told.map(|to| Effect::tell_gone(to, worker, DeathCause::NodeGone {})));
        }
        let waited: Vec<_> = self.visits.requests.extract_if(|_, (at, _)| *at == node).collect();
        for ((from, request), (_, shape)) in waited {
            self.request(from, request, shape, now, out);
        }
    }
}
