use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::set;
use crate::ids::{NodeId, PlacementGroupId};
use crate::scheduling::bundles::{Obstacle, PlanError, Strategy as Placement, plan};
use crate::scheduling::{NodeResources, NodeView, ResourceSet, Room};

fn node(number: u8, total: &ResourceSet) -> NodeView {
    NodeView::of(NodeId::from_bytes([number; 16]), &NodeResources::new(total).unwrap())
}

fn nodes(totals: &[ResourceSet]) -> Vec<NodeView> {
    totals
        .iter()
        .zip(1..)
        .map(|(total, number)| node(number, total))
        .collect()
}

fn distinct(plan: &[NodeId]) -> usize {
    plan.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn one_node_takes_all_but_strict_spread() {
    let one = nodes(&[set(400, 0, 0)]);
    let bundles = [set(100, 0, 0), set(200, 0, 0)];
    for strategy in [Placement::Pack, Placement::Spread, Placement::StrictPack] {
        assert_eq!(plan(&one, &bundles, strategy), Ok(vec![one[0].node(); 2]));
    }
    assert_eq!(
        plan(&one, &bundles, Placement::StrictSpread),
        Err(PlanError::Infeasible {
            why: Obstacle::TooFewNodes { bundles: 2, nodes: 1 }
        })
    );
}

#[test]
fn no_bundles_and_empty_bundles_are_errors() {
    let one = nodes(&[set(400, 0, 0)]);
    assert_eq!(plan(&one, &[], Placement::Pack), Err(PlanError::NoBundles));
    let bundles = [set(100, 0, 0), ResourceSet::new()];
    assert_eq!(
        plan(&one, &bundles, Placement::Pack),
        Err(PlanError::EmptyBundle { index: 1 })
    );
    assert!(matches!(
        plan(&one, &[set(0, 150, 0)], Placement::Pack),
        Err(PlanError::BadBundle { index: 0, .. })
    ));
    assert!(matches!(
        plan(&[], &[set(1, 0, 0)], Placement::Pack),
        Err(PlanError::Infeasible { why: Obstacle::NoNodes })
    ));
}

#[test]
fn bp_4_what_waiting_can_help_is_unavailable_and_what_it_cannot_says_why() {
    let mut busy = NodeResources::new(&set(400, 0, 0)).unwrap();
    busy.prepare_bundle(PlacementGroupId::random(), 0, &set(300, 0, 0))
        .unwrap();
    let views = [NodeView::of(NodeId::random(), &busy)];
    assert_eq!(
        plan(&views, &[set(200, 0, 0)], Placement::Pack),
        Err(PlanError::Unavailable)
    );
    let error = plan(&views, &[set(100, 0, 0), set(500, 0, 0)], Placement::Pack).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the placement group cannot be placed: bundle 1 fits on no node: needs 5 CPU, there is 4"
    );
    let error = plan(&views, &[set(300, 0, 0), set(300, 0, 0)], Placement::StrictPack).unwrap_err();
    assert!(error.to_string().contains("needs 6 CPU, there is 4"), "{error}");
    let error = plan(&views, &[set(300, 0, 0), set(300, 0, 0)], Placement::Pack).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("all nodes together: needs 6 CPU, there is 4"),
        "{error}"
    );
}

#[test]
fn strict_spread_finds_the_only_matching() {
    // The greedy choice, the larger node for the first bundle, would leave none for the second.
    let two = nodes(&[set(400, 0, 100), set(800, 0, 0)]);
    let bundles = [set(100, 0, 0), set(100, 0, 100)];
    assert_eq!(
        plan(&two, &bundles, Placement::StrictSpread),
        Ok(vec![two[1].node(), two[0].node()])
    );
}

#[test]
fn pack_uses_the_node_that_takes_the_most() {
    let three = nodes(&[set(200, 0, 0), set(300, 0, 0), set(200, 0, 0)]);
    let bundles = vec![set(100, 0, 0); 5];
    let placed = plan(&three, &bundles, Placement::Pack).unwrap();
    assert_eq!(distinct(&placed), 2);
}

fn bundle() -> impl Strategy<Value = ResourceSet> {
    let gpu = prop_oneof![3 => Just(0), 1 => 1..100u32, 1 => Just(100)];
    (1..300u32, gpu, 0..2u32).prop_map(|(cpu, gpu, custom)| set(cpu, gpu, custom))
}

fn total() -> impl Strategy<Value = ResourceSet> {
    (1..9u32, 0..3u32, 0..3u32).prop_map(|(cpu, gpu, custom)| set(cpu * 100, gpu * 100, custom))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn bp_1_bp_2_bp_3_plans_fit_and_satisfy_their_strategy(
        totals in proptest::collection::vec(total(), 1..6),
        bundles in proptest::collection::vec(bundle(), 1..7),
    ) {
        let views = nodes(&totals);
        let plans = [Placement::Pack, Placement::Spread, Placement::StrictPack, Placement::StrictSpread]
            .map(|strategy| (strategy, plan(&views, &bundles, strategy)));
        for (strategy, planned) in &plans {
            match planned {
                Ok(chosen) => {
                    let mut real: BTreeMap<NodeId, NodeResources> = views
                        .iter()
                        .zip(&totals)
                        .map(|(view, total)| (view.node(), NodeResources::new(total).unwrap()))
                        .collect();
                    // A node sets its bundles aside in any order, so fractions of GPUs may end up worse than planned.
                    let mut order: Vec<usize> = (0..bundles.len()).collect();
                    order.sort_by_key(|at| std::cmp::Reverse(bundles[*at].get(&crate::scheduling::ResourceName::Gpu)));
                    for at in order {
                        let prepared = real.get_mut(&chosen[at]).unwrap().prepare_bundle(
                            PlacementGroupId::default(), at as u32, &bundles[at]);
                        prop_assert!(prepared.is_ok(), "{strategy:?}: {prepared:?}");
                    }
                    match strategy {
                        Placement::StrictPack => prop_assert_eq!(distinct(chosen), 1),
                        Placement::StrictSpread => prop_assert_eq!(distinct(chosen), bundles.len()),
                        Placement::Pack => if plans[2].1.is_ok() { prop_assert_eq!(distinct(chosen), 1) },
                        Placement::Spread => if plans[3].1.is_ok() { prop_assert_eq!(distinct(chosen), bundles.len()) },
                    }
                }
                Err(PlanError::Infeasible { why: Obstacle::Bundle { index, .. } }) => {
                    prop_assert!(views.iter().all(|view| view.pool.fits(&bundles[*index], Room::Total).is_err()));
                }
                Err(_) => {}
            }
        }
        // What a strict strategy finds, its soft one finds too.
        prop_assert!(plans[2].1.is_err() || plans[0].1.is_ok());
        prop_assert!(plans[3].1.is_err() || plans[1].1.is_ok());
    }
}
