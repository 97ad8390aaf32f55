//! Placement groups: planned over the nodes, reserved on each, all or nothing.
//!
//! - GG-1: a group is `Created` only while every one of its bundles is reserved.
//! - GG-2: a group that cannot be placed waits, and is tried again when a node joins or resources come free.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::RayError;
use crate::gcs::state::{Asker, Node, Outbox, refuse};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::scheduling::bundles::{self, PlanError, Strategy};
use crate::scheduling::{NodeView, ResourceError, ResourceName, ResourceSet};
use crate::wire::{Frame, GcsEvent, GcsReply, GroupState};

#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<PlacementGroupId, Group>,
    names: HashMap<String, PlacementGroupId>,
    /// In the order of their creation: the first that waits is placed first.
    order: Vec<PlacementGroupId>,
}

#[derive(Debug)]
struct Group {
    name: Option<String>,
    bundles: Vec<BTreeMap<String, f64>>,
    sets: Vec<ResourceSet>,
    strategy: Strategy,
    owner: WorkerId,
    detached: bool,
    state: GroupState,
    attempt: Option<Attempt>,
    watchers: HashSet<Asker>,
}

/// Nodes that were asked to reserve, and what they have said.
#[derive(Debug)]
struct Attempt {
    nodes: Vec<NodeId>,
    open: HashSet<NodeId>,
    reserved: HashSet<NodeId>,
    refused: bool,
}

impl Group {
    fn set_state(&mut self, group: PlacementGroupId, state: GroupState, out: &mut Outbox) {
        self.state = state;
        for watcher in &self.watchers {
            out.tell(
                *watcher,
                GcsEvent::Group {
                    group,
                    state: self.state.clone(),
                },
            );
        }
    }
}

fn set_of(numbers: &BTreeMap<String, f64>) -> Result<ResourceSet, ResourceError> {
    let parsed: Result<Vec<_>, ResourceError> = numbers
        .iter()
        .map(|(name, amount)| Ok((ResourceName::parse(name)?, *amount)))
        .collect();
    ResourceSet::from_f64(parsed?)
}

fn views(nodes: &BTreeMap<NodeId, Node>) -> Vec<NodeView> {
    let view = |(id, node): (&NodeId, &Node)| {
        NodeView::new(*id, &set_of(&node.total).ok()?, &set_of(&node.available).ok()?).ok()
    };
    nodes.iter().filter_map(view).collect()
}

impl Groups {
    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    pub(super) fn create(
        &mut self,
        asker: Asker,
        id: PlacementGroupId,
        name: Option<String>,
        bundles: Vec<BTreeMap<String, f64>>,
        strategy: &str,
        detached: bool,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) -> GcsReply {
        let refused = |why: String| {
            refuse(RayError::PlacementGroup {
                group: id.to_string(),
                why,
            })
        };
        if let Some(existing) = self.groups.get(&id) {
            return GcsReply::Group {
                group: id,
                state: existing.state.clone(),
            };
        }
        let Some(strategy) = strategy_of(strategy) else {
            return refused(format!(
                "`{strategy}` is no strategy: use PACK, SPREAD, STRICT_PACK or STRICT_SPREAD"
            ));
        };
        let sets: Result<Vec<ResourceSet>, ResourceError> = bundles.iter().map(set_of).collect();
        let sets = match sets {
            Ok(sets) => sets,
            Err(error) => return refused(error.to_string()),
        };
        if sets.is_empty() || sets.iter().any(ResourceSet::is_empty) {
            return refused("it needs at least one bundle, and each bundle a resource above zero".into());
        }
        if let Some(name) = &name {
            if self.names.contains_key(name) {
                return refused(format!("the name `{name}` is taken"));
            }
            self.names.insert(name.clone(), id);
        }
        let state = GroupState::Pending {
            why: "it was just created".into(),
        };
        let watchers = HashSet::from([asker]);
        let owner = asker.worker;
        let group = Group {
            name,
            bundles,
            sets,
            strategy,
            owner,
            detached,
            state,
            attempt: None,
            watchers,
        };
        self.groups.insert(id, group);
        self.order.push(id);
        self.place(id, nodes, out);
        let state = self
            .groups
            .get(&id)
            .map_or(GroupState::Removed {}, |group| group.state.clone());
        GcsReply::Group { group: id, state }
    }

