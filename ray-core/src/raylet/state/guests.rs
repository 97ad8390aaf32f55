//! Processes of other nodes that are guests of this one: to the rest of the state they are processes like any other, except
//! that nothing is asked of them, and that their ends are their own nodes' to tell the GCS.
//!
//! - RG-G1: a guest is served what it could have on its own node: leases, and links with processes of this one. It is never
//!   sent on to a third node.

use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{JobId, NodeId, WorkerId};
use crate::raylet::workers::Role;
use crate::wire::{DeathCause, Frame};

impl State {
    /// A process of another node becomes a guest. Returns whether it may: a node names none but its own.
    pub(in crate::raylet) fn guest_comes(&mut self, node: NodeId, worker: WorkerId, job: JobId, pid: u32) -> bool {
        let comes = worker.is_on(node) && !worker.is_on(self.node);
        if comes {
            self.workers.add(worker, job, pid, Role::Guest(node), Vec::new());
        } else {
            tracing::warn!(target: "ray_core::raylet", %node, %worker, "a node names a guest that is not its own");
        }
        comes
    }

    pub(super) fn is_guest(&self, worker: WorkerId) -> bool {
        let process = self.workers.get(&worker);
        process.is_some_and(|process| matches!(process.role, Role::Guest(_)))
    }

    /// A guest's frame (RG-G1).
    pub(in crate::raylet) fn guest_frame(
        &mut self,
        node: NodeId,
        guest: WorkerId,
        frame: Frame,
        now: Duration,
        out: &mut Effects,
    ) {
        let is_its = |role: &Role| *role == Role::Guest(node);
        if !self.workers.get(&guest).is_some_and(|process| is_its(&process.role)) {
            tracing::warn!(target: "ray_core::raylet", %node, %guest, ?frame, "a frame of a guest that has not come");
            return;
        }
        match frame {
            Frame::Connect { worker } if !worker.is_on(self.node) => {
                out.push(Effect::tell_gone(guest, worker, DeathCause::NodeGone {}));
            }
            Frame::RequestLease { .. }
            | Frame::CancelLeaseRequest { .. }
            | Frame::ReturnLease { .. }
            | Frame::KillWorker { .. }
            | Frame::Connect { .. } => self.frame(guest, frame, now, out),
            other => tracing::warn!(target: "ray_core::raylet", ?other, %guest, "a frame that a guest does not send"),
        }
    }

    /// A guest's process has ended.
    pub(in crate::raylet) fn guest_gone(
        &mut self,
        node: NodeId,
        worker: WorkerId,
        cause: DeathCause,
        now: Duration,
        out: &mut Effects,
    ) {
        if worker.is_on(node) && self.is_guest(worker) {
            self.process_ended(worker, cause, now, out);
        }
    }

    /// The node of these guests is dead, or cut off.
    pub(in crate::raylet) fn guests_lost(&mut self, node: NodeId, now: Duration, out: &mut Effects) {
        let of_node = |role: &Role| *role == Role::Guest(node);
        let guests: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, process)| of_node(&process.role))
            .map(|(worker, _)| *worker)
            .collect();
        for guest in guests {
            self.process_ended(guest, DeathCause::NodeGone {}, now, out);
        }
    }
}
