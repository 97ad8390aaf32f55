//! Placement groups on one node: bundles are set aside, requests wait for them, and what runs in a group that is removed ends.
//!
//! - RG-1: a request for a bundle that is not here waits. It is refused only on the word of the GCS: the group is removed,
//!   or has no such bundle, or is created and no bundle of it is large enough.
//! - RG-2: the GCS hears at once when more is free than it knows, and at the next tick when less is. When the node refuses a
//!   group, the GCS hears first what is free: so the next that comes free is news.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::{ActorPlace, Effect, Effects, For, State, refuse};
use crate::error::RayError;
use crate::ids::{ActorId, PlacementGroupId, WorkerId};
use crate::raylet::convert::{from_numbers, to_numbers};
use crate::scheduling::Allocation;
use crate::scheduling::queue::LeaseRequest;
use crate::wire::{DeathCause, Frame, GroupState};

/// The groups that the node has to do with.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The bundles that are set aside here.
    reserved: BTreeMap<PlacementGroupId, Vec<u32>>,
    /// Groups that the GCS was asked about, and its last word: how many bundles, and how the group stands.
    asked: HashMap<PlacementGroupId, Option<(u32, GroupState)>>,
}

impl State {
    /// RG-1: a request waits for a group, or for more than it has.
    pub(super) fn ask_for_group(&mut self, group: Option<PlacementGroupId>, out: &mut Effects) {
        let Some(group) = group else { return };
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
    pub(super) fn group_stands(&mut self, group: PlacementGroupId, bundles: u32, state: GroupState, out: &mut Effects) {
        if state == (GroupState::Removed {}) {
            self.refuse_all(group, out);
            return;
        }
        self.groups.asked.insert(group, Some((bundles, state)));
        self.judge(group, out);
    }

    /// RG-1: refuses what will never find room in the group.
    fn judge(&mut self, group: PlacementGroupId, out: &mut Effects) {
        let Some(Some((bundles, state))) = self.groups.asked.get(&group) else {
            return;
        };
        let (bundles, node) = (*bundles, self.node);
        let all_here = matches!(state, GroupState::Created { nodes } if nodes.iter().all(|at| *at == node));
        let mut hopeless = Vec::new();
        for (request, shortfall) in self.queue.infeasible() {
            let Some(target) = request.shape.bundle().filter(|target| target.group == group) else {
                continue;
            };
            let missing = target.index.filter(|index| *index >= bundles);
            if let Some(index) = missing {
                let last = bundles.saturating_sub(1);
                let why = format!("it has no bundle {index}: its bundles are 0 to {last}");
                hopeless.push((request.clone(), Err(why)));
            } else if all_here {
                hopeless.push((request.clone(), Ok(shortfall.to_string())));
            }
        }
        for (request, why) in hopeless {
            self.queue.cancel(request.requester, request.id);
            let Some(wanted) = self.who_asked(&request) else {
                continue;
            };
            let error = match why {
                Ok(shortfall) => RayError::Unschedulable {
                    name: name_of(&wanted),
                    why: format!("placement group {group} has no bundle that can ever hold it: {shortfall}"),
                },
                Err(why) => RayError::PlacementGroup {
                    group: group.to_string(),
                    why,
                },
            };
            refuse(wanted, error, out);
        }
    }

    /// The group is gone: what waits for it never runs.
    fn refuse_all(&mut self, group: PlacementGroupId, out: &mut Effects) {
        self.groups.asked.remove(&group);
        let error = RayError::PlacementGroup {
            group: group.to_string(),
            why: "it was removed".into(),
        };
        let waiting: Vec<LeaseRequest> = self.queue.group_removed(group);
        for request in waiting {
            if let Some(wanted) = self.who_asked(&request) {
                refuse(wanted, error.clone(), out);
            }
        }
        // Some have their resources, and wait for a worker to come up.
        let (ending, going_on) = std::mem::take(&mut self.granted)
            .into_iter()
            .partition::<VecDeque<_>, _>(|granted| is_within(&granted.allocation, group));
        self.granted = going_on;
        for granted in ending {
            self.resources.release(granted.allocation);
            refuse(granted.wanted, error.clone(), out);
        }
    }

    pub(super) fn reserve(
        &mut self,
        group: PlacementGroupId,
        bundles: &[(u32, BTreeMap<String, f64>)],
        now: Duration,
        out: &mut Effects,
    ) {
        let mut done = Vec::new();
        for (index, numbers) in bundles {
            let set_aside = from_numbers(numbers).ok().is_some_and(|set| {
                self.resources.prepare_bundle(group, *index, &set).is_ok()
                    && self.resources.commit_bundle(group, *index).is_ok()
            });
            if !set_aside {
                break;
            }
            done.push(*index);
        }
        let reserved = done.len() == bundles.len();
        if reserved {
            self.groups.reserved.insert(group, done);
        } else {
            for index in done {
                self.resources.return_bundle(group, index);
            }
            // RG-2.
            self.report_resources(out);
        }
        out.push(Effect::ToGcs(Frame::BundlesReserved { group, reserved }));
        self.schedule(now, out);
    }

    /// The group is removed: what runs or waits in it ends.
    pub(super) fn release_group(&mut self, group: PlacementGroupId, now: Duration, out: &mut Effects) {
        self.refuse_all(group, out);
        let Some(indices) = self.groups.reserved.remove(&group) else {
            return;
        };
        let leases = self.leases.values();
        let leased = leases
            .filter(|lease| is_within(&lease.allocation, group))
            .map(|lease| lease.worker);
        let ending: Vec<WorkerId> = leased.collect();
        for worker in ending {
            self.kill(worker, DeathCause::GroupRemoved { group }, out);
        }
        let within = |place: &ActorPlace| place.allocation.as_ref().is_some_and(|held| is_within(held, group));
        let acting = self.actors.iter().filter(|(_, place)| within(place));
        let acting: Vec<ActorId> = acting.map(|(actor, _)| *actor).collect();
        for actor in acting {
            self.end_placed(actor, Some(DeathCause::GroupRemoved { group }), out);
        }
        for index in indices {
            self.resources.return_bundle(group, index);
        }
        self.schedule(now, out);
    }

    /// RG-2: something may have been taken or given back.
    pub(super) fn note_resources(&mut self, out: &mut Effects) {
        let available = to_numbers(&self.resources.available());
        let more = |(name, amount): (&String, &f64)| *amount > self.reported.get(name).copied().unwrap_or_default();
        if available.iter().any(more) {
            self.send_report(available, out);
        } else {
            self.unreported = available != self.reported;
        }
    }

    /// Tells the GCS what is free, if it does not know.
    pub(super) fn report_resources(&mut self, out: &mut Effects) {
        let available = to_numbers(&self.resources.available());
        if available != self.reported {
            self.send_report(available, out);
        }
    }

    fn send_report(&mut self, available: BTreeMap<String, f64>, out: &mut Effects) {
        self.unreported = false;
        self.reported.clone_from(&available);
        out.push(Effect::ToGcs(Frame::NodeResources { available }));
    }
}

fn is_within(allocation: &Allocation, group: PlacementGroupId) -> bool {
    allocation.bundle().is_some_and(|(of, _)| of == group)
}

fn name_of(wanted: &For) -> String {
    match wanted {
        For::Owner { name, .. } => name.clone(),
        For::Actor { spec, .. } => spec.name.clone().unwrap_or_else(|| spec.type_name.clone()),
    }
}
