//! Which node an actor is asked to live on, and when: at once, when there is a node, or when those before it have ended. A
//! node that is lost has ended all that lived there.
//!
//! *Absent:* whether the node has room, which the node itself says; until then the actor stands in its line.

use std::collections::BTreeMap;

use super::Actors;
use super::actor::Actor;
use crate::gcs::nodes::Node;
use crate::gcs::state::Outbox;
use crate::ids::{ActorId, NodeId, WorkerId};
use crate::wire::{ActorSpec, DeathCause, Frame, SchedulingStrategy};

/// The node that is to have an actor, if there is any: the one that is named, or of those with room for it the one with most to
/// spare. If none has room, one that will have; if none ever will, any, which says so.
fn choose(spec: &ActorSpec, nodes: &BTreeMap<NodeId, Node>) -> Option<NodeId> {
    if let SchedulingStrategy::NodeAffinity { node, .. } = &spec.strategy
        && nodes.contains_key(node)
    {
        return Some(*node);
    }
    let has = |there: &BTreeMap<String, f64>| {
        // Half a step: what is counted in binary fractions is a little off.
        let steps = |name: &String| there.get(name).copied().unwrap_or_default() * STEPS + 0.5;
        #[expect(clippy::cast_precision_loss, reason = "amounts of resources are far below 2^52")]
        let fits = |(name, wanted): (&String, &i64)| *wanted as f64 <= steps(name);
        spec.placement.iter().all(fits)
    };
    let rank = |node: &Node| {
        let free = node.unpromised();
        (has(&free), has(node.total()), free_share(&free, node.total()))
    };
    let better = |a: &(bool, bool, f64), b: &(bool, bool, f64)| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2));
    let ranked = nodes.iter().map(|(id, node)| (rank(node), *id));
    ranked.max_by(|a, b| better(&a.0, &b.0)).map(|(_, id)| id)
}

/// What an actor asks for is counted in steps of 1/10000.
const STEPS: f64 = 10_000.0;

fn free_share(free: &BTreeMap<String, f64>, total: &BTreeMap<String, f64>) -> f64 {
    let amount = |resources: &BTreeMap<String, f64>| resources.get("CPU").copied().unwrap_or(0.0);
    amount(free) / amount(total).max(1.0)
}

impl Actor {
    /// Asks a node to start it, if there is one that can.
    pub(super) fn place(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        self.node = if self.spec.shared {
            // Beside other work of the process that has created it.
            nodes.keys().find(|node| self.spec.owner.is_on(**node)).copied()
        } else {
            choose(&self.spec, nodes)
        };
        if let Some(node) = self.node.and_then(|node| nodes.get(&node)) {
            node.promise(&self.spec.placement);
        }
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
            && actor.ending.is_none()
        {
            // If that node has died meanwhile, its bundles are to be found anew.
            actor.node = nodes.contains_key(&node).then_some(node);
            actor.ask_node(out);
        }
    }

    /// The processes on a node that has ended which have created actors, detached ones aside.
    pub(in crate::gcs) fn owners_on(&self, node: NodeId) -> Vec<WorkerId> {
        let theirs = |actor: &&Actor| !actor.is_dead() && !actor.spec.detached && actor.spec.owner.is_on(node);
        let mut owners: Vec<WorkerId> = self
            .actors
            .values()
            .filter(theirs)
            .map(|actor| actor.spec.owner)
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners
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
