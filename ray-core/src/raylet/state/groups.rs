//! Placement groups on one node: bundles are set aside, requests wait for them, and what runs in a group that is removed ends.
//!
//! - RG-1: a request for a bundle that is not here waits. It is refused only on the word of the GCS: the group is removed,
//!   or has no such bundle, or is created and no bundle of it is large enough.
//! - RG-2 (`reports`): the GCS always knows what is free, or will soon.
//! - RG-3: a group that has no room yet may wait as a request for all its bundles here. It is granted in turn, as any other
//!   request is, and then its bundles are made of what was granted: between the two nobody else gets anything.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::actors::{ActorPlace, shown_name};
use super::requests::{Asked, For};
use super::{Effect, Effects, State};
use crate::error::RayError;
use crate::ids::{ActorId, PlacementGroupId, WorkerId};
use crate::scheduling::queue::{Added, LeaseRequest};
use crate::scheduling::{Allocation, LeaseKind, ResourceSet, Shape};
use crate::wire::{DeathCause, Frame, GroupState};

/// The groups that the node has to do with.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The bundles that are set aside here.
    reserved: BTreeMap<PlacementGroupId, Vec<u32>>,
    /// Groups that the GCS was asked about, and its last word: how many bundles, and how the group stands.
    asked: HashMap<PlacementGroupId, Option<(u32, GroupState)>>,
    /// Groups that wait for room, by the number of their request, with their bundles.
    waiting: HashMap<u64, (PlacementGroupId, Vec<NewBundle>)>,
}

/// A bundle to be: its index, and what it takes.
type NewBundle = (u32, BTreeMap<String, f64>);

