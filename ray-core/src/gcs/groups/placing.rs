//! Placing a group: nodes that have room are asked at once; if none have, the group waits, in the line of its node if it can.
//!
//! GG-1 and GG-3 are kept here.
//!
//! *Absent:* which nodes fit, which is planned in `scheduling/bundles`.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::Attempt;
use super::group::Group;
use crate::gcs::nodes::Node;
use crate::gcs::state::Outbox;
use crate::ids::{NodeId, PlacementGroupId};
use crate::scheduling::bundles::{self, PlanError};
use crate::scheduling::{NodeView, ResourceSet};
use crate::wire::GroupState;

impl Group {
    /// Looks for nodes, unless it has them or has asked some.
    pub(super) fn place(&mut self, id: PlacementGroupId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        if self.attempt.is_some() || matches!(self.state, GroupState::Created { .. } | GroupState::Removed {}) {
            return;
        }
        match bundles::plan(&views(nodes, false), &self.sets, self.strategy) {
            Ok(chosen) => self.ask(id, chosen, false, out),
            Err(error @ PlanError::Unavailable) => {
                self.set_state(id, GroupState::Pending { why: error.to_string() }, out);
                self.wait_in_line(id, nodes, out);
            }
            Err(error) => self.set_state(id, GroupState::Infeasible { why: error.to_string() }, out),
        }
    }

    /// GG-3.
    fn wait_in_line(&mut self, group: PlacementGroupId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let later = bundles::plan(&views(nodes, true), &self.sets, self.strategy);
        if let Ok(chosen) = later
            && chosen.windows(2).all(|pair| pair[0] == pair[1])
        {
            self.ask(group, chosen, true, out);
        }
    }

    fn ask(&mut self, group: PlacementGroupId, chosen: Vec<NodeId>, waits: bool, out: &mut Outbox) {
        let attempt = Attempt::ask(group, &self.wanted.bundles, chosen, waits, out);
        self.attempt = Some(attempt);
    }

    /// A node has answered.
    pub(super) fn answered(
        &mut self,
        id: PlacementGroupId,
        (node, reserved): (NodeId, bool),
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let attempt = self.attempt.take_if(|attempt| attempt.answered(node, reserved));
        self.ended(id, attempt, nodes, out);
    }

    /// A node is dead.
    pub(super) fn node_lost(
        &mut self,
        id: PlacementGroupId,
        node: NodeId,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let attempt = self.attempt.take_if(|attempt| attempt.lost(node));
        self.ended(id, attempt, nodes, out);
        let GroupState::Created { nodes: had } = &self.state else {
            return;
        };
        if had.contains(&node) {
            let others: BTreeSet<NodeId> = had.iter().copied().filter(|at| *at != node).collect();
            for other in others {
                out.send(other, super::release(id, false));
            }
            let why = format!("node {node}, which had a bundle of it, is dead");
            self.set_state(id, GroupState::Pending { why }, out);
            self.place(id, nodes, out);
        }
    }

    fn ended(
        &mut self,
        id: PlacementGroupId,
        attempt: Option<Attempt>,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let Some(attempt) = attempt else { return };
        if attempt.refused {
            // GG-1: all or nothing.
            for node in attempt.reserved {
                out.send(node, super::release(id, false));
            }
            let why = "a node's resources were taken meanwhile".into();
            self.set_state(id, GroupState::Pending { why }, out);
            // Nodes that are busy without a pause may never tell of anything that came free.
            if !attempt.waits {
                self.wait_in_line(id, nodes, out);
            }
        } else {
            self.set_state(id, GroupState::Created { nodes: attempt.nodes }, out);
        }
    }
}

/// The nodes as they are, or as they will be when nothing runs there.
fn views(nodes: &BTreeMap<NodeId, Node>, empty: bool) -> Vec<NodeView> {
    let view = |(id, node): (&NodeId, &Node)| {
        let free = if empty { node.total() } else { &node.available };
        NodeView::new(
            *id,
            &ResourceSet::from_numbers(node.total()).ok()?,
            &ResourceSet::from_numbers(free).ok()?,
        )
        .ok()
    };
    nodes.iter().filter_map(view).collect()
}
