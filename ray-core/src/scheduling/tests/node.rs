use proptest::prelude::*;

use super::{set, shape};
use crate::ids::PlacementGroupId;
use crate::scheduling::{
    Allocation, BundleError, BundleTarget, Fixed, LeaseKind, NodeResources, ResourceName, ResourceSet, Room, Shape,
    Shortfall,
};

fn group(number: u8) -> PlacementGroupId {
    PlacementGroupId::from_bytes([number; 16])
}

fn target(number: u8, index: Option<u32>) -> BundleTarget {
    BundleTarget {
        group: group(number),
        index,
    }
}

#[test]
fn a_shortfall_names_the_resource_and_both_quantities() {
    let node = NodeResources::new(&set(400, 200, 0)).unwrap();
    let shortfall = node.fits(&shape(100, 400, 0), Room::Total).unwrap_err();
    assert_eq!(shortfall.to_string(), "needs 4 GPU, there is 2");
}

#[test]
fn halves_share_a_device_and_leave_the_other_one_whole() {
    let mut node = NodeResources::new(&set(0, 200, 0)).unwrap();
    let one = node.allocate(&shape(0, 50, 0), LeaseKind::Task).unwrap();
    let other = node.allocate(&shape(0, 50, 0), LeaseKind::Task).unwrap();
    assert_eq!(one.gpus()[0].0, other.gpus()[0].0);
    let whole = node.allocate(&shape(0, 100, 0), LeaseKind::Task).unwrap();
    assert_ne!(whole.gpus()[0].0, one.gpus()[0].0);
    for allocation in [one, other, whole] {
        node.release(allocation);
    }
    assert_eq!(node.available(), node.total());
}

#[test]
fn two_half_empty_devices_are_no_whole_one() {
    let mut node = NodeResources::new(&set(0, 200, 0)).unwrap();
    let first = node.allocate(&shape(0, 60, 0), LeaseKind::Task).unwrap();
    let second = node.allocate(&shape(0, 60, 0), LeaseKind::Task).unwrap();
    assert_ne!(first.gpus()[0].0, second.gpus()[0].0);
    let third = node.allocate(&shape(0, 50, 0), LeaseKind::Task).unwrap_err();
    assert!(matches!(third, Shortfall::GpuFragments { .. }), "{third}");
    node.release(first);
    node.release(second);
}

#[test]
fn nr_4_a_resumed_lease_oversubscribes_the_cpu_and_keeps_its_gpu_meanwhile() {
    let mut node = NodeResources::new(&set(100, 100, 0)).unwrap();
    let mut blocked = node.allocate(&shape(100, 100, 0), LeaseKind::Task).unwrap();
    node.release_cpu(&mut blocked);
    assert!(node.allocate(&shape(0, 100, 0), LeaseKind::Task).is_err());
    let child = node.allocate(&shape(100, 0, 0), LeaseKind::Task).unwrap();
    node.reacquire_cpu_oversubscribed(&mut blocked);
    assert_eq!(node.available_of(&ResourceName::Cpu), Fixed::ZERO - Fixed::ONE);
    assert!(node.allocate(&shape(1, 0, 0), LeaseKind::Task).is_err());
    node.release(child);
    node.release(blocked);
    assert_eq!(node.available(), node.total());
}

#[test]
fn a_lease_that_ends_while_it_is_blocked_gives_its_cpu_back_once() {
    let mut node = NodeResources::new(&set(200, 0, 0)).unwrap();
    let mut blocked = node.allocate(&shape(100, 0, 0), LeaseKind::Task).unwrap();
    node.release_cpu(&mut blocked);
    node.release_cpu(&mut blocked);
    node.release(blocked);
    assert_eq!(node.available(), set(200, 0, 0));
}

#[test]
fn an_actor_that_is_placed_can_run_without_its_cpu() {
    let mut node = NodeResources::new(&set(100, 0, 100)).unwrap();
    let mut actor = node.allocate(&shape(100, 0, 100), LeaseKind::Actor).unwrap();
    node.drop_cpu(&mut actor);
    assert_eq!(node.available(), set(100, 0, 0));
    assert_eq!(*actor.resources(), set(0, 0, 100));
    node.release(actor);
    assert_eq!(node.available(), node.total());
}

