//! Placement groups: planned over the nodes, reserved on each, all or nothing.
//!
//! - GG-1: a group is `Created` only while every one of its bundles is reserved.
//! - GG-2: a group that cannot be placed waits, and is tried again when a node joins or resources come free.
//! - GG-3: one that fits a single node, but not what is free there, waits in that node's line of requests, as one for all of
//!   it: so neither tasks nor other groups keep it waiting for ever, and as it gets all or nothing there, two groups never
//!   wait for what the other one has. Nothing is held back for groups that need several nodes.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::RayError;
use crate::gcs::state::{Asker, Node, Outbox, refuse};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::scheduling::bundles::{self, PlanError, Strategy};
use crate::scheduling::{NodeView, ResourceError, ResourceName, ResourceSet};
use crate::wire::{Frame, GcsEvent, GcsReply, GroupInfo, GroupState};

#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<PlacementGroupId, Group>,
    /// By namespace and name.
    names: HashMap<(String, String), PlacementGroupId>,
    /// In the order of their creation: the first that waits is placed first.
    order: Vec<PlacementGroupId>,
}

/// What a request for a group says.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Its namespace and its name.
    pub(super) name: Option<(String, String)>,
    pub(super) bundles: Vec<BTreeMap<String, f64>>,
    pub(super) strategy: String,
    /// With whose end it is removed, unless it is detached.
    pub(super) owner: WorkerId,
    pub(super) detached: bool,
}

#[derive(Debug)]
struct Group {
    wanted: Wanted,
    sets: Vec<ResourceSet>,
    strategy: Strategy,
    state: GroupState,
    attempt: Option<Attempt>,
    watchers: HashSet<Asker>,
    /// Nodes with requests that wait for it.
    wanted_by: HashSet<NodeId>,
}

/// Nodes that were asked to reserve, and what they have said.
#[derive(Debug)]
struct Attempt {
    nodes: Vec<NodeId>,
    open: HashSet<NodeId>,
    reserved: HashSet<NodeId>,
    refused: bool,
    /// It waits in the line of its node (GG-3).
    waits: bool,
}

impl Group {
    /// GG-3.
    fn wait_in_line(&mut self, group: PlacementGroupId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let later = bundles::plan(&views(nodes, true), &self.sets, self.strategy);
        if let Ok(chosen) = later
            && chosen.windows(2).all(|pair| pair[0] == pair[1])
        {
            self.ask(group, chosen, true, out);
        }
    }

    /// Asks the chosen nodes to set the bundles aside.
    fn ask(&mut self, group: PlacementGroupId, chosen: Vec<NodeId>, waits: bool, out: &mut Outbox) {
        let open: HashSet<NodeId> = chosen.iter().copied().collect();
        for node in &open {
            let of_node = (0..)
                .zip(&chosen)
                .zip(&self.wanted.bundles)
                .filter(|((_, at), _)| *at == node);
            let bundles = of_node.map(|((index, _), bundle)| (index, bundle.clone())).collect();
            let frame = Frame::ReserveBundles {
                group,
                bundles,
                wait: waits,
            };
            out.send(*node, frame);
        }
        self.attempt = Some(Attempt {
            nodes: chosen,
            open,
            reserved: HashSet::new(),
            refused: false,
            waits,
        });
    }

    fn set_state(&mut self, group: PlacementGroupId, state: GroupState, out: &mut Outbox) {
        if self.state == state {
            return;
        }
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
        for node in &self.wanted_by {
            out.send(*node, self.stands(group));
        }
    }

    fn stands(&self, group: PlacementGroupId) -> Frame {
        Frame::GroupStands {
            group,
            bundles: u32::try_from(self.sets.len()).unwrap_or(u32::MAX),
            state: self.state.clone(),
        }
    }

    fn info(&self, group: PlacementGroupId) -> GroupInfo {
        let wanted = &self.wanted;
        GroupInfo {
            group,
            name: wanted.name.as_ref().map(|(_, name)| name.clone()),
            bundles: wanted.bundles.clone(),
            strategy: wanted.strategy.clone(),
            detached: wanted.detached,
            state: self.state.clone(),
        }
    }
}

