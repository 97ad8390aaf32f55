//! Requests that wait for a placement group, and the GCS's word of how it stands (RG-1).

use std::collections::BTreeMap;

use super::super::actors::shown_name;
use super::super::requests::{Asked, For};
use super::super::{Effect, Effects, State};
use super::is_within;
use crate::error::RayError;
use crate::ids::{NodeId, PlacementGroupId};
use crate::scheduling::queue::LeaseRequest;
use crate::scheduling::{ResourceSet, Shortfall};
use crate::wire::{Frame, GroupState};

/// How a group stands, by the last word of the GCS.
#[derive(Debug)]
pub(super) struct Standing {
    /// What each bundle holds.
    bundles: Vec<ResourceSet>,
    state: GroupState,
}

/// Why a request will never find room in its group.
enum Hopeless {
    NoSuchBundle { index: u32, bundles: u32 },
    TooLarge(Shortfall),
}

impl Hopeless {
    fn error(self, group: PlacementGroupId, asked: &For) -> RayError {
        match self {
            Self::NoSuchBundle { index, bundles } => {
                let last = bundles.saturating_sub(1);
                RayError::PlacementGroup {
                    group: group.to_string(),
                    why: format!("it has no bundle {index}: its bundles are 0 to {last}"),
                }
            }
            Self::TooLarge(shortfall) => RayError::Unschedulable {
                name: match asked {
                    For::Owner(Asked { shape, .. }) => shape.name.clone(),
                    For::Actor { spec, .. } => shown_name(spec),
                },
                why: format!("placement group {group} has no bundle that can ever hold it: {shortfall}"),
            },
        }
    }
}

impl State {
    /// RG-1: a request waits for a group, or for more than it has.
    pub(in crate::raylet::state) fn ask_for_group(&mut self, group: PlacementGroupId, out: &mut Effects) {
        match self.groups.asked.get(&group) {
            None => {
                self.groups.asked.insert(group, None);
                out.push(Effect::ToGcs(Frame::GroupWanted { group }));
            }
            // The answer is on its way.
            Some(None) => {}
            Some(Some(_)) => self.judge(group, out),
        }
    }

    /// The GCS tells how a group stands.
    pub(in crate::raylet::state) fn group_stands(
        &mut self,
        group: PlacementGroupId,
        bundles: &[BTreeMap<String, f64>],
        state: GroupState,
        out: &mut Effects,
    ) {
        if state == (GroupState::Removed {}) {
            self.refuse_all(group, out);
            return;
        }
        let sets = bundles
            .iter()
            .map(|bundle| ResourceSet::from_numbers(bundle).unwrap_or_default());
        let bundles = sets.collect();
        self.groups.asked.insert(group, Some(Standing { bundles, state }));
        self.judge(group, out);
    }

    /// RG-1: refuses what will never find room in the group, and sends on what has its bundle on another node.
    fn judge(&mut self, group: PlacementGroupId, out: &mut Effects) {
        let Some(Some(Standing { bundles, state })) = self.groups.asked.get(&group) else {
            return;
        };
        let nodes = match state {
            GroupState::Created { nodes } => nodes.as_slice(),
            _ => &[],
        };
        let count = u32::try_from(bundles.len()).unwrap_or(u32::MAX);
        let (mut hopeless, mut elsewhere) = (Vec::new(), Vec::new());
        for (request, shortfall) in self.queue.infeasible() {
            let Some(target) = request.shape.bundle().filter(|target| target.group == group) else {
                continue;
            };
            if let Some(index) = target.index.filter(|index| *index >= count) {
                let why = Hopeless::NoSuchBundle { index, bundles: count };
                hopeless.push((request.clone(), why));
                continue;
            }
            if nodes.is_empty() {
                continue;
            }
            // The bundles that can ever hold it, those of other nodes: those here cannot, or it would not be infeasible.
            let named = |index: usize| target.index.is_none_or(|wanted| wanted as usize == index);
            let holds = |index: &usize| {
                named(*index)
                    && bundles
                        .get(*index)
                        .is_some_and(|it| it.holds(request.shape.resources()))
            };
            let places: Vec<NodeId> = (0..bundles.len())
                .filter(holds)
                .filter_map(|index| nodes.get(index).copied())
                .filter(|at| *at != self.node)
                .collect();
            // Any will do: they take turns.
            let turn = usize::try_from(request.id).unwrap_or(0) % places.len().max(1);
            match places.get(turn) {
                Some(at) => elsewhere.push((request.clone(), *at)),
                None => hopeless.push((request.clone(), Hopeless::TooLarge(shortfall.clone()))),
            }
        }
        for (request, at) in elsewhere {
            self.bundle_is_elsewhere(&request, at, out);
        }
        for (request, why) in hopeless {
            self.queue.cancel(request.requester, request.id);
            if let Some(asked) = self.who_asked(&request) {
                let error = why.error(group, &asked);
                asked.refuse(error, out);
            }
        }
    }

    /// A request for a bundle that another node has. A guest's own node is to see to that.
    fn bundle_is_elsewhere(&mut self, request: &LeaseRequest, at: NodeId, out: &mut Effects) {
        if self.is_guest(request.requester) {
            self.cancel_request(request.requester, request.id);
            let frame = Frame::AskAgain { request: request.id };
            let to = request.requester;
            return out.push(Effect::Send { to, frame });
        }
        self.queue.cancel(request.requester, request.id);
        match self.who_asked(request) {
            Some(For::Owner(Asked {
                requester,
                request,
                shape,
            })) => self.visit_for_lease(at, requester, request, shape, out),
            Some(For::Actor { spec, .. }) => {
                let actor = spec.actor;
                out.push(Effect::ToGcs(Frame::ActorBelongs { actor, node: at }));
            }
            None => {}
        }
    }

    /// The group is gone: what waits for it never runs.
    pub(super) fn refuse_all(&mut self, group: PlacementGroupId, out: &mut Effects) {
        self.groups.asked.remove(&group);
        let error = RayError::PlacementGroup {
            group: group.to_string(),
            why: "it was removed".into(),
        };
        let waiting: Vec<LeaseRequest> = self.queue.group_removed(group);
        for request in waiting {
            if let Some(asked) = self.who_asked(&request) {
                asked.refuse(error.clone(), out);
            }
        }
        // Some have their resources, and wait for a worker to come up.
        for asked in self.take_back(|granted| is_within(&granted.allocation, group)) {
            asked.refuse(error.clone(), out);
        }
    }
}
