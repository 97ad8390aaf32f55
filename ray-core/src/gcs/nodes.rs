//! The nodes of the cluster, and the lately dead.
//!
//! - GN-1: a node dies once, and stays dead: what comes for it afterwards is not heard. A raylet that was only cut off joins
//!   under a new id.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::gcs::state::Outbox;
use crate::ids::NodeId;
use crate::wire::{Frame, NodeInfo, NodeStanding};

/// So many dead nodes are remembered, the latest.
const DEAD: usize = 1_000;

/// A node as the GCS sees it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    info: NodeInfo,
    pub(super) available: BTreeMap<String, f64>,
    /// What was given to actors there since the node has told what is free.
    promised: RefCell<BTreeMap<String, f64>>,
    /// In the order of their joining.
    number: u64,
}

impl Node {
    /// Counts resources, in steps of 1/10000, as taken until the node tells what is free.
    pub(super) fn promise(&self, placement: &BTreeMap<String, i64>) {
        let mut promised = self.promised.borrow_mut();
        for (name, steps) in placement {
            #[expect(clippy::cast_precision_loss, reason = "amounts of resources are far below 2^52")]
            let amount = *steps as f64 / 10_000.0;
            *promised.entry(name.clone()).or_default() += amount;
        }
    }

    /// What is free and was not promised.
    pub(super) fn unpromised(&self) -> BTreeMap<String, f64> {
        let mut free = self.available.clone();
        for (name, amount) in self.promised.borrow().iter() {
            if let Some(there) = free.get_mut(name) {
                *there -= amount;
            }
        }
        free
    }

    pub(super) fn total(&self) -> &BTreeMap<String, f64> {
        &self.info.resources
    }
}

/// The nodes of the cluster.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) living: BTreeMap<NodeId, Node>,
    dead: VecDeque<NodeStanding>,
    /// The first to register: the GCS is in its process.
    head: Option<NodeId>,
    joined: u64,
}

impl Nodes {
    /// A node joins. Returns whether it may: one that is dead may not (GN-1).
    pub(super) fn register(&mut self, info: NodeInfo, out: &mut Outbox) -> bool {
        let (node, available) = (info.node, info.resources.clone());
        if self.dead.iter().any(|dead| dead.info.node == node) {
            return false;
        }
        self.head.get_or_insert(node);
        for (other, known) in &self.living {
            out.send(
                *other,
                Frame::NodeJoined {
                    info: Box::new(info.clone()),
                },
            );
            out.send(
                node,
                Frame::NodeJoined {
                    info: Box::new(known.info.clone()),
                },
            );
            let available = known.available.clone();
            out.send(
                node,
                Frame::NodeFree {
                    node: *other,
                    available,
                },
            );
        }
        self.joined += 1;
        let known = Node {
            info,
            available,
            promised: RefCell::default(),
            number: self.joined,
        };
        self.living.insert(node, known);
        true
    }

    /// What is free of a node: the others hear of it.
    pub(super) fn set_available(&mut self, node: NodeId, available: BTreeMap<String, f64>, out: &mut Outbox) {
        for other in self.living.keys().filter(|other| **other != node) {
            let available = available.clone();
            out.send(*other, Frame::NodeFree { node, available });
        }
        if let Some(node) = self.living.get_mut(&node) {
            node.available = available;
            node.promised.borrow_mut().clear();
        }
    }

    /// A node is dead. Returns whether it was alive.
    pub(super) fn lost(&mut self, node: NodeId, why: &str, out: &mut Outbox) -> bool {
        let Some(gone) = self.living.remove(&node) else {
            return false;
        };
        for other in self.living.keys() {
            let why = why.to_owned();
            out.send(*other, Frame::NodeLeft { node, why });
        }
        self.dead.truncate(DEAD - 1);
        self.dead.push_front(NodeStanding {
            info: gone.info,
            head: self.head == Some(node),
            available: BTreeMap::new(),
            death: Some(why.to_owned()),
        });
        true
    }

    /// Of two nodes that cannot reach each other, the one to be counted among the dead: never the head, else the younger, so
    /// that a node which joins with an address that nobody reaches harms no other.
    pub(super) fn to_give_up(&self, one: NodeId, other: NodeId) -> Option<NodeId> {
        let (first, second) = (self.living.get(&one)?, self.living.get(&other)?);
        let other_goes = self.head == Some(one) || (self.head != Some(other) && second.number > first.number);
        Some(if other_goes { other } else { one })
    }

    /// The living, then the dead.
    pub(super) fn list(&self) -> Vec<NodeStanding> {
        let standing = |(id, node): (&NodeId, &Node)| NodeStanding {
            info: node.info.clone(),
            head: self.head == Some(*id),
            available: node.available.clone(),
            death: None,
        };
        let living = self.living.iter().map(standing);
        living.chain(self.dead.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gn_1_a_node_dies_once_and_stays_dead() {
        let mut nodes = Nodes::default();
        let [head, other] = [NodeInfo::sample(2.0), NodeInfo::sample(4.0)];
        let lost = other.node;
        let out = &mut Outbox::default();
        assert!(nodes.register(head, out) && nodes.register(other.clone(), out));
        assert!(nodes.lost(lost, "it was cut off", out) && !nodes.lost(lost, "again", out));
        assert!(!nodes.register(other, out));
        let list = nodes.list();
        assert_eq!(list.len(), 2);
        assert!(list[0].head && list[0].death.is_none());
        assert_eq!(list[1].death.as_deref(), Some("it was cut off"));
    }

    #[test]
    fn of_the_dead_the_latest_are_remembered() {
        let mut nodes = Nodes::default();
        for _ in 0..DEAD + 5 {
            let info = NodeInfo::sample(1.0);
            let node = info.node;
            nodes.register(info, &mut Outbox::default());
            nodes.lost(node, "", &mut Outbox::default());
        }
        assert_eq!(nodes.list().len(), DEAD);
    }
}
