//! The other nodes of the cluster, as the GCS tells of them, and which node a request goes to.
//!
//! - RN-1: a request goes to another node when that has room and this one has not, or can never have, by Ray's hybrid policy
//!   or the strategy that it names; also later, while it stands in line here. At the other node it stays in line.
//!
//! *Absent:* what stands in line elsewhere (`visits`). Placement groups and shared work are not for other nodes so far.

use std::collections::BTreeMap;
use std::time::Duration;

use super::requests::Asked;
use super::{Effects, State};
use crate::ids::{NodeId, WorkerId};
use crate::raylet::convert::from_steps;
use crate::scheduling::policy::{self, Choice, HybridOptions};
use crate::scheduling::{NodeView, ResourceError, ResourceSet};
use crate::wire::{LeaseShape, NodeInfo, SchedulingStrategy};

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    others: BTreeMap<NodeId, Other>,
    /// Whose turn it is among them with SPREAD.
    cursor: usize,
    /// Breaks ties; the same at every start, so that tests repeat.
    random: u64,
}

#[derive(Debug)]
struct Other {
    address: String,
    total: ResourceSet,
    view: NodeView,
}

impl State {
    pub(super) fn node_joined(&mut self, info: NodeInfo, now: Duration, out: &mut Effects) {
        let seen = ResourceSet::from_numbers(&info.resources).and_then(|total| {
            let view = NodeView::new(info.node, &total, &total)?;
            Ok((total, view))
        });
        match seen {
            Ok((total, view)) => {
                let address = info.address;
                self.nodes.others.insert(info.node, Other { address, total, view });
                self.look_elsewhere(now, out);
            }
            Err(error) => {
                tracing::warn!(target: "ray_core::raylet", %error, node = %info.node, "a node's resources make no sense");
            }
        }
    }

    /// What is free of another node.
    pub(super) fn node_free(
        &mut self,
        node: NodeId,
        available: &BTreeMap<String, f64>,
        now: Duration,
        out: &mut Effects,
    ) {
        let Some(other) = self.nodes.others.get_mut(&node) else {
            return;
        };
        let seen =
            ResourceSet::from_numbers(available).and_then(|available| NodeView::new(node, &other.total, &available));
        if let Ok(view) = seen {
            other.view = view;
            self.look_elsewhere(now, out);
        }
    }

    /// Another node is dead.
    pub(super) fn node_left(&mut self, node: NodeId, why: &str, now: Duration, out: &mut Effects) {
        tracing::warn!(target: "ray_core::raylet", %node, why, "a node is dead");
        self.nodes.others.remove(&node);
        self.host_lost(node, now, out);
        self.guests_lost(node, now, out);
    }

    /// Where another node is reached.
    pub(in crate::raylet) fn address_of(&self, node: NodeId) -> Option<&str> {
        Some(&self.nodes.others.get(&node)?.address)
    }

    /// The node of a process of another one, if that node is alive.
    pub(in crate::raylet) fn node_of(&self, worker: WorkerId) -> Option<NodeId> {
        self.nodes.others.keys().find(|node| worker.is_on(**node)).copied()
    }

    /// The other node that a request goes to; `None`: it stays here.
    pub(super) fn elsewhere(&mut self, shape: &LeaseShape) -> Option<NodeId> {
        if self.nodes.others.is_empty() || shape.shared {
            return None;
        }
        self.choose(shape).ok().flatten()
    }

    fn choose(&mut self, shape: &LeaseShape) -> Result<Option<NodeId>, ResourceError> {
        let request = from_steps(&shape.resources)?;
        let mut views = vec![NodeView::of(self.node, &self.resources)];
        views.extend(self.nodes.others.values().map(|other| other.view.clone()));
        let options = HybridOptions::default();
        let random = self.nodes.random;
        self.nodes.random = random.wrapping_add(1);
        let choice = match &shape.strategy {
            SchedulingStrategy::Default {} => policy::hybrid(&views, &request, Some(self.node), &options, random),
            SchedulingStrategy::Spread {} => policy::spread(&views, &request, &mut self.nodes.cursor),
            SchedulingStrategy::NodeAffinity { node, soft } => {
                policy::affinity(&views, &request, *node, !soft, &options, random)
            }
            SchedulingStrategy::PlacementGroup { .. } => return Ok(None),
        };
        let (Choice::Available(node) | Choice::Queue(node)) = choice else {
            return Ok(None);
        };
        // Until the next news of the node, what goes there counts as taken.
        if let Some(other) = self.nodes.others.get_mut(&node) {
            other.view.take(&request);
        }
        Ok((node != self.node).then_some(node))
    }

    /// Requests that stand in line here may have a place elsewhere by now.
    fn look_elsewhere(&mut self, now: Duration, out: &mut Effects) {
        for Asked {
            requester,
            request,
            shape,
        } in self.requests.of_owners()
        {
            let waits_only = !shape.shared && shape.strategy.group().is_none() && !self.is_guest(requester);
            if !waits_only {
                continue;
            }
            if let Some(node) = self.elsewhere(&shape) {
                self.cancel_request(requester, request);
                self.visit_for_lease(node, requester, request, shape, out);
            }
        }
        self.schedule(now, out);
    }
}
