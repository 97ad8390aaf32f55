//! What the node tells of itself: to the GCS what it has and what is free of it, to whoever asks how it stands.
//!
//! - RG-2: the GCS hears at once when more is free than it knows, and at the next tick when less is. When the node refuses a
//!   group, the GCS hears first what is free: so the next that comes free is news.
//!
//! *Absent:* what other nodes have.

use std::collections::BTreeMap;

use super::{Effect, Effects, State};
use crate::ids::WorkerId;
use crate::raylet::convert::to_numbers;
use crate::raylet::workers::Role;
use crate::wire::{Frame, NodeInfo, NodeReport, WorkerReport};

/// What the GCS knows of the node's resources.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What it was last told is free.
    free: BTreeMap<String, f64>,
    /// Whether less is free by now: the GCS hears of that at the next tick.
    outdated: bool,
}

impl Told {
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated
    }
}

impl State {
    /// What the node tells the GCS when it joins.
    pub(in crate::raylet) fn registration(&mut self, address: String) -> Frame {
        self.told.free = to_numbers(&self.resources.total());
        let info = NodeInfo {
            node: self.node,
            address,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            resources: self.told.free.clone(),
        };
        Frame::RegisterNode { info: Box::new(info) }
    }

    /// RG-2: something may have been taken or given back.
    pub(super) fn note_resources(&mut self, out: &mut Effects) {
        let available = to_numbers(&self.resources.available());
        let more = |(name, amount): (&String, &f64)| *amount > self.told.free.get(name).copied().unwrap_or_default();
        if available.iter().any(more) {
            self.send_report(available, out);
        } else {
            self.told.outdated = available != self.told.free;
        }
    }

    /// Tells the GCS what is free, if it does not know.
    pub(super) fn report_resources(&mut self, out: &mut Effects) {
        let available = to_numbers(&self.resources.available());
        if available != self.told.free {
            self.send_report(available, out);
        }
    }

    fn send_report(&mut self, available: BTreeMap<String, f64>, out: &mut Effects) {
        self.told.outdated = false;
        self.told.free.clone_from(&available);
        out.push(Effect::ToGcs(Frame::NodeResources { available }));
    }

    /// A process asks how the node stands.
    pub(super) fn send_node_report(&self, to: WorkerId, request: u64, out: &mut Effects) {
        let report = Box::new(self.report());
        let frame = Frame::NodeReportReply { request, report };
        out.push(Effect::Send { to, frame });
    }

    pub(in crate::raylet) fn report(&self) -> NodeReport {
        let state = |role: &Role| match role {
            Role::Driver => "driver",
            Role::Observer => "observer",
            Role::Guest(_) => "guest",
            Role::Starting => "starting",
            Role::Idle(_) => "idle",
            Role::Leased(_) => "leased",
            Role::Actor(_) => "actor",
            Role::Ending => "exiting",
        };
        let workers = self.workers.iter().map(|(worker, process)| WorkerReport {
            worker: *worker,
            pid: process.pid,
            state: state(&process.role).to_owned(),
            serves: process.serves.clone(),
        });
        NodeReport {
            node: self.node,
            total: to_numbers(&self.resources.total()),
            available: to_numbers(&self.resources.available()),
            workers: workers.collect(),
            pending_leases: (self.queue.len() + self.granted.len()) as u64,
        }
    }
}
