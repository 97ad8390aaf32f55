//! One attempt to place a group: nodes that were asked to set its bundles aside, and what they have said.

use std::collections::{BTreeMap, HashSet};

use crate::gcs::state::Outbox;
use crate::ids::{NodeId, PlacementGroupId};
use crate::wire::Frame;

/// An attempt that not all nodes have answered.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The node of each bundle.
    pub(super) nodes: Vec<NodeId>,
    /// Those that have not answered.
    open: HashSet<NodeId>,
    pub(super) reserved: HashSet<NodeId>,
    pub(super) refused: bool,
    /// It waits in the line of its node (GG-3).
    pub(super) waits: bool,
}

impl Attempt {
    /// Asks the chosen nodes to set the bundles aside: now, or when there is room.
    pub(super) fn ask(
        group: PlacementGroupId,
        bundles: &[BTreeMap<String, f64>],
        chosen: Vec<NodeId>,
        waits: bool,
        out: &mut Outbox,
    ) -> Self {
        let open: HashSet<NodeId> = chosen.iter().copied().collect();
        for node in &open {
            let of_node = (0..).zip(&chosen).zip(bundles).filter(|((_, at), _)| *at == node);
            let bundles = of_node.map(|((index, _), bundle)| (index, bundle.clone())).collect();
            let frame = Frame::ReserveBundles {
                group,
                bundles,
                wait: waits,
            };
            out.send(*node, frame);
        }
        Self {
            nodes: chosen,
            open,
            reserved: HashSet::new(),
            refused: false,
            waits,
        }
    }

    /// Notes an answer. Returns whether it was the last.
    pub(super) fn answered(&mut self, node: NodeId, reserved: bool) -> bool {
        self.open.remove(&node);
        if reserved {
            self.reserved.insert(node);
        } else {
            self.refused = true;
        }
        self.open.is_empty()
    }

    /// A node is dead. Returns whether that was the last answer.
    pub(super) fn lost(&mut self, node: NodeId) -> bool {
        if self.reserved.remove(&node) || self.open.contains(&node) {
            self.answered(node, false)
        } else {
            false
        }
    }

    /// The nodes in whose lines it waits.
    pub(super) fn in_line(&self) -> Option<&HashSet<NodeId>> {
        self.waits.then_some(&self.open)
    }
}