#[test]
fn a_bundle_takes_leases_only_when_committed_and_only_up_to_its_size() {
    let mut node = NodeResources::new(&set(400, 200, 0)).unwrap();
    let inside = shape(100, 100, 0).in_bundle(target(1, None));
    assert!(matches!(
        node.fits(&inside, Room::Total),
        Err(Shortfall::NoBundle { .. })
    ));
    node.prepare_bundle(group(1), 0, &set(100, 100, 0)).unwrap();
    assert!(node.allocate(&inside, LeaseKind::Task).is_err());
    node.commit_bundle(group(1), 0).unwrap();
    let lease = node.allocate(&inside, LeaseKind::Task).unwrap();
    assert_eq!(lease.bundle(), Some((group(1), 0)));
    assert!(node.allocate(&inside, LeaseKind::Task).is_err());
    assert_eq!(node.available(), set(300, 100, 0));
    node.release(lease);
    assert!(node.return_bundle(group(1), 0));
    assert!(!node.return_bundle(group(1), 0));
    assert_eq!(node.available(), node.total());
}

#[test]
fn an_unindexed_lease_goes_to_whichever_bundle_has_room() {
    let mut node = NodeResources::new(&set(400, 0, 0)).unwrap();
    for index in 0..2 {
        node.prepare_bundle(group(1), index, &set(100, 0, 0)).unwrap();
        node.commit_bundle(group(1), index).unwrap();
    }
    let any = shape(100, 0, 0).in_bundle(target(1, None));
    let first = node.allocate(&any, LeaseKind::Task).unwrap();
    let second = node.allocate(&any, LeaseKind::Task).unwrap();
    assert_ne!(first.bundle(), second.bundle());
    assert!(node.allocate(&any, LeaseKind::Task).is_err());
    node.release(first);
    node.release(second);
}

#[test]
fn nr_3_a_lease_of_a_returned_bundle_goes_back_to_the_node_and_not_into_its_successor() {
    let mut node = NodeResources::new(&set(200, 0, 0)).unwrap();
    node.prepare_bundle(group(1), 0, &set(100, 0, 0)).unwrap();
    node.commit_bundle(group(1), 0).unwrap();
    let inside = shape(100, 0, 0).in_bundle(target(1, Some(0)));
    let orphan = node.allocate(&inside, LeaseKind::Task).unwrap();
    assert!(node.return_bundle(group(1), 0));
    assert_eq!(node.available(), set(100, 0, 0));
    node.prepare_bundle(group(1), 0, &set(100, 0, 0)).unwrap();
    node.commit_bundle(group(1), 0).unwrap();
    node.release(orphan);
    assert_eq!(node.available(), set(100, 0, 0));
    let lease = node.allocate(&inside, LeaseKind::Task).unwrap();
    assert!(node.allocate(&inside, LeaseKind::Task).is_err());
    node.release(lease);
}

#[test]
fn bundles_that_make_no_sense_are_refused_each_with_its_reason() {
    let mut node = NodeResources::new(&set(100, 200, 0)).unwrap();
    let mut prepare = |resources| node.prepare_bundle(group(1), 0, &resources);
    assert!(matches!(prepare(ResourceSet::new()), Err(BundleError::Empty { .. })));
    assert!(matches!(
        prepare(set(0, 150, 0)),
        Err(BundleError::FractionalGpus { .. })
    ));
    assert!(matches!(prepare(set(200, 0, 0)), Err(BundleError::Unavailable { .. })));
    assert_eq!(prepare(set(100, 0, 0)), Ok(()));
    assert_eq!(prepare(set(100, 0, 0)), Ok(()));
    assert!(matches!(prepare(set(50, 0, 0)), Err(BundleError::Conflict { .. })));
    assert!(matches!(
        node.commit_bundle(group(2), 0),
        Err(BundleError::NotPrepared { .. })
    ));
}

#[test]
fn lowering_a_total_leaves_the_leases_theirs_and_comes_back_to_the_total() {
    let licence = ResourceName::custom("licence").unwrap();
    let mut node = NodeResources::new(&set(0, 0, 400)).unwrap();
    let lease = node.allocate(&shape(0, 0, 300), LeaseKind::Task).unwrap();
    let version = node.totals_version();
    node.set_total(&licence, Fixed::whole(2)).unwrap();
    assert_ne!(node.totals_version(), version);
    assert!(node.allocate(&shape(0, 0, 1), LeaseKind::Task).is_err());
    node.release(lease);
    assert_eq!(node.available(), set(0, 0, 200));
    assert!(node.set_total(&ResourceName::Gpu, Fixed::ONE).is_err());
}

#[derive(Debug, Clone)]
enum Step {
    Allocate {
        cpu: u32,
        gpu: u32,
        custom: u32,
        bundle: Option<(u8, Option<u32>)>,
        actor: bool,
    },
    Release(usize),
    Block(usize),
    Resume(usize),
    DropCpu(usize),
    Prepare {
        group: u8,
        index: u32,
        cpu: u32,
        gpu: u32,
    },
    Commit {
        group: u8,
        index: u32,
    },
    Return {
        group: u8,
        index: u32,
    },
}

