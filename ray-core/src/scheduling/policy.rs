//! Which node a lease goes to: Ray's hybrid policy, SPREAD and node affinity.

use super::resources::ResourceSet;
use super::view::NodeView;
use crate::ids::NodeId;

/// What to do with a lease request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This node has room now.
    Available(NodeId),
    /// This node will have room when others end: wait there.
    Queue(NodeId),
    /// No node is large enough.
    Infeasible,
}

/// Constants of the hybrid policy, named as Ray names them.
#[derive(Debug, Clone)]
pub struct HybridOptions {
    /// Below this utilisation nodes count as equally empty, so that leases stay together (`scheduler_spread_threshold`).
    pub spread_threshold: f64,
    /// The choice is among at least so many nodes (`scheduler_top_k_absolute`).
    pub top_k_absolute: usize,
    /// The choice is among at least this part of the nodes (`scheduler_top_k_fraction`).
    pub top_k_fraction: f64,
    /// Leave nodes with GPUs to requests for GPUs, as long as others will do (`scheduler_avoid_gpu_nodes`).
    pub avoid_gpu_nodes: bool,
}

impl Default for HybridOptions {
    fn default() -> Self {
        Self {
            spread_threshold: 0.5,
            top_k_absolute: 1,
            top_k_fraction: 0.2,
            avoid_gpu_nodes: true,
        }
    }
}

/// Ray's default: the preferred node while nodes are half empty, then the emptiest few, one of them by `random`.
pub fn hybrid(
    nodes: &[NodeView],
    request: &ResourceSet,
    preferred: Option<NodeId>,
    options: &HybridOptions,
    random: u64,
) -> Choice {
    let wants_gpu = request.get(&super::ResourceName::Gpu) > super::Fixed::ZERO;
    if options.avoid_gpu_nodes && !wants_gpu {
        let plain: Vec<&NodeView> = nodes.iter().filter(|node| !node.has_gpus()).collect();
        if let Some(node) = emptiest(&plain, request, preferred, options, random, NodeView::is_available) {
            return Choice::Available(node);
        }
    }
    let all: Vec<&NodeView> = nodes.iter().collect();
    if let Some(node) = emptiest(&all, request, preferred, options, random, NodeView::is_available) {
        return Choice::Available(node);
    }
    match emptiest(&all, request, preferred, options, random, NodeView::is_feasible) {
        Some(node) => Choice::Queue(node),
        None => Choice::Infeasible,
    }
}

fn emptiest(
    nodes: &[&NodeView],
    request: &ResourceSet,
    preferred: Option<NodeId>,
    options: &HybridOptions,
    random: u64,
    eligible: impl Fn(&NodeView, &ResourceSet) -> bool,
) -> Option<NodeId> {
    let score = |node: &NodeView| {
        let utilisation = node.critical_utilisation();
        if utilisation < options.spread_threshold {
            0.0
        } else {
            utilisation
        }
    };
    let mut scored: Vec<(f64, NodeId)> = nodes
        .iter()
        .filter(|node| eligible(node, request))
        .map(|node| (score(node), node.node()))
        .collect();
    // By id where the score is the same, so that every node that decides from the same view decides alike.
    scored.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let (lowest, _) = *scored.first()?;
    if let Some((_, node)) = scored
        .iter()
        .find(|(score, node)| Some(*node) == preferred && *score <= lowest)
    {
        return Some(*node);
    }
    let part = (nodes.len() as f64 * options.top_k_fraction) as usize;
    let top = part.max(options.top_k_absolute).clamp(1, scored.len());
    let index = usize::try_from(random % top as u64).unwrap_or(0);
    Some(scored[index].1)
}

/// SPREAD: round robin over the nodes with room, else over those large enough. `cursor` is the caller's memory of it.
pub fn spread(nodes: &[NodeView], request: &ResourceSet, cursor: &mut usize) -> Choice {
    let next = |eligible: fn(&NodeView, &ResourceSet) -> bool, from: usize| {
        let turns = (0..nodes.len()).map(|step| (from + step) % nodes.len());
        turns.into_iter().find(|at| eligible(&nodes[*at], request))
    };
    let (at, available) = match (
        next(NodeView::is_available, *cursor),
        next(NodeView::is_feasible, *cursor),
    ) {
        (Some(at), _) => (at, true),
        (None, Some(at)) => (at, false),
        (None, None) => return Choice::Infeasible,
    };
    *cursor = (at + 1) % nodes.len();
    let node = nodes[at].node();
    if available {
        Choice::Available(node)
    } else {
        Choice::Queue(node)
    }
}

/// Node affinity: this node and no other if `hard` (it may be busy), else this node if it can, else as the hybrid policy.
pub fn affinity(
    nodes: &[NodeView],
    request: &ResourceSet,
    node: NodeId,
    hard: bool,
    options: &HybridOptions,
    random: u64,
) -> Choice {
    match nodes.iter().find(|view| view.node() == node) {
        Some(view) if view.is_available(request) => Choice::Available(node),
        Some(view) if view.is_feasible(request) => Choice::Queue(node),
        _ if hard => Choice::Infeasible,
        _ => hybrid(nodes, request, None, options, random),
    }
}
