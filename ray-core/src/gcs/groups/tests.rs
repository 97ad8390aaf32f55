use std::collections::BTreeMap;

use crate::gcs::state::{Effect, Gcs};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::wire::{DeathCause, Frame, GcsEvent, GcsRequest, GroupState, NodeInfo};

const OWNER: WorkerId = WorkerId::from_bytes([7; 16]);

/// A GCS with these nodes, of so many CPUs each.
fn cluster(cpus: &[f64]) -> (Gcs, Vec<NodeId>) {
    let mut gcs = Gcs::new();
    let nodes: Vec<NodeId> = cpus.iter().map(|_| NodeId::random()).collect();
    for (node, cpus) in nodes.iter().zip(cpus) {
        let info = NodeInfo {
            node: *node,
            ..NodeInfo::sample(*cpus)
        };
        gcs.handle(*node, Frame::RegisterNode { info: Box::new(info) });
    }
    (gcs, nodes)
}

fn create(gcs: &mut Gcs, via: NodeId, bundles: usize, strategy: &str) -> (PlacementGroupId, Vec<Effect>) {
    let group = PlacementGroupId::random();
    let body = GcsRequest::CreateGroup {
        group,
        name: None,
        namespace: "n".into(),
        bundles: vec![BTreeMap::from([("CPU".to_owned(), 1.0)]); bundles],
        strategy: strategy.into(),
        owner: OWNER,
        detached: false,
    };
    let frame = Frame::GcsRequest {
        request: 1,
        from: OWNER,
        body: Box::new(body),
    };
    (group, gcs.handle(via, frame))
}

/// The frames of some effects that are about groups, shortened.
fn seen(effects: &[Effect]) -> Vec<(NodeId, String)> {
    let short = |frame: &Frame| match frame {
        Frame::ReserveBundles { bundles, .. } => Some(format!("reserve {}", bundles.len())),
        Frame::ReleaseBundles { .. } => Some("release".to_owned()),
        Frame::GcsEvent { event, .. } => match &**event {
            GcsEvent::Group { state, .. } => Some(short_state(state).to_owned()),
            GcsEvent::Actor { .. } => None,
        },
        Frame::GroupStands { bundles, state, .. } => Some(format!("stands {} {}", bundles.len(), short_state(state))),
        _ => None,
    };
    let mut seen: Vec<_> = effects
        .iter()
        .filter_map(|Effect::Send { node, frame }| Some((*node, short(frame)?)))
        .collect();
    seen.sort();
    seen
}

fn short_state(state: &GroupState) -> &'static str {
    match state {
        GroupState::Pending { .. } => "pending",
        GroupState::Created { .. } => "created",
        GroupState::Removed {} => "removed",
        GroupState::Infeasible { .. } => "infeasible",
    }
}

fn free(gcs: &mut Gcs, node: NodeId, cpus: f64) -> Vec<Effect> {
    let available = BTreeMap::from([("CPU".to_owned(), cpus)]);
    gcs.handle(node, Frame::NodeResources { available })
}

#[test]
fn gg1_a_node_that_refuses_undoes_the_others() {
    let (mut gcs, nodes) = cluster(&[1.0, 1.0]);
    let (group, effects) = create(&mut gcs, nodes[0], 2, "STRICT_SPREAD");
    assert_eq!(seen(&effects).len(), 2);
    let answer = |gcs: &mut Gcs, node: usize, reserved: bool| {
        gcs.handle(nodes[node], Frame::BundlesReserved { group, reserved })
    };
    assert!(seen(&answer(&mut gcs, 0, true)).is_empty());
    // The refusing node has told before what it has.
    free(&mut gcs, nodes[1], 0.0);
    let undone = seen(&answer(&mut gcs, 1, false));
    assert!(undone.contains(&(nodes[0], "release".to_owned())) && undone.contains(&(nodes[0], "pending".to_owned())));
    // GG-2: it is tried again when there is room.
    // Still waiting, for another reason.
    assert_eq!(seen(&free(&mut gcs, nodes[0], 1.0)), [(nodes[0], "pending".to_owned())]);
    let again = seen(&free(&mut gcs, nodes[1], 1.0));
    assert_eq!(again.iter().filter(|(_, what)| what == "reserve 1").count(), 2);
    answer(&mut gcs, 0, true);
    assert_eq!(seen(&answer(&mut gcs, 1, true)), [(nodes[0], "created".to_owned())]);
}