fn gpus() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..100u32, Just(100), Just(200)]
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..2u8, 0..2u32);
    prop_oneof![
        4 => (0..250u32, gpus(), 0..3u32, proptest::option::of((0..2u8, proptest::option::of(0..2u32))), any::<bool>())
            .prop_map(|(cpu, gpu, custom, bundle, actor)| Step::Allocate { cpu, gpu, custom, bundle, actor }),
        3 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Block),
        1 => any::<usize>().prop_map(Step::Resume),
        1 => any::<usize>().prop_map(Step::DropCpu),
        1 => (place(), 1..200u32, gpus())
            .prop_map(|((group, index), cpu, gpu)| Step::Prepare { group, index, cpu, gpu }),
        1 => place().prop_map(|(group, index)| Step::Commit { group, index }),
        1 => place().prop_map(|(group, index)| Step::Return { group, index }),
    ]
}

/// NR-2 for CPU and the custom resource, and per device for GPUs.
fn check(node: &NodeResources, held: &[Allocation]) {
    for name in [
        ResourceName::Cpu,
        ResourceName::Gpu,
        ResourceName::custom("licence").unwrap(),
    ] {
        let by_leases: Fixed = held
            .iter()
            .filter(|allocation| !(name == ResourceName::Cpu && allocation.is_cpu_released()))
            .map(|allocation| allocation.resources().get(&name))
            .sum();
        let in_bundles = node.left_in_bundles(&name);
        let total = node.total().get(&name);
        assert_eq!(node.available_of(&name) + in_bundles + by_leases, total, "{name}");
        if name != ResourceName::Cpu {
            assert!(node.available_of(&name) >= Fixed::ZERO);
        }
    }
    for device in 0..2 {
        let shares = held
            .iter()
            .flat_map(Allocation::gpus)
            .filter(|(index, _)| *index == device);
        assert!(
            shares.map(|(_, share)| *share).sum::<Fixed>() <= Fixed::ONE,
            "device {device} is given out twice"
        );
    }
    for allocation in held {
        assert_eq!(
            allocation.gpus().iter().map(|(_, share)| *share).sum::<Fixed>(),
            allocation.resources().get(&ResourceName::Gpu)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pl_1_nr_2_resources_are_neither_given_out_twice_nor_lost(steps in proptest::collection::vec(step(), 1..80)) {
        let mut node = NodeResources::new(&set(400, 200, 5)).unwrap();
        let mut held: Vec<Allocation> = Vec::new();
        for step in steps {
            let count = held.len().max(1);
            match step {
                Step::Allocate { cpu, gpu, custom, bundle, actor } => {
                    let mut shape = Shape::new(set(cpu, gpu, custom)).unwrap();
                    if let Some((number, index)) = bundle {
                        shape = shape.in_bundle(target(number, index));
                    }
                    let kind = if actor { LeaseKind::Actor } else { LeaseKind::Task };
                    let fits = node.fits(&shape, Room::Available).is_ok();
                    let got = node.allocate(&shape, kind);
                    prop_assert_eq!(got.is_ok(), fits);
                    held.extend(got);
                }
                Step::Release(at) if !held.is_empty() => node.release(held.swap_remove(at % count)),
                Step::Block(at) if !held.is_empty() => node.release_cpu(&mut held[at % count]),
                Step::Resume(at) if !held.is_empty() => node.reacquire_cpu_oversubscribed(&mut held[at % count]),
                Step::DropCpu(at) if !held.is_empty() => node.drop_cpu(&mut held[at % count]),
                Step::Prepare { group: number, index, cpu, gpu } => {
                    // Whether it fits or conflicts, nothing may leak: that is what is checked below.
                    let _refused = node.prepare_bundle(group(number), index, &set(cpu, gpu, 0)).err();
                }
                Step::Commit { group: number, index } => {
                    let _refused = node.commit_bundle(group(number), index).err();
                }
                Step::Return { group: number, index } => {
                    node.return_bundle(group(number), index);
                }
                _ => {}
            }
            check(&node, &held);
        }
        for allocation in held.drain(..) {
            node.release(allocation);
        }
        for (number, index) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            node.return_bundle(group(number), index);
        }
        prop_assert_eq!(node.available(), node.total());
        prop_assert!(node.fits(&Shape::new(node.total()).unwrap(), Room::WithoutTasks).is_ok(), "lasting leases leaked");
    }
}
