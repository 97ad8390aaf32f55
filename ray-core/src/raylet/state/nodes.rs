//! The other nodes of the cluster, as the GCS tells of them, and which node a request goes to.
//!
//! - RN-1: a request goes to another node when that has room and this one has not, or can never have, by Ray's hybrid policy
//!   or the strategy that it names; also later, while it stands in line here. At the other node it stays in line.
//!
//! *Absent:* what stands in line elsewhere (`visits`). Placement groups and shared work are not for other nodes so far.

use std::collections::BTreeMap;
use std::time::Duration;

use super::requests::Asked;
use super::{Effect, Effects, State};
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
    /// What is free there by its last word.
    told: ResourceSet,
}

/// Where a request goes.
pub(super) enum Place {
    Here,
    There(NodeId),
    Nowhere(String),
}

impl State {
    pub(super) fn node_joined(&mut self, info: NodeInfo, now: Duration, out: &mut Effects) {
        let seen = ResourceSet::from_numbers(&info.resources).and_then(|total| {
            NodeView::new(info.node, &total, &total)?;
            Ok(total)
        });
        match seen {
            Ok(total) => {
                let address = info.address;
                let told = total.clone();
                let other = Other { address, total, told };
                self.nodes.others.insert(info.node, other);
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
        if let Ok(told) = ResourceSet::from_numbers(available) {
            other.told = told;
            self.look_elsewhere(now, out);
        }
    }

    /// This node, then the others: what is free there by their last word, less what stands in line there from here.
    fn views(&self) -> Vec<NodeView> {
        let mut views = vec![NodeView::of(self.node, &self.resources)];
        for (node, other) in &self.nodes.others {
            let Ok(mut view) = NodeView::new(*node, &other.total, &other.told) else {
                continue;
            };
            for request in self
                .in_line_at(*node)
                .filter_map(|shape| from_steps(&shape.resources).ok())
            {
                view.take(&request);
            }
            views.push(view);
        }
        views
    }

    /// Another node is dead.
    pub(super) fn node_left(&mut self, node: NodeId, why: &str, now: Duration, out: &mut Effects) {
        tracing::warn!(target: "ray_core::raylet", %node, why, "a node is dead");
        self.nodes.others.remove(&node);
        out.push(Effect::LeaveNode { node });
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

    /// Where a request of a process of this node goes.
    pub(super) fn place_for(&mut self, shape: &LeaseShape) -> Place {
        if shape.shared {
            return Place::Here;
        }
        if let SchedulingStrategy::NodeAffinity { node, soft: false } = shape.strategy
            && node != self.node
            && self.address_of(node).is_none()
        {
            return Place::Nowhere(format!(
                "node {node}, on which it must run, is dead, or was never there"
            ));
        }
        if self.nodes.others.is_empty() {
            return Place::Here;
        }
        // What makes no sense is refused where it stands in line.
        self.choose(shape).unwrap_or(Place::Here)
    }

    fn choose(&mut self, shape: &LeaseShape) -> Result<Place, ResourceError> {
        let request = from_steps(&shape.resources)?;
        let views = self.views();
        let options = HybridOptions::default();
        let random = self.nodes.random;
        self.nodes.random = random.wrapping_add(1);
        let mut is_bound = false;
        let choice = match &shape.strategy {
            SchedulingStrategy::Default {} => policy::hybrid(&views, &request, Some(self.node), &options, random),
            SchedulingStrategy::Spread {} => policy::spread(&views, &request, &mut self.nodes.cursor),
            SchedulingStrategy::NodeAffinity { node, soft } => {
                is_bound = !soft;
                policy::affinity(&views, &request, *node, !soft, &options, random)
            }
            SchedulingStrategy::PlacementGroup { .. } => return Ok(Place::Here),
        };
        let stays = || !is_bound && views.first().is_some_and(|own| own.is_feasible(&request));
        Ok(match choice {
            Choice::Available(node) if node != self.node => Place::There(node),
            // It has to stand in line somewhere: then here, if it can.
            Choice::Queue(node) if node != self.node && !stays() => Place::There(node),
            Choice::Infeasible if is_bound => {
                Place::Nowhere("the node on which it must run can never hold it".to_owned())
            }
            _ => Place::Here,
        })
    }

    /// Requests that stand in line here may have a place elsewhere by now.
    fn look_elsewhere(&mut self, now: Duration, out: &mut Effects) {
        if self.queue.is_empty() {
            return;
        }
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
            if let Place::There(node) = self.place_for(&shape) {
                self.cancel_request(requester, request);
                self.visit_for_lease(node, requester, request, shape, out);
            }
        }
        self.schedule(now, out);
    }
}
