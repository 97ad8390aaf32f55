//! Bundles of placement groups: set aside at once, or when the group that stands in line for all of its bundles has its turn
//! (RG-3).

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effect, Effects, State};
use crate::ids::{PlacementGroupId, WorkerId};
use crate::scheduling::queue::{Added, LeaseRequest};
use crate::scheduling::{Allocation, LeaseKind, ResourceSet, Shape};
use crate::wire::Frame;

/// A bundle to be: its index, and what it takes.
pub(super) type NewBundle = (u32, BTreeMap<String, f64>);

impl State {
    /// The GCS wants bundles set aside: now, or when there is room.
    pub(in crate::raylet::state) fn reserve(
        &mut self,
        group: PlacementGroupId,
        bundles: Vec<NewBundle>,
        wait: bool,
        now: Duration,
        out: &mut Effects,
    ) {
        let reserved = self.set_aside(group, &bundles);
        if reserved || !wait || !self.queue_group(group, bundles) {
            if !reserved {
                // RG-2.
                self.report_resources(out);
            }
            out.push(Effect::ToGcs(Frame::BundlesReserved { group, reserved }));
        }
        self.schedule(now, out);
    }

    /// All or nothing.
    fn set_aside(&mut self, group: PlacementGroupId, bundles: &[NewBundle]) -> bool {
        let mut done = Vec::new();
        for (index, numbers) in bundles {
            let set_aside = ResourceSet::from_numbers(numbers).ok().is_some_and(|set| {
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
        }
        reserved
    }

    /// RG-3: puts a group in line. `false`: it cannot stand there, since its bundles together make no request that the
    /// node can ever grant.
    fn queue_group(&mut self, group: PlacementGroupId, bundles: Vec<NewBundle>) -> bool {
        let mut all = ResourceSet::new();
        for (_, numbers) in &bundles {
            let Ok(set) = ResourceSet::from_numbers(numbers) else {
                return false;
            };
            all.add(&set);
        }
        let Ok(shape) = Shape::new(all) else { return false };
        let (id, requester) = (self.number(), WorkerId::default());
        let request = LeaseRequest {
            id,
            requester,
            shape,
            kind: LeaseKind::Actor,
        };
        if self.queue.add(request, &self.resources) == Ok(Added::Queued) {
            self.groups.waiting.insert(id, (group, bundles));
            return true;
        }
        self.queue.cancel(requester, id);
        false
    }

    /// RG-3: makes the bundles of a group that was granted room. Gives the grant back if it is another's.
    pub(in crate::raylet::state) fn grant_to_group(
        &mut self,
        request: &LeaseRequest,
        allocation: Allocation,
        out: &mut Effects,
    ) -> Option<Allocation> {
        let waited = request
            .requester
            .is_nil()
            .then(|| self.groups.waiting.remove(&request.id));
        let Some((group, bundles)) = waited.flatten() else {
            return Some(allocation);
        };
        self.resources.release(allocation);
        let reserved = self.set_aside(group, &bundles);
        if !reserved {
            self.report_resources(out);
        }
        out.push(Effect::ToGcs(Frame::BundlesReserved { group, reserved }));
        None
    }

    /// A group does not wait any more.
    pub(super) fn leave_line(&mut self, group: PlacementGroupId) {
        let waits = |(_, (of, _)): &(&u64, &(PlacementGroupId, Vec<NewBundle>))| *of == group;
        let found = self.groups.waiting.iter().find(waits).map(|(id, _)| *id);
        if let Some(id) = found {
            self.groups.waiting.remove(&id);
            self.queue.cancel(WorkerId::default(), id);
        }
    }
}
