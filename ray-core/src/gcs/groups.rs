//! Placement groups: planned over the nodes, reserved on each, all or nothing.
//!
//! - GG-1: a group is `Created` only while every one of its bundles is reserved.
//! - GG-2: a group that cannot be placed waits, and is tried again when a node joins or resources come free.
//! - GG-3: one that fits a single node, but not what is free there, waits in that node's line of requests, as one for all of
//!   it: so neither tasks nor other groups keep it waiting for ever, and as it gets all or nothing there, two groups never
//!   wait for what the other one has. Nothing is held back for groups that need several nodes.
//!
//! *Absent:* what runs in a group; each node sees to that.

mod attempt;
mod group;
mod placing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::RayError;
use crate::gcs::nodes::Node;
use crate::gcs::state::{Asker, Outbox, refuse};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::wire::{Frame, GcsReply, GroupInfo, GroupState};
pub(super) use group::Wanted;
use group::{Group, gone};

/// All groups that were not removed.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<PlacementGroupId, Group>,
    /// By namespace and name.
    names: HashMap<(String, String), PlacementGroupId>,
    /// In the order of their creation: the first that waits is placed first.
    order: Vec<PlacementGroupId>,
}

/// The order to give up bundles.
fn release(group: PlacementGroupId, removed: bool) -> Frame {
    Frame::ReleaseBundles { group, removed }
}

impl Groups {
    pub(super) fn create(
        &mut self,
        asker: Asker,
        id: PlacementGroupId,
        wanted: Wanted,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) -> GcsReply {
        if let Some(existing) = self.groups.get(&id) {
            // The same request again, after a lost connection.
            return GcsReply::Group {
                info: existing.info(id),
            };
        }
        let mut group = match Group::new(id, wanted, asker) {
            Ok(group) => group,
            Err(error) => return refuse(error),
        };
        if let Some(name) = &group.wanted.name {
            if self.names.contains_key(name) {
                return refuse(RayError::PlacementGroup {
                    group: name.1.clone(),
                    why: "the name is taken by a group that was not removed: choose another".into(),
                });
            }
            self.names.insert(name.clone(), id);
        }
        group.place(id, nodes, out);
        let info = group.info(id);
        self.groups.insert(id, group);
        self.order.push(id);
        GcsReply::Group { info }
    }

    /// GG-2.
    pub(super) fn place_waiting(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        for id in &self.order {
            if let Some(group) = self.groups.get_mut(id) {
                group.place(*id, nodes, out);
            }
        }
    }

    /// A node has answered.
    pub(super) fn reserved(
        &mut self,
        id: PlacementGroupId,
        (node, reserved): (NodeId, bool),
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            // It was removed meanwhile.
            if reserved {
                out.send(node, release(id, true));
            }
            return;
        };
        group.answered(id, (node, reserved), nodes, out);
    }

    pub(super) fn remove(&mut self, id: PlacementGroupId, out: &mut Outbox) -> GcsReply {
        let Some(mut group) = self.groups.remove(&id) else {
            return GcsReply::Changed { changed: false };
        };
        self.order.retain(|other| *other != id);
        if let Some(name) = &group.wanted.name {
            self.names.remove(name);
        }
        let placed: HashSet<NodeId> = match (&group.state, &group.attempt) {
            (GroupState::Created { nodes }, _) => nodes.iter().copied().collect(),
            // It leaves the line. What is set aside by then is released when the node says so.
            (_, Some(attempt)) => attempt
                .in_line()
                .into_iter()
                .flatten()
                .chain(&attempt.reserved)
                .copied()
                .collect(),
            _ => HashSet::new(),
        };
        for node in placed {
            out.send(node, release(id, true));
        }
        group.set_state(id, GroupState::Removed {}, out);
        GcsReply::Changed { changed: true }
    }

    pub(super) fn watch(&mut self, asker: Asker, id: PlacementGroupId) -> GcsReply {
        let info = match self.groups.get_mut(&id) {
            Some(group) => {
                group.watchers.insert(asker);
                group.info(id)
            }
            None => gone(id),
        };
        GcsReply::Group { info }
    }

    /// A node has requests that wait for the group.
    pub(super) fn wanted_by(&mut self, node: NodeId, id: PlacementGroupId, out: &mut Outbox) {
        let stands = match self.groups.get_mut(&id) {
            Some(group) => {
                group.wanted_by.insert(node);
                group.stands(id)
            }
            None => Frame::GroupStands {
                group: id,
                bundles: Vec::new(),
                state: GroupState::Removed {},
            },
        };
        out.send(node, stands);
    }

    pub(super) fn find(&self, namespace: String, name: String) -> GcsReply {
        let key = (namespace, name);
        match self.names.get(&key).and_then(|id| Some((*id, self.groups.get(id)?))) {
            Some((group, found)) => GcsReply::Group {
                info: found.info(group),
            },
            None => refuse(RayError::PlacementGroup {
                group: key.1,
                why: "no group has this name: it was never made, or was removed".into(),
            }),
        }
    }

    /// All groups, in the order of their creation.
    pub(super) fn list(&self) -> Vec<GroupInfo> {
        let infos = self.order.iter().filter_map(|id| Some(self.groups.get(id)?.info(*id)));
        infos.collect()
    }

    /// A node is dead, and with it the bundles that it had: its groups are placed anew, as a whole.
    pub(super) fn node_lost(&mut self, node: NodeId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let theirs = self
            .groups
            .iter()
            .filter(|(_, group)| group.wanted.owner.is_on(node) && !group.wanted.detached);
        let theirs: Vec<PlacementGroupId> = theirs.map(|(id, _)| *id).collect();
        for id in theirs {
            self.remove(id, out);
        }
        for id in &self.order {
            if let Some(group) = self.groups.get_mut(id) {
                group.watchers.retain(|watcher| watcher.node != node);
                group.wanted_by.remove(&node);
                group.node_lost(*id, node, nodes, out);
            }
        }
    }

    pub(super) fn owner_ended(&mut self, owner: WorkerId, out: &mut Outbox) {
        let ended = self
            .groups
            .iter()
            .filter(|(_, group)| group.wanted.owner == owner && !group.wanted.detached);
        let ended: Vec<PlacementGroupId> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            self.remove(id, out);
        }
        for group in self.groups.values_mut() {
            group.watchers.retain(|watcher| watcher.worker != owner);
        }
    }
}
