use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::scheduling::tests::{set, shape};
use crate::scheduling::{BundleTarget, Fixed, ResourceName};

const TICK: Duration = Duration::from_millis(1);

fn worker(number: u8) -> WorkerId {
    WorkerId::from_bytes([number; 16])
}

fn request(id: u64, requester: u8, shape: Shape) -> LeaseRequest {
    LeaseRequest {
        id,
        requester: worker(requester),
        shape,
        kind: LeaseKind::Task,
    }
}

fn setup(total: (u32, u32, u32)) -> (LeaseQueue, NodeResources) {
    (
        LeaseQueue::new(Options::default()),
        NodeResources::new(&set(total.0, total.1, total.2)).unwrap(),
    )
}

fn add(queue: &mut LeaseQueue, node: &NodeResources, request: LeaseRequest) {
    assert_eq!(queue.add(request, node), Ok(Added::Queued));
}

#[test]
fn lq_2_requests_of_one_requester_and_shape_are_granted_in_order() {
    let (mut queue, mut node) = setup((300, 0, 0));
    for id in [5, 3, 9] {
        add(&mut queue, &node, request(id, 1, shape(100, 0, 0)));
    }
    let grants = queue.grantable(&mut node, TICK);
    let ids: Vec<_> = grants.iter().map(|grant| grant.request.id).collect();
    assert_eq!(ids, [5, 3, 9]);
    grants.into_iter().for_each(|grant| node.release(grant.allocation));
}

#[test]
fn lq_1_shapes_and_requesters_take_turns() {
    let (mut queue, mut node) = setup((100, 0, 0));
    // Worker 1 floods two shapes; worker 2 has few requests of one of them.
    for id in 0..20 {
        add(&mut queue, &node, request(id, 1, shape(100, 0, 0)));
        add(&mut queue, &node, request(100 + id, 1, shape(50, 0, 0)));
    }
    for id in 0..3 {
        add(&mut queue, &node, request(id, 2, shape(100, 0, 0)));
    }
    let mut order = Vec::new();
    for _ in 0..12 {
        for grant in queue.grantable(&mut node, TICK) {
            order.push((
                grant.request.requester,
                grant.request.shape.resources().get(&ResourceName::Cpu),
            ));
            node.release(grant.allocation);
        }
    }
    let whole: Vec<_> = order
        .iter()
        .filter(|(_, cpu)| *cpu == Fixed::ONE)
        .map(|(who, _)| *who)
        .collect();
    assert_eq!(whole[..6], [1, 2, 1, 2, 1, 2].map(worker));
    assert!(order.iter().any(|(_, cpu)| *cpu < Fixed::ONE));
}

#[test]
fn lq_3_a_small_request_is_granted_behind_a_big_one_that_does_not_fit() {
    let (mut queue, mut node) = setup((400, 0, 0));
    let lease = node.allocate(&shape(100, 0, 0), LeaseKind::Task).unwrap();
    add(&mut queue, &node, request(1, 1, shape(400, 0, 0)));
    add(&mut queue, &node, request(2, 1, shape(100, 0, 0)));
    let grants = queue.grantable(&mut node, TICK);
    assert_eq!(grants.iter().map(|grant| grant.request.id).collect::<Vec<_>>(), [2]);
    grants.into_iter().for_each(|grant| node.release(grant.allocation));
    node.release(lease);
}

/// Runs one-CPU requests for ever, each for about `length` ticks and staggered, and has the whole node asked for, as
/// request 0, in tick 10. Gives the tick in which that was granted, and how many small ones were.
fn run_beside_small_ones(
    queue: &mut LeaseQueue,
    node: &mut NodeResources,
    length: u64,
    ticks: u64,
) -> (Option<u64>, u64) {
    let mut running: Vec<(u64, Grant)> = Vec::new();
    let (mut next, mut small) = (1, 0);
    for now in 1..=ticks {
        let (over, rest): (Vec<_>, Vec<_>) = running.into_iter().partition(|(end, _)| *end <= now);
        running = rest;
        over.into_iter().for_each(|(_, grant)| node.release(grant.allocation));
        while queue.len() < 20 {
            add(queue, node, request(next, 2, shape(100, 0, 0)));
            next += 1;
        }
        if now == 10 {
            add(queue, node, request(0, 1, shape(400, 0, 0)));
        }
        for grant in queue.grantable(node, TICK * now as u32) {
            if grant.request.id == 0 {
                node.release(grant.allocation);
                return (Some(now), small);
            }
            small += 1;
            running.push((now + length + grant.request.id % 3, grant));
        }
    }
    (None, small)
}

