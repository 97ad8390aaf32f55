//! One placement group: what was asked for, how it stands, and who is told.

use std::collections::{BTreeMap, HashSet};

use super::attempt::Attempt;
use crate::error::RayError;
use crate::gcs::state::{Asker, Outbox};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::scheduling::ResourceSet;
use crate::scheduling::bundles::{self, PlanError, Strategy};
use crate::wire::{Frame, GcsEvent, GroupInfo, GroupState};

/// What a request for a group says.
#[derive(Debug)]
pub(in crate::gcs) struct Wanted {
    /// Its namespace and its name.
    pub(in crate::gcs) name: Option<(String, String)>,
    pub(in crate::gcs) bundles: Vec<BTreeMap<String, f64>>,
    pub(in crate::gcs) strategy: String,
    /// With whose end it is removed, unless it is detached.
    pub(in crate::gcs) owner: WorkerId,
    pub(in crate::gcs) detached: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) wanted: Wanted,
    pub(super) sets: Vec<ResourceSet>,
    pub(super) strategy: Strategy,
    pub(super) state: GroupState,
    pub(super) attempt: Option<Attempt>,
    pub(super) watchers: HashSet<Asker>,
    /// Nodes with requests that wait for it.
    pub(super) wanted_by: HashSet<NodeId>,
}

impl Group {
    /// A group that no node was asked for yet, or what is wrong with the request.
    pub(super) fn new(id: PlacementGroupId, wanted: Wanted, creator: Asker) -> Result<Self, RayError> {
        let understood = understood(&wanted).map_err(|why| RayError::PlacementGroup {
            group: wanted
                .name
                .as_ref()
                .map_or_else(|| id.to_string(), |(_, name)| name.clone()),
            why,
        });
        let (strategy, sets) = understood?;
        Ok(Self {
            wanted,
            sets,
            strategy,
            state: GroupState::Pending {
                why: "its nodes are asked to reserve its bundles".into(),
            },
            attempt: None,
            watchers: HashSet::from([creator]),
            wanted_by: HashSet::new(),
        })
    }

    /// Changes how it stands, and tells whoever wants to know.
    pub(super) fn set_state(&mut self, group: PlacementGroupId, state: GroupState, out: &mut Outbox) {
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

    pub(super) fn stands(&self, group: PlacementGroupId) -> Frame {
        Frame::GroupStands {
            group,
            bundles: self.wanted.bundles.clone(),
            state: self.state.clone(),
        }
    }

    pub(super) fn info(&self, group: PlacementGroupId) -> GroupInfo {
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
pub(super) fn gone(group: PlacementGroupId) -> GroupInfo {
    GroupInfo {
        group,
        name: None,
        bundles: Vec::new(),
        strategy: String::new(),
        detached: false,
        state: GroupState::Removed {},
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
    let sets = wanted.bundles.iter().enumerate().map(|(index, bundle)| {
        ResourceSet::from_numbers(bundle).map_err(|reason| PlanError::BadBundle { index, reason })
    });
    let sets = sets.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    bundles::check(&sets).map_err(|error| error.to_string())?;
    Ok((strategy, sets))
}