    fn place(&mut self, id: PlacementGroupId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.attempt.is_some() || matches!(group.state, GroupState::Created { .. } | GroupState::Removed {}) {
            return;
        }
        match bundles::plan(&views(nodes), &group.sets, group.strategy) {
            Ok(chosen) => {
                let open: HashSet<NodeId> = chosen.iter().copied().collect();
                for node in &open {
                    let of_node = (0..)
                        .zip(&chosen)
                        .zip(&group.bundles)
                        .filter(|((_, at), _)| *at == node);
                    let bundles = of_node.map(|((index, _), bundle)| (index, bundle.clone())).collect();
                    out.send(*node, Frame::ReserveBundles { group: id, bundles });
                }
                group.attempt = Some(Attempt {
                    nodes: chosen,
                    open,
                    reserved: HashSet::new(),
                    refused: false,
                });
            }
            Err(error @ PlanError::Unavailable) => {
                group.set_state(id, GroupState::Pending { why: error.to_string() }, out);
            }
            Err(error) => group.set_state(id, GroupState::Infeasible { why: error.to_string() }, out),
        }
    }

    /// GG-2.
    pub(super) fn place_waiting(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        for id in self.order.clone() {
            self.place(id, nodes, out);
        }
    }

    /// A node has answered.
    pub(super) fn reserved(
        &mut self,
        id: PlacementGroupId,
        node: NodeId,
        reserved: bool,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            // It was removed meanwhile.
            if reserved {
                out.send(node, Frame::ReleaseBundles { group: id });
            }
            return;
        };
        let Some(attempt) = &mut group.attempt else { return };
        attempt.open.remove(&node);
        if reserved {
            attempt.reserved.insert(node);
        } else {
            attempt.refused = true;
        }
        if !attempt.open.is_empty() {
            return;
        }
        let Some(attempt) = group.attempt.take() else { return };
        if attempt.refused {
            // GG-1: all or nothing. Nodes report what is free, and the group is tried again then.
            for node in attempt.reserved {
                out.send(node, Frame::ReleaseBundles { group: id });
            }
            group.set_state(
                id,
                GroupState::Pending {
                    why: "a node's resources were taken meanwhile".into(),
                },
                out,
            );
        } else {
            group.set_state(id, GroupState::Created { nodes: attempt.nodes }, out);
        }
        let _ = nodes;
    }

    pub(super) fn remove(&mut self, id: PlacementGroupId, out: &mut Outbox) -> GcsReply {
        let Some(mut group) = self.groups.remove(&id) else {
            return GcsReply::Changed { changed: false };
        };
        self.order.retain(|other| *other != id);
        if let Some(name) = &group.name {
            self.names.remove(name);
        }
        let placed = match &group.state {
            GroupState::Created { nodes } => nodes.iter().copied().collect(),
            _ => HashSet::new(),
        };
        for node in placed {
            out.send(node, Frame::ReleaseBundles { group: id });
        }
        group.set_state(id, GroupState::Removed {}, out);
        GcsReply::Changed { changed: true }
    }

    pub(super) fn watch(&mut self, asker: Asker, id: PlacementGroupId) -> GcsReply {
        match self.groups.get_mut(&id) {
            Some(group) => {
                group.watchers.insert(asker);
                GcsReply::Group {
                    group: id,
                    state: group.state.clone(),
                }
            }
            None => GcsReply::Group {
                group: id,
                state: GroupState::Removed {},
            },
        }
    }

    pub(super) fn find(&self, name: &str) -> GcsReply {
        match self.names.get(name).and_then(|id| Some((*id, self.groups.get(id)?))) {
            Some((group, found)) => GcsReply::Group {
                group,
                state: found.state.clone(),
            },
            None => refuse(RayError::PlacementGroup {
                group: name.to_owned(),
                why: "no group has this name".into(),
            }),
        }
    }

    pub(super) fn owner_ended(&mut self, owner: WorkerId, out: &mut Outbox) {
        let ended = self
            .groups
            .iter()
            .filter(|(_, group)| group.owner == owner && !group.detached);
        let ended: Vec<PlacementGroupId> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            self.remove(id, out);
        }
        for group in self.groups.values_mut() {
            group.watchers.retain(|watcher| watcher.worker != owner);
        }
    }
}

fn strategy_of(text: &str) -> Option<Strategy> {
    Some(match text {
        "PACK" => Strategy::Pack,
        "SPREAD" => Strategy::Spread,
        "STRICT_PACK" => Strategy::StrictPack,
        "STRICT_SPREAD" => Strategy::StrictSpread,
        _ => return None,
    })
}
