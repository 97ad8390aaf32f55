use std::collections::{BTreeMap, VecDeque};

use super::super::Effect;
use super::super::testing::{MS, Node};
use crate::ids::PlacementGroupId;
use crate::wire::Frame;

/// A node of two CPUs with two workers, and an owner who always has a task more than runs.
struct Busy {
    node: Node,
    requests: u64,
    leases: VecDeque<u64>,
}

impl Busy {
    fn new() -> Self {
        let mut node = Node::new(2.0, 2);
        node.join();
        let mut busy = Self {
            node,
            requests: 0,
            leases: VecDeque::new(),
        };
        (0..3).for_each(|_| busy.request());
        assert_eq!(busy.leases.len(), 2);
        busy
    }

    fn request(&mut self) {
        self.requests += 1;
        self.node.request(self.node.driver, self.requests);
        self.take_grants();
    }

    fn take_grants(&mut self) {
        self.leases.extend(self.node.grants().iter().map(|(lease, _)| *lease));
        self.node
            .out
            .retain(|effect| matches!(effect, Effect::ToGcs(Frame::BundlesReserved { .. })));
    }

    /// One task ends and another one comes: the two CPUs never come free together by themselves.
    fn step(&mut self) {
        self.node.now += MS;
        self.request();
        match self.leases.pop_front() {
            Some(lease) => self.node.give_back(self.node.driver, lease),
            None => self.node.tick(),
        }
        self.take_grants();
    }

    /// Asks for a group of two CPUs.
    fn group(&mut self) -> PlacementGroupId {
        let group = PlacementGroupId::random();
        let one = BTreeMap::from([("CPU".to_owned(), 1.0)]);
        let bundles = vec![(0, one.clone()), (1, one)];
        let wait = true;
        self.node.gcs(Frame::ReserveBundles { group, bundles, wait });
        self.take_grants();
        group
    }

    fn release(&mut self, group: PlacementGroupId) {
        self.node.gcs(Frame::ReleaseBundles { group, removed: true });
        self.take_grants();
    }

    /// The groups that were placed since.
    fn placed(&mut self) -> Vec<PlacementGroupId> {
        let placed = self.node.out.drain(..).map(|effect| match effect {
            Effect::ToGcs(Frame::BundlesReserved { group, reserved }) => {
                assert!(reserved);
                group
            }
            other => panic!("{other:?}"),
        });
        placed.collect()
    }
}

#[test]
fn rg_3_a_stream_of_tasks_does_not_keep_a_group_waiting_for_ever() {
    let mut busy = Busy::new();
    let group = busy.group();
    assert!(busy.placed().is_empty());
    let mut steps = 0;
    while busy.node.out.is_empty() {
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
            if !busy.node.out.is_empty() {
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
    busy.node.gcs(frame);
    let refused = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::BundlesReserved { reserved: false, .. }));
    assert!(busy.node.out.iter().any(refused));
}