#[test]
fn lq_4_a_big_request_is_granted_though_small_ones_never_stop_coming() {
    for length in [1, 10, 100, 1000] {
        let (mut queue, mut node) = setup((400, 0, 0));
        let (granted, small) = run_beside_small_ones(&mut queue, &mut node, length, 100 * (length + 10));
        assert!(
            granted.is_some(),
            "leases of {length} ms: {small} small ones passed it over"
        );
    }
}

#[test]
fn lq_5_a_lease_that_never_ends_costs_the_small_ones_a_third_of_the_time_at_most() {
    let (mut queue, mut node) = setup((400, 0, 0));
    let endless = node.allocate(&shape(100, 0, 0), LeaseKind::Task).unwrap();
    let ticks = 20_000;
    let (granted, small) = run_beside_small_ones(&mut queue, &mut node, 1, ticks);
    assert_eq!(granted, None);
    // Without a big request: three CPUs, each lease two ticks on average.
    let undisturbed = ticks * 3 / 2;
    assert!(small * 100 > undisturbed * 65, "{small} of {undisturbed}");
    node.release(endless);
}

#[test]
fn lq_6_nobody_waits_for_the_sake_of_a_request_that_waits_for_an_actor() {
    let (mut queue, mut node) = setup((400, 0, 0));
    let actor = node.allocate(&shape(100, 0, 0), LeaseKind::Actor).unwrap();
    let (granted, _) = run_beside_small_ones(&mut queue, &mut node, 1, 1_000);
    assert_eq!((granted, queue.reserved()), (None, None));
    node.release(actor);
}

#[test]
fn a_reservation_lets_pass_what_does_not_delay_it_and_tells_when_it_ends() {
    let (mut queue, mut node) = setup((400, 0, 200));
    let busy = node.allocate(&shape(200, 0, 0), LeaseKind::Task).unwrap();
    add(&mut queue, &node, request(0, 1, shape(400, 0, 0)));
    for id in 1..=40 {
        add(&mut queue, &node, request(id, 2, shape(100, 0, 0)));
    }
    let mut now = TICK;
    // Two small ones run at a time, so the big one is passed over often enough long before this ends.
    for _ in 0..100 {
        if queue.reserved().is_some() {
            break;
        }
        for grant in queue.grantable(&mut node, now) {
            node.release(grant.allocation);
        }
        now += TICK;
    }
    assert!(queue.next_wake().unwrap() > now);
    add(&mut queue, &node, request(1, 3, shape(0, 0, 100)));
    let passed = queue.grantable(&mut node, now);
    assert_eq!(
        passed.iter().map(|grant| grant.request.requester).collect::<Vec<_>>(),
        [worker(3)]
    );
    node.release(busy);
    let big = queue.grantable(&mut node, now);
    assert_eq!(big[0].request.id, 0);
    assert_eq!(queue.reserved(), None);
    passed
        .into_iter()
        .chain(big)
        .for_each(|grant| node.release(grant.allocation));
}

#[test]
fn lq_7_an_infeasible_request_is_reported_and_granted_when_the_total_grows() {
    let (mut queue, mut node) = setup((400, 0, 0));
    let wanted = request(1, 1, shape(800, 0, 0));
    let Ok(Added::Infeasible(shortfall)) = queue.add(wanted, &node) else {
        panic!("it is infeasible")
    };
    assert_eq!(shortfall.to_string(), "needs 8 CPU, there is 4");
    assert!(queue.grantable(&mut node, TICK).is_empty());
    assert_eq!(queue.infeasible().count(), 1);
    node.set_total(&ResourceName::Cpu, Fixed::whole(8)).unwrap();
    let grants = queue.grantable(&mut node, TICK);
    assert_eq!((grants.len(), queue.infeasible().count()), (1, 0));
    grants.into_iter().for_each(|grant| node.release(grant.allocation));
}

