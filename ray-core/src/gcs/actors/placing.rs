//! Which node an actor is asked to live on, and when: at once, when there is a node, or when those before it have ended. A
//! node that is lost has ended all that lived there.
//!
//! *Absent:* whether the node has room, which the node itself says; until then the actor stands in its line.

use std::collections::BTreeMap;

use super::Actors;
use super::actor::Actor;
use crate::gcs::nodes::Node;
use crate::gcs::state::Outbox;
use crate::ids::{ActorId, NodeId};
use crate::wire::{DeathCause, Frame, SchedulingStrategy};

/// The node that is to have an actor of this strategy, if there is any: the one that is named, or the one with most to spare.
fn choose(strategy: &SchedulingStrategy, nodes: &BTreeMap<NodeId, Node>) -> Option<NodeId> {
    match strategy {
        SchedulingStrategy::NodeAffinity { node, .. } if nodes.contains_key(node) => Some(*node),
        _ => nodes
            .iter()
            .max_by(|a, b| free_share(a.1).total_cmp(&free_share(b.1)))
            .map(|(id, _)| *id),
    }
}

fn free_share(node: &Node) -> f64 {
    let amount = |resources: &BTreeMap<String, f64>| resources.get("CPU").copied().unwrap_or(0.0);
    amount(&node.available) / amount(node.total()).max(1.0)
}

impl Actor {
    /// Asks a node to start it, if there is one that can.
    pub(super) fn place(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        self.node = if self.spec.shared {
            // Beside other work of the process that has created it.
            nodes.keys().find(|node| self.spec.owner.is_on(**node)).copied()
        } else {
            choose(&self.spec.strategy, nodes)
        };
        self.ask_node(out);
    }

    fn ask_node(&self, out: &mut Outbox) {
        if let Some(node) = self.node {
            let frame = Frame::StartActor {
                spec: Box::new(self.spec.clone()),
                restarts: self.restarts,
            };
            out.send(node, frame);
        }
    }
}

impl Actors {
    pub(in crate::gcs) fn node_lost(&mut self, node: NodeId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let lost = self
            .actors
            .values()
            .filter(|actor| actor.node == Some(node) && !actor.is_dead());
        let lost: Vec<ActorId> = lost.map(|actor| actor.spec.actor).collect();
        for id in lost {
            self.worker_ended(id, &DeathCause::NodeGone {}, nodes, out);
        }
    }

    /// A node that was asked to start an actor says that another one has its bundle.
    pub(in crate::gcs) fn belongs(
        &mut self,
        actor: ActorId,
        node: NodeId,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        if let Some(actor) = self.actors.get_mut(&actor)
            && !actor.is_dead()
        {
            // If that node has died meanwhile, its bundles are to be found anew.
            actor.node = nodes.contains_key(&node).then_some(node);
            actor.ask_node(out);
        }
    }

    pub(in crate::gcs) fn place_waiting(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let waiting = self
            .actors
            .values_mut()
            .filter(|actor| actor.node.is_none() && !actor.is_dead() && !self.heirs.waits(actor.spec.actor));
        waiting.for_each(|actor| actor.place(nodes, out));
    }

    /// GA-5: after anything that may have ended an actor.
    pub(in crate::gcs) fn place_heirs(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        for heir in self.heirs.take_ready() {
            if let Some(actor) = self.actors.get_mut(&heir) {
                actor.place(nodes, out);
            }
        }
    }
}