#[test]
fn a_group_that_is_removed_while_it_is_reserved_is_released() {
    let (mut gcs, nodes) = cluster(&[2.0]);
    let (group, _) = create(&mut gcs, nodes[0], 2, "PACK");
    let remove = Frame::GcsRequest {
        request: 2,
        from: OWNER,
        body: Box::new(GcsRequest::RemoveGroup { group }),
    };
    assert_eq!(seen(&gcs.handle(nodes[0], remove)), [(nodes[0], "removed".to_owned())]);
    let late = gcs.handle(nodes[0], Frame::BundlesReserved { group, reserved: true });
    assert_eq!(seen(&late), [(nodes[0], "release".to_owned())]);
}

#[test]
fn gg3_a_group_waits_in_the_line_of_its_node_until_it_is_placed_or_removed() {
    let (mut gcs, nodes) = cluster(&[2.0]);
    free(&mut gcs, nodes[0], 1.0);
    let waits = |effects: &[Effect]| {
        let waits = |Effect::Send { frame, .. }: &Effect| matches!(frame, Frame::ReserveBundles { wait: true, .. });
        effects.iter().any(waits)
    };
    let (first, effects) = create(&mut gcs, nodes[0], 2, "PACK");
    assert!(waits(&effects));
    // The node knows best when there is room.
    assert!(seen(&free(&mut gcs, nodes[0], 2.0)).is_empty());
    let answer = Frame::BundlesReserved {
        group: first,
        reserved: true,
    };
    assert_eq!(seen(&gcs.handle(nodes[0], answer)), [(nodes[0], "created".to_owned())]);

    free(&mut gcs, nodes[0], 0.0);
    let (second, effects) = create(&mut gcs, nodes[0], 1, "STRICT_PACK");
    assert!(waits(&effects));
    let remove = Frame::GcsRequest {
        request: 2,
        from: OWNER,
        body: Box::new(GcsRequest::RemoveGroup { group: second }),
    };
    let told = seen(&gcs.handle(nodes[0], remove));
    assert_eq!(
        told,
        [(nodes[0], "release".to_owned()), (nodes[0], "removed".to_owned())]
    );
}

#[test]
fn gg3_a_group_that_its_node_has_refused_waits_there_although_nothing_comes_free() {
    let (mut gcs, nodes) = cluster(&[2.0]);
    let (group, effects) = create(&mut gcs, nodes[0], 2, "PACK");
    assert_eq!(seen(&effects), [(nodes[0], "reserve 2".to_owned())]);
    // Tasks were faster. From now on the node always has other work, and nothing new to tell.
    free(&mut gcs, nodes[0], 0.0);
    let refusal = Frame::BundlesReserved { group, reserved: false };
    let effects = gcs.handle(nodes[0], refusal);
    let waits = |Effect::Send { frame, .. }: &Effect| matches!(frame, Frame::ReserveBundles { wait: true, .. });
    assert!(effects.iter().any(waits), "{effects:?}");
}

#[test]
fn nothing_is_held_back_for_a_group_of_several_nodes() {
    let (mut gcs, nodes) = cluster(&[1.0, 1.0]);
    free(&mut gcs, nodes[1], 0.0);
    let (_, effects) = create(&mut gcs, nodes[0], 2, "STRICT_SPREAD");
    assert_eq!(seen(&effects), [(nodes[0], "pending".to_owned())]);
}

#[test]
fn watchers_hear_of_changes_only_and_nodes_get_the_truth_of_groups_that_are_gone() {
    let (mut gcs, nodes) = cluster(&[1.0]);
    let (group, effects) = create(&mut gcs, nodes[0], 2, "PACK");
    assert_eq!(seen(&effects), [(nodes[0], "infeasible".to_owned())]);
    assert!(seen(&free(&mut gcs, nodes[0], 0.5)).is_empty());
    let wanted = |gcs: &mut Gcs, group| seen(&gcs.handle(nodes[0], Frame::GroupWanted { group }));
    assert_eq!(wanted(&mut gcs, group), [(nodes[0], "stands 2 infeasible".to_owned())]);
    // Its owner ends: the node that has requests for it hears of it too.
    let ended = gcs.handle(
        nodes[0],
        Frame::WorkerEnded {
            worker: OWNER,
            actor: None,
            cause: DeathCause::Intended {},
        },
    );
    assert!(seen(&ended).contains(&(nodes[0], "stands 2 removed".to_owned())));
    assert_eq!(wanted(&mut gcs, group), [(nodes[0], "stands 0 removed".to_owned())]);
}