/// What is told of a group that is not known any more.
fn gone(group: PlacementGroupId) -> GroupInfo {
    GroupInfo {
        group,
        name: None,
        bundles: Vec::new(),
        strategy: String::new(),
        detached: false,
        state: GroupState::Removed {},
    }
}

fn set_of(numbers: &BTreeMap<String, f64>) -> Result<ResourceSet, ResourceError> {
    let parsed: Result<Vec<_>, ResourceError> = numbers
        .iter()
        .map(|(name, amount)| Ok((ResourceName::parse(name)?, *amount)))
        .collect();
    ResourceSet::from_f64(parsed?)
}

/// The nodes as they are, or as they will be when nothing runs there.
fn views(nodes: &BTreeMap<NodeId, Node>, empty: bool) -> Vec<NodeView> {
    let view = |(id, node): (&NodeId, &Node)| {
        let free = if empty { &node.total } else { &node.available };
        NodeView::new(*id, &set_of(&node.total).ok()?, &set_of(free).ok()?).ok()
    };
    nodes.iter().filter_map(view).collect()
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
        let (strategy, sets) = match understood(&wanted) {
            Ok(understood) => understood,
            Err(why) => {
                let group = wanted.name.map_or_else(|| id.to_string(), |(_, name)| name);
                return refuse(RayError::PlacementGroup { group, why });
            }
        };
        if let Some(name) = &wanted.name {
            if self.names.contains_key(name) {
                return refuse(RayError::PlacementGroup {
                    group: name.1.clone(),
                    why: "the name is taken by a group that was not removed: choose another".into(),
                });
            }
            self.names.insert(name.clone(), id);
        }
        let group = Group {
            wanted,
            sets,
            strategy,
            state: GroupState::Pending {
                why: "its nodes are asked to reserve its bundles".into(),
            },
            attempt: None,
            watchers: HashSet::from([asker]),
            wanted_by: HashSet::new(),
        };
        self.groups.insert(id, group);
        self.order.push(id);
        self.place(id, nodes, out);
        let info = self.groups.get(&id).map_or_else(|| gone(id), |group| group.info(id));
        GcsReply::Group { info }
    }

    fn place(&mut self, id: PlacementGroupId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.attempt.is_some() || matches!(group.state, GroupState::Created { .. } | GroupState::Removed {}) {
            return;
        }
        match bundles::plan(&views(nodes, false), &group.sets, group.strategy) {
            Ok(chosen) => group.ask(id, chosen, false, out),
            Err(error @ PlanError::Unavailable) => {
                group.set_state(id, GroupState::Pending { why: error.to_string() }, out);
                group.wait_in_line(id, nodes, out);
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
        (node, reserved): (NodeId, bool),
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
            // GG-1: all or nothing.
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
            // Nodes that are busy without a pause may never tell of anything that came free.
            if !attempt.waits {
                group.wait_in_line(id, nodes, out);
            }
        } else {
            group.set_state(id, GroupState::Created { nodes: attempt.nodes }, out);
        }
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
            (_, Some(attempt)) if attempt.waits => attempt.open.clone(),
            _ => HashSet::new(),
        };
        for node in placed {
            out.send(node, Frame::ReleaseBundles { group: id });
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
                bundles: 0,
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

/// The strategy and the bundles of a request, or what is wrong with them.
fn understood(wanted: &Wanted) -> Result<(Strategy, Vec<ResourceSet>), String> {
    let strategy = Strategy::named(&wanted.strategy).ok_or_else(|| {
        format!(
            "`{}` is no strategy: use PACK, SPREAD, STRICT_PACK or STRICT_SPREAD",
            wanted.strategy
        )
    })?;
    let sets = wanted
        .bundles
        .iter()
        .enumerate()
        .map(|(index, bundle)| set_of(bundle).map_err(|reason| PlanError::BadBundle { index, reason }));
    let sets = sets.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    bundles::check(&sets).map_err(|error| error.to_string())?;
    Ok((strategy, sets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcs::Gcs;
    use crate::gcs::state::Effect;
    use crate::wire::GcsRequest;

    const OWNER: WorkerId = WorkerId::from_bytes([7; 16]);

    /// A GCS with these nodes, of so many CPUs each.
    fn cluster(cpus: &[f64]) -> (Gcs, Vec<NodeId>) {
        let mut gcs = Gcs::new();
        let nodes: Vec<NodeId> = cpus.iter().map(|_| NodeId::random()).collect();
        for (node, cpus) in nodes.iter().zip(cpus) {
            let resources = BTreeMap::from([("CPU".to_owned(), *cpus)]);
            gcs.handle(*node, Frame::RegisterNode { node: *node, resources });
        }
        (gcs, nodes)
    }

    fn create(gcs: &mut Gcs, via: NodeId, bundles: usize, strategy: &str) -> (PlacementGroupId, Vec<Effect>) {
        let group = PlacementGroupId::random();
        let body = GcsRequest::CreateGroup {
            group,
            name: None,
            namespace: "n".into(),
            bundles: vec![BTreeMap::from([("CPU".to_owned(), 1.0)]); bundles],
            strategy: strategy.into(),
            owner: OWNER,
            detached: false,
        };
        let frame = Frame::GcsRequest {
            request: 1,
            from: OWNER,
            body: Box::new(body),
        };
        (group, gcs.handle(via, frame))
    }

    /// The frames of some effects that are about groups, shortened.
    fn seen(effects: &[Effect]) -> Vec<(NodeId, String)> {
        let short = |frame: &Frame| match frame {
            Frame::ReserveBundles { bundles, .. } => Some(format!("reserve {}", bundles.len())),
            Frame::ReleaseBundles { .. } => Some("release".to_owned()),
            Frame::GcsEvent { event, .. } => match &**event {
                GcsEvent::Group { state, .. } => Some(short_state(state).to_owned()),
                GcsEvent::Actor { .. } => None,
            },
            Frame::GroupStands { bundles, state, .. } => Some(format!("stands {bundles} {}", short_state(state))),
            _ => None,
        };
        let mut seen: Vec<_> = effects
            .iter()
            .filter_map(|Effect::Send { node, frame }| Some((*node, short(frame)?)))
            .collect();
        seen.sort();
        seen
    }

    fn short_state(state: &GroupState) -> &'static str {
        match state {
            GroupState::Pending { .. } => "pending",
            GroupState::Created { .. } => "created",
            GroupState::Removed {} => "removed",
            GroupState::Infeasible { .. } => "infeasible",
        }
    }

    fn free(gcs: &mut Gcs, node: NodeId, cpus: f64) -> Vec<Effect> {
        let available = BTreeMap::from([("CPU".to_owned(), cpus)]);
        gcs.handle(node, Frame::NodeResources { available })
    }

    #[test]
    fn gg1_a_node_that_refuses_undoes_the_others() {
        let (mut gcs, nodes) = cluster(&[1.0, 1.0]);
        let (group, effects) = create(&mut gcs, nodes[0], 2, "STRICT_SPREAD");
        assert_eq!(seen(&effects).len(), 2);
        let answer = |gcs: &mut Gcs, node: usize, reserved: bool| {
            gcs.handle(nodes[node], Frame::BundlesReserved { group, reserved })
        };
        assert!(seen(&answer(&mut gcs, 0, true)).is_empty());
        // The refusing node has told before what it has.
        free(&mut gcs, nodes[1], 0.0);
        let undone = seen(&answer(&mut gcs, 1, false));
        assert!(
            undone.contains(&(nodes[0], "release".to_owned())) && undone.contains(&(nodes[0], "pending".to_owned()))
        );
        // GG-2: it is tried again when there is room.
        // Still waiting, for another reason.
        assert_eq!(seen(&free(&mut gcs, nodes[0], 1.0)), [(nodes[0], "pending".to_owned())]);
        let again = seen(&free(&mut gcs, nodes[1], 1.0));
        assert_eq!(again.iter().filter(|(_, what)| what == "reserve 1").count(), 2);
        answer(&mut gcs, 0, true);
        assert_eq!(seen(&answer(&mut gcs, 1, true)), [(nodes[0], "created".to_owned())]);
    }

    #[test]
    fn a_group_that_is_removed_while_it_is_reserved_is_released() {
        let (mut gcs, nodes) = cluster(&[2.0]);
        let (group, _) = create(&mut gcs, nodes[0], 2, "PACK");
        let remove = Frame::GcsRequest {
            request: 2,
            from: OWNER,
            body: Box::new(GcsRequest::RemoveGroup { group }),
        };
        assert_eq!(seen(&gcs.handle(nodes[0], remove)), [(nodes[0], "removed".to_owned())]);
        let late = gcs.handle(nodes[0], Frame::BundlesReserved { group, reserved: true });
        assert_eq!(seen(&late), [(nodes[0], "release".to_owned())]);
    }

    #[test]
    fn gg3_a_group_waits_in_the_line_of_its_node_until_it_is_placed_or_removed() {
        let (mut gcs, nodes) = cluster(&[2.0]);
        free(&mut gcs, nodes[0], 1.0);
        let waits = |effects: &[Effect]| {
            let waits = |Effect::Send { frame, .. }: &Effect| matches!(frame, Frame::ReserveBundles { wait: true, .. });
            effects.iter().any(waits)
        };
        let (first, effects) = create(&mut gcs, nodes[0], 2, "PACK");
        assert!(waits(&effects));
        // The node knows best when there is room.
        assert!(seen(&free(&mut gcs, nodes[0], 2.0)).is_empty());
        let answer = Frame::BundlesReserved {
            group: first,
            reserved: true,
        };
        assert_eq!(seen(&gcs.handle(nodes[0], answer)), [(nodes[0], "created".to_owned())]);

        free(&mut gcs, nodes[0], 0.0);
        let (second, effects) = create(&mut gcs, nodes[0], 1, "STRICT_PACK");
        assert!(waits(&effects));
        let remove = Frame::GcsRequest {
            request: 2,
            from: OWNER,
            body: Box::new(GcsRequest::RemoveGroup { group: second }),
        };
        let told = seen(&gcs.handle(nodes[0], remove));
        assert_eq!(
            told,
            [(nodes[0], "release".to_owned()), (nodes[0], "removed".to_owned())]
        );
    }

    #[test]
    fn gg3_a_group_that_its_node_has_refused_waits_there_although_nothing_comes_free() {
        let (mut gcs, nodes) = cluster(&[2.0]);
        let (group, effects) = create(&mut gcs, nodes[0], 2, "PACK");
        assert_eq!(seen(&effects), [(nodes[0], "reserve 2".to_owned())]);
        // Tasks were faster. From now on the node always has other work, and nothing new to tell.
        free(&mut gcs, nodes[0], 0.0);
        let refusal = Frame::BundlesReserved { group, reserved: false };
        let effects = gcs.handle(nodes[0], refusal);
        let waits = |Effect::Send { frame, .. }: &Effect| matches!(frame, Frame::ReserveBundles { wait: true, .. });
        assert!(effects.iter().any(waits), "{effects:?}");
    }

    #[test]
    fn nothing_is_held_back_for_a_group_of_several_nodes() {
        let (mut gcs, nodes) = cluster(&[1.0, 1.0]);
        free(&mut gcs, nodes[1], 0.0);
        let (_, effects) = create(&mut gcs, nodes[0], 2, "STRICT_SPREAD");
        assert_eq!(seen(&effects), [(nodes[0], "pending".to_owned())]);
    }

    #[test]
    fn watchers_hear_of_changes_only_and_nodes_get_the_truth_of_groups_that_are_gone() {
        let (mut gcs, nodes) = cluster(&[1.0]);
        let (group, effects) = create(&mut gcs, nodes[0], 2, "PACK");
        assert_eq!(seen(&effects), [(nodes[0], "infeasible".to_owned())]);
        assert!(seen(&free(&mut gcs, nodes[0], 0.5)).is_empty());
        let wanted = |gcs: &mut Gcs, group| seen(&gcs.handle(nodes[0], Frame::GroupWanted { group }));
        assert_eq!(wanted(&mut gcs, group), [(nodes[0], "stands 2 infeasible".to_owned())]);
        // Its owner ends: the node that has requests for it hears of it too.
        let ended = gcs.handle(
            nodes[0],
            Frame::WorkerEnded {
                worker: OWNER,
                actor: None,
                cause: crate::wire::DeathCause::Intended {},
            },
        );
        assert!(seen(&ended).contains(&(nodes[0], "stands 2 removed".to_owned())));
        assert_eq!(wanted(&mut gcs, group), [(nodes[0], "stands 0 removed".to_owned())]);
    }
}
