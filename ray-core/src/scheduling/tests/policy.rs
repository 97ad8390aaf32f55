use super::set;
use crate::ids::NodeId;
use crate::scheduling::NodeView;
use crate::scheduling::policy::{Choice, HybridOptions, affinity, hybrid, spread};

/// Nodes of eight CPUs, with so many of them left, numbered from 1.
fn nodes(left: &[u32]) -> Vec<NodeView> {
    let view = |(left, number): (&u32, u8)| {
        NodeView::new(
            NodeId::from_bytes([number; 16]),
            &set(800, 0, 0),
            &set(left * 100, 0, 0),
        )
        .unwrap()
    };
    left.iter().zip(1..).map(view).collect()
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

#[test]
fn hybrid_stays_on_the_preferred_node_until_it_is_half_full() {
    let options = HybridOptions::default();
    let choose = |left: &[u32]| hybrid(&nodes(left), &set(100, 0, 0), Some(id(2)), &options, 0);
    assert_eq!(choose(&[8, 5, 8]), Choice::Available(id(2)));
    assert_eq!(choose(&[8, 4, 8]), Choice::Available(id(1)));
    assert_eq!(choose(&[2, 3, 1]), Choice::Available(id(2)));
}

#[test]
fn hybrid_waits_at_a_node_that_is_large_enough_and_never_at_one_that_is_not() {
    let options = HybridOptions::default();
    assert_eq!(
        hybrid(&nodes(&[0, 0]), &set(800, 0, 0), Some(id(2)), &options, 0),
        Choice::Queue(id(2))
    );
    assert_eq!(
        hybrid(&nodes(&[8, 8]), &set(900, 0, 0), None, &options, 0),
        Choice::Infeasible
    );
}

#[test]
fn hybrid_leaves_gpu_nodes_to_those_who_need_gpus() {
    let mut views = nodes(&[2]);
    views.push(NodeView::new(id(9), &set(800, 100, 0), &set(800, 100, 0)).unwrap());
    let options = HybridOptions::default();
    assert_eq!(
        hybrid(&views, &set(100, 0, 0), Some(id(9)), &options, 0),
        Choice::Available(id(1))
    );
    assert_eq!(
        hybrid(&views, &set(100, 100, 0), None, &options, 0),
        Choice::Available(id(9))
    );
    assert_eq!(
        hybrid(&views, &set(300, 0, 0), None, &options, 0),
        Choice::Available(id(9))
    );
}

#[test]
fn hybrid_chooses_among_the_emptiest_fifth() {
    let views = nodes(&[1, 2, 3, 2, 1, 1, 1, 1, 1, 1]);
    let chosen: Vec<_> = (0..4)
        .map(|random| hybrid(&views, &set(100, 0, 0), None, &HybridOptions::default(), random))
        .collect();
    let (first, second) = (Choice::Available(id(3)), Choice::Available(id(2)));
    assert_eq!(chosen, [first, second, first, second]);
}

#[test]
fn spread_goes_round_and_leaves_out_the_full() {
    let views = nodes(&[8, 0, 8]);
    let mut cursor = 0;
    let chosen: Vec<_> = (0..3).map(|_| spread(&views, &set(100, 0, 0), &mut cursor)).collect();
    assert_eq!(
        chosen,
        [
            Choice::Available(id(1)),
            Choice::Available(id(3)),
            Choice::Available(id(1))
        ]
    );
    assert_eq!(spread(&[], &set(100, 0, 0), &mut cursor), Choice::Infeasible);
}

#[test]
fn affinity_waits_for_its_node_and_gives_it_up_only_if_soft() {
    let (views, options) = (nodes(&[8, 0]), HybridOptions::default());
    let choose = |node, hard| affinity(&views, &set(100, 0, 0), id(node), hard, &options, 0);
    assert_eq!(choose(2, true), Choice::Queue(id(2)));
    assert_eq!(choose(7, true), Choice::Infeasible);
    assert_eq!(choose(7, false), Choice::Available(id(1)));
}
