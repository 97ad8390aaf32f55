//! The state machine: a frame from a node in, frames to nodes out.

use std::collections::BTreeMap;

use crate::error::RayError;
use crate::gcs::actors::Actors;
use crate::gcs::groups::{Groups, Wanted};
use crate::gcs::jobs::Jobs;
use crate::gcs::kv::KeyValues;
use crate::gcs::nodes::{Node, Nodes};
use crate::ids::{NodeId, WorkerId};
use crate::wire::{Frame, GcsEvent, GcsReply, GcsRequest};

/// What the GCS wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send this frame to the raylet of a node.
    Send {
        /// The node.
        node: NodeId,
        /// The frame.
        frame: Frame,
    },
}

/// Who asked, and through which node the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    pub(super) worker: WorkerId,
}

/// All that the cluster must remember.
#[derive(Debug, Default)]
pub struct Gcs {
    pub(super) nodes: Nodes,
    actors: Actors,
    groups: Groups,
    jobs: Jobs,
    kv: KeyValues,
}

/// Collects what one event causes.
#[derive(Debug, Default)]
pub(super) struct Outbox(pub(super) Vec<Effect>);

impl Outbox {
    pub(super) fn send(&mut self, node: NodeId, frame: Frame) {
        self.0.push(Effect::Send { node, frame });
    }

    pub(super) fn tell(&mut self, asker: Asker, event: GcsEvent) {
        self.send(
            asker.node,
            Frame::GcsEvent {
                to: asker.worker,
                event: Box::new(event),
            },
        );
    }
}

impl Gcs {
    /// A GCS that remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one frame from a node and says what follows from it.
    pub fn handle(&mut self, node: NodeId, frame: Frame) -> Vec<Effect> {
        let mut out = Outbox::default();
        if !matches!(frame, Frame::RegisterNode { .. }) && !self.nodes.living.contains_key(&node) {
            // GN-1.
            return Vec::new();
        }
        match frame {
            Frame::RegisterNode { info } => {
                if !self.nodes.register(*info, &mut out) {
                    return Vec::new();
                }
                self.actors.place_waiting(&self.nodes.living, &mut out);
                self.groups.place_waiting(&self.nodes.living, &mut out);
            }
            Frame::NodeResources { available } => {
                self.nodes.set_available(node, available, &mut out);
                self.groups.place_waiting(&self.nodes.living, &mut out);
            }
            Frame::GcsRequest { request, from, body } => {
                let asker = Asker { node, worker: from };
                let reply = self.answer(asker, *body, &mut out);
                if request != 0 {
                    out.send(
                        node,
                        Frame::GcsReply {
                            request,
                            to: from,
                            body: Box::new(reply),
                        },
                    );
                }
            }
            Frame::ActorStarted {
                actor,
                worker,
                pid,
                error,
            } => {
                self.actors.started(actor, node, (worker, pid), error, &mut out);
            }
            Frame::WorkerEnded { worker, actor, cause } => {
                if let Some(actor) = actor {
                    self.actors.worker_ended(actor, &cause, &self.nodes.living, &mut out);
                }
                self.actors.owner_ended(worker, &mut out);
                self.actors.forget_watcher(worker);
                self.groups.owner_ended(worker, &mut out);
            }
            Frame::NodeUnreachable { node: other, why } => {
                return match self.nodes.to_give_up(node, other) {
                    Some(victim) => {
                        let why = format!("between nodes {node} and {other}: {why}");
                        let mut effects = self.node_lost(victim, &why);
                        let frame = Frame::NodeLeft { node: victim, why };
                        effects.push(Effect::Send { node: victim, frame });
                        effects
                    }
                    None => Vec::new(),
                };
            }
            Frame::ActorBelongs { actor, node } => self.actors.belongs(actor, node, &self.nodes.living, &mut out),
            Frame::BundlesReserved { group, reserved } => {
                self.groups
                    .reserved(group, (node, reserved), &self.nodes.living, &mut out);
            }
            Frame::GroupWanted { group } => self.groups.wanted_by(node, group, &mut out),
            Frame::AddJob { driver, namespace } => self.jobs.add(node, driver, namespace, &mut out),
            // The raylet has said before that its process has ended.
            Frame::JobEnded { job } => drop(self.jobs.driver_gone(job)),
            other => tracing::warn!(target: "ray_core::gcs", ?other, "a frame that the GCS does not take"),
        }
        self.settle(out)
    }

