//! Placement groups on one node: bundles are set aside, requests wait for them, and what runs in a group that is removed ends.
//!
//! - RG-1: a request for a bundle that is not here waits. It is refused only on the word of the GCS: the group is removed,
//!   or has no such bundle, or is created and no bundle of it is large enough.
//! - RG-2 (`reports`): the GCS always knows what is free, or will soon.
//! - RG-3: a group that has no room yet may wait as a request for all its bundles here. It is granted in turn, as any other
//!   request is, and then its bundles are made of what was granted: between the two nobody else gets anything.

mod bundles;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::actors::ActorPlace;
use super::{Effects, State};
use crate::ids::{ActorId, PlacementGroupId, WorkerId};
use crate::scheduling::Allocation;
use crate::wire::DeathCause;
use bundles::NewBundle;
use requests::Standing;

/// The groups that the node has to do with.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The bundles that are set aside here.
    reserved: BTreeMap<PlacementGroupId, Vec<u32>>,
    /// Groups that the GCS was asked about, and its answer if there is one.
    asked: HashMap<PlacementGroupId, Option<Standing>>,
    /// Groups that wait for room, by the number of their request, with their bundles.
    waiting: HashMap<u64, (PlacementGroupId, Vec<NewBundle>)>,
}

impl State {
    /// The group is removed: what runs or waits in it ends. Or it is placed anew: then what waits waits on.
    pub(super) fn release_group(&mut self, group: PlacementGroupId, removed: bool, now: Duration, out: &mut Effects) {
        if removed {
            self.refuse_all(group, out);
        } else {
            // What was known of it is no longer so.
            self.groups.asked.remove(&group);
        }
        self.leave_line(group);
        let Some(indices) = self.groups.reserved.remove(&group) else {
            self.schedule(now, out);
            return;
        };
        let leases = self.leases.values();
        let leased = leases
            .filter(|lease| is_within(&lease.allocation, group))
            .map(|lease| lease.worker);
        let ending: Vec<WorkerId> = leased.collect();
        let cause = if removed {
            DeathCause::GroupRemoved { group }
        } else {
            let why =
                format!("a node that had bundles of placement group {group} is dead, and the group is placed anew");
            DeathCause::Killed { why }
        };
        for worker in ending {
            self.kill(worker, cause.clone(), out);
        }
        let within = |place: &ActorPlace| place.allocation.as_ref().is_some_and(|held| is_within(held, group));
        let acting = self.actors.iter().filter(|(_, place)| within(place));
        let acting: Vec<ActorId> = acting.map(|(actor, _)| *actor).collect();
        for actor in acting {
            self.end_placed(actor, Some(cause.clone()), out);
        }
        for index in indices {
            self.resources.return_bundle(group, index);
        }
        self.schedule(now, out);
        let mut waiting = self.queue.infeasible();
        if waiting.any(|(request, _)| request.shape.bundle().is_some_and(|target| target.group == group)) {
            drop(waiting);
            self.ask_for_group(group, out);
        }
    }
}

fn is_within(allocation: &Allocation, group: PlacementGroupId) -> bool {
    allocation.bundle().is_some_and(|(of, _)| of == group)
}