impl State {
    /// RG-1: a request waits for a group, or for more than it has.
    pub(super) fn ask_for_group(&mut self, group: PlacementGroupId, out: &mut Effects) {
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
            let Some(asked) = self.who_asked(&request) else {
                continue;
            };
            let error = match why {
                Ok(shortfall) => RayError::Unschedulable {
                    name: name_of(&asked),
                    why: format!("placement group {group} has no bundle that can ever hold it: {shortfall}"),
                },
                Err(why) => RayError::PlacementGroup {
                    group: group.to_string(),
                    why,
                },
            };
            asked.refuse(error, out);
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
            if let Some(asked) = self.who_asked(&request) {
                asked.refuse(error.clone(), out);
            }
        }
        // Some have their resources, and wait for a worker to come up.
        for asked in self.take_back(|granted| is_within(&granted.allocation, group)) {
            asked.refuse(error.clone(), out);
        }
    }

    /// The GCS wants bundles set aside: now, or when there is room.
    pub(super) fn reserve(
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
    pub(super) fn grant_to_group(
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
    fn leave_line(&mut self, group: PlacementGroupId) {
        let waits = |(_, (of, _)): &(&u64, &(PlacementGroupId, Vec<NewBundle>))| *of == group;
        let found = self.groups.waiting.iter().find(waits).map(|(id, _)| *id);
        if let Some(id) = found {
            self.groups.waiting.remove(&id);
            self.queue.cancel(WorkerId::default(), id);
        }
    }

    /// The group is removed: what runs or waits in it ends.
    pub(super) fn release_group(&mut self, group: PlacementGroupId, now: Duration, out: &mut Effects) {
        self.refuse_all(group, out);
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
}

fn is_within(allocation: &Allocation, group: PlacementGroupId) -> bool {
    allocation.bundle().is_some_and(|(of, _)| of == group)
}

fn name_of(asked: &For) -> String {
    match asked {
        For::Owner(Asked { name, .. }) => name.clone(),
        For::Actor { spec, .. } => shown_name(spec),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    use crate::wire::LeaseShape;

    const MS: Duration = Duration::from_millis(1);

    /// A node of two CPUs with two workers, and an owner who always has a task more than runs.
    struct Busy {
        state: State,
        owner: WorkerId,
        now: Duration,
        requests: u64,
        leases: VecDeque<u64>,
        out: Effects,
    }

    impl Busy {
        fn new() -> Self {
            let mut busy = Self {
                state: State::of_cpus(2.0, 2, 1000 * MS, Duration::ZERO),
                owner: WorkerId::random(),
                now: Duration::ZERO,
                requests: 0,
                leases: VecDeque::new(),
                out: Effects::new(),
            };
            busy.state.driver_joined(busy.owner, 1);
            busy.state.prestart(&mut busy.out);
            let spawned: Vec<_> = busy.out.iter().filter_map(spawned).collect();
            for worker in spawned {
                busy.state.worker_joined(worker, busy.now, &mut busy.out);
            }
            (0..3).for_each(|_| busy.request());
            assert_eq!(busy.leases.len(), 2);
            busy
        }

        fn request(&mut self) {
            self.requests += 1;
            let shape = LeaseShape::one_cpu();
            let request = self.requests;
            let frame = Frame::RequestLease { request, shape };
            self.state.frame(self.owner, frame, self.now, &mut self.out);
            self.take_grants();
        }

        fn take_grants(&mut self) {
            self.leases.extend(self.out.iter().filter_map(|effect| match effect {
                Effect::Send {
                    frame: Frame::LeaseGranted { lease, .. },
                    ..
                } => Some(*lease),
                _ => None,
            }));
            self.out
                .retain(|effect| matches!(effect, Effect::ToGcs(Frame::BundlesReserved { .. })));
        }

        /// One task ends and another one comes: the two CPUs never come free together by themselves.
        fn step(&mut self) {
            self.now += MS;
            self.request();
            if let Some(lease) = self.leases.pop_front() {
                let frame = Frame::ReturnLease { lease, reusable: true };
                self.state.frame(self.owner, frame, self.now, &mut self.out);
            } else {
                self.state.tick(self.now, &mut self.out);
            }
            self.take_grants();
        }

        /// Asks for a group of two CPUs.
        fn group(&mut self) -> PlacementGroupId {
            let group = PlacementGroupId::random();
            let one = BTreeMap::from([("CPU".to_owned(), 1.0)]);
            let bundles = vec![(0, one.clone()), (1, one)];
            let wait = true;
            let frame = Frame::ReserveBundles { group, bundles, wait };
            self.state.gcs_frame(frame, self.now, &mut self.out);
            self.take_grants();
            group
        }

        fn release(&mut self, group: PlacementGroupId) {
            let frame = Frame::ReleaseBundles { group };
            self.state.gcs_frame(frame, self.now, &mut self.out);
            self.take_grants();
        }

        /// The groups that were placed since.
        fn placed(&mut self) -> Vec<PlacementGroupId> {
            let placed = self.out.drain(..).map(|effect| match effect {
                Effect::ToGcs(Frame::BundlesReserved { group, reserved }) => {
                    assert!(reserved);
                    group
                }
                other => panic!("{other:?}"),
            });
            placed.collect()
        }
    }

    fn spawned(effect: &Effect) -> Option<WorkerId> {
        match effect {
            Effect::Spawn { worker, .. } => Some(*worker),
            _ => None,
        }
    }

    #[test]
    fn rg_3_a_stream_of_tasks_does_not_keep_a_group_waiting_for_ever() {
        let mut busy = Busy::new();
        let group = busy.group();
        assert!(busy.placed().is_empty());
        let mut steps = 0;
        while busy.out.is_empty() {
            busy.step();
            steps += 1;
            assert!(steps < 1000, "the group is kept waiting");
        }
        assert_eq!(busy.placed(), [group]);
        assert!(steps > 1 && busy.leases.is_empty());
        // Tasks go on when it is gone.
        busy.release(group);
        assert_eq!(busy.leases.len(), 2);
    }

    #[test]
    fn rg_3_two_groups_that_wait_are_placed_one_after_the_other() {
        let mut busy = Busy::new();
        let groups = [busy.group(), busy.group()];
        for group in groups {
            for _ in 0..1000 {
                busy.step();
                if !busy.out.is_empty() {
                    break;
                }
            }
            let placed = busy.placed();
            assert_eq!(placed, [group]);
            busy.release(group);
        }
        // One that is removed leaves the line.
        let group = busy.group();
        busy.release(group);
        for _ in 0..1000 {
            busy.step();
        }
        assert!(busy.placed().is_empty());
    }

    #[test]
    fn a_group_that_does_not_wait_is_refused_at_once() {
        let mut busy = Busy::new();
        let group = PlacementGroupId::random();
        let frame = Frame::ReserveBundles {
            group,
            bundles: vec![(0, BTreeMap::from([("CPU".to_owned(), 2.0)]))],
            wait: false,
        };
        busy.state.gcs_frame(frame, busy.now, &mut busy.out);
        let refused = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::BundlesReserved { reserved: false, .. }));
        assert!(busy.out.iter().any(refused));
    }
}