#[test]
fn requests_for_a_bundle_wait_for_it_and_leave_with_its_group() {
    let (mut queue, mut node) = setup((400, 0, 0));
    let group = PlacementGroupId::random();
    let inside = shape(100, 0, 0).in_bundle(BundleTarget { group, index: None });
    let added = queue.add(request(1, 1, inside.clone()), &node);
    assert!(matches!(added, Ok(Added::Infeasible(Shortfall::NoBundle { .. }))));
    node.prepare_bundle(group, 0, &set(100, 0, 0)).unwrap();
    node.commit_bundle(group, 0).unwrap();
    add(
        &mut queue,
        &node,
        request(2, 1, shape(100, 0, 0).in_bundle(BundleTarget { group, index: Some(0) })),
    );
    let grants = queue.grantable(&mut node, TICK);
    assert_eq!(grants.len(), 1);
    assert_eq!(queue.group_removed(group).len(), 1);
    assert!(queue.is_empty());
    grants.into_iter().for_each(|grant| node.release(grant.allocation));
}

#[test]
fn the_queue_is_bounded_and_refuses_a_number_that_waits_already() {
    let node = NodeResources::new(&set(0, 0, 0)).unwrap();
    let mut queue = LeaseQueue::new(Options {
        max_pending: 2,
        ..Options::default()
    });
    let ask = |id| request(id, 1, shape(100, 0, 0));
    queue.add(ask(1), &node).unwrap();
    assert!(matches!(
        queue.add(ask(1), &node),
        Err(QueueError::Duplicate { id: 1, .. })
    ));
    queue.add(ask(2), &node).unwrap();
    assert_eq!(queue.add(ask(3), &node), Err(QueueError::Full { limit: 2 }));
    assert_eq!(queue.cancel(worker(1), 1).map(|request| request.id), Some(1));
    assert_eq!(queue.cancel(worker(1), 1), None);
    assert_eq!(queue.requester_died(worker(1)), 1);
    assert!(queue.is_empty() && queue.waiting().next().is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Add { requester: u8, kind: usize, actor: bool },
    Cancel(usize),
    Die(u8),
    End(usize),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, 0..5usize, prop::bool::weighted(0.1)).prop_map(|(requester, kind, actor)| Step::Add { requester, kind, actor }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..4u8).prop_map(Step::Die),
        4 => any::<usize>().prop_map(Step::End),
        2 => Just(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_request_is_granted_once_or_taken_back_and_all_is_granted_in_the_end(
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let shapes = [shape(100, 0, 0), shape(400, 0, 0), shape(50, 50, 0), shape(0, 200, 100), shape(0, 0, 100)];
        let (mut queue, mut node) = setup((400, 200, 300));
        let mut waiting: HashMap<(WorkerId, u64), usize> = HashMap::new();
        let mut granted = HashSet::new();
        let mut running: Vec<Grant> = Vec::new();
        let mut now = TICK;
        let mut id = 0;
        for step in steps {
            now += TICK * 7;
            match step {
                Step::Add { requester, kind, actor } => {
                    id += 1;
                    let mut request = request(id, requester, shapes[kind].clone());
                    if actor {
                        request.kind = LeaseKind::Actor;
                    }
                    waiting.insert((request.requester, id), kind);
                    add(&mut queue, &node, request);
                }
                Step::Cancel(at) if !waiting.is_empty() => {
                    let (requester, id) = *waiting.keys().nth(at % waiting.len()).unwrap();
                    prop_assert!(queue.cancel(requester, id).is_some());
                    waiting.remove(&(requester, id));
                }
                Step::Die(requester) => {
                    let before = waiting.len();
                    waiting.retain(|(who, _), _| *who != worker(requester));
                    prop_assert_eq!(queue.requester_died(worker(requester)), before - waiting.len());
                }
                Step::End(at) if !running.is_empty() => {
                    node.release(running.swap_remove(at % running.len()).allocation);
                }
                _ => {}
            }
            for grant in queue.grantable(&mut node, now) {
                let key = (grant.request.requester, grant.request.id);
                prop_assert!(granted.insert(key), "granted twice");
                prop_assert!(waiting.remove(&key).is_some(), "granted though it did not wait");
                running.push(grant);
            }
            prop_assert_eq!(queue.len(), waiting.len());
            // Nothing that fits waits, unless a reservation keeps it.
            if queue.reserved().is_none() {
                for kind in waiting.values() {
                    prop_assert!(node.fits(&shapes[*kind], Room::Available).is_err());
                }
            }
        }
        while !queue.is_empty() || !running.is_empty() {
            let before = queue.len() + running.len();
            running.drain(..).for_each(|grant| node.release(grant.allocation));
            now += TICK;
            running.extend(queue.grantable(&mut node, now));
            prop_assert!(queue.is_empty() || !running.is_empty(), "an idle node and {before} waiting");
        }
        prop_assert_eq!(node.available(), node.total());
    }
}