    /// A node is dead, or cut off, which is the same.
    pub fn node_lost(&mut self, node: NodeId, why: &str) -> Vec<Effect> {
        let mut out = Outbox::default();
        if !self.nodes.lost(node, why, &mut out) {
            return Vec::new();
        }
        self.actors.node_lost(node, &self.nodes.living, &mut out);
        for owner in self.actors.owners_on(node) {
            self.actors.owner_ended(owner, &mut out);
        }
        self.groups.node_lost(node, &self.nodes.living, &mut out);
        for job in self.jobs.of_node(node) {
            if let Some(driver) = self.jobs.driver_gone(job) {
                self.actors.owner_ended(driver, &mut out);
                self.groups.owner_ended(driver, &mut out);
            }
        }
        self.settle(out)
    }

    /// What may follow from any event.
    fn settle(&mut self, mut out: Outbox) -> Vec<Effect> {
        self.actors.place_heirs(&self.nodes.living, &mut out);
        self.jobs.end_over(&mut self.actors, &self.nodes.living, &mut out);
        out.0
    }

    fn answer(&mut self, asker: Asker, request: GcsRequest, out: &mut Outbox) -> GcsReply {
        match request {
            GcsRequest::CreateActor { spec, get_if_exists } => {
                self.actors.create(asker, spec, get_if_exists, &self.nodes.living, out)
            }
            GcsRequest::FindActor { name, namespace } => self.actors.find(&name, &namespace),
            GcsRequest::WatchActor { actor } => self.actors.watch(asker, actor),
            GcsRequest::KillActor { actor, no_restart } => self.actors.kill(actor, no_restart, out),
            GcsRequest::ActorOutOfScope { actor } => self.actors.out_of_scope(actor, out),
            GcsRequest::ActorSaved { actor, saves } => self.actors.saved(actor, saves),
            GcsRequest::ListActors {} => GcsReply::Actors {
                actors: self.actors.list(),
            },
            GcsRequest::CreateGroup {
                group,
                name,
                namespace,
                bundles,
                strategy,
                owner,
                detached,
            } => {
                let wanted = Wanted {
                    name: name.map(|name| (namespace, name)),
                    bundles,
                    strategy,
                    owner,
                    detached,
                };
                self.groups.create(asker, group, wanted, &self.nodes.living, out)
            }
            GcsRequest::RemoveGroup { group } => self.groups.remove(group, out),
            GcsRequest::WatchGroup { group } => self.groups.watch(asker, group),
            GcsRequest::FindGroup { name, namespace } => self.groups.find(namespace, name),
            GcsRequest::ListGroups {} => GcsReply::Groups {
                groups: self.groups.list(),
            },
            GcsRequest::KvPut { key, value, overwrite } => self.kv.put(key, value, overwrite),
            GcsRequest::KvGet { key } => GcsReply::Value {
                value: self.kv.get(&key),
            },
            GcsRequest::KvDelete { key } => GcsReply::Changed {
                changed: self.kv.delete(&key),
            },
            GcsRequest::KvKeys { prefix } => GcsReply::Keys {
                keys: self.kv.keys(&prefix),
            },
            GcsRequest::ListNodes {} => GcsReply::Nodes {
                nodes: self.nodes.list(),
            },
            GcsRequest::ClusterResources {} => {
                let sum = |part: fn(&Node) -> &BTreeMap<String, f64>| {
                    let mut sum = BTreeMap::<String, f64>::new();
                    for (name, amount) in self.nodes.living.values().flat_map(part) {
                        *sum.entry(name.clone()).or_default() += amount;
                    }
                    sum
                };
                GcsReply::Resources {
                    total: sum(Node::total),
                    available: sum(|node| &node.available),
                }
            }
        }
    }
}

pub(super) fn refuse(error: RayError) -> GcsReply {
    GcsReply::Failed { error }
}
