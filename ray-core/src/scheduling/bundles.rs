//! Which nodes the bundles of a placement group go to.
//!
//! - BP-1: a plan fits: all bundles together, on the nodes they are planned on, as these are now.
//! - BP-2: `STRICT_PACK` uses one node, `STRICT_SPREAD` a node of its own for each bundle. Both are decided exactly: the
//!   latter by bipartite matching (augmenting paths), the former but for fractions of GPUs, which are packed greedily.
//! - BP-3: `PACK` uses one node and `SPREAD` distinct nodes whenever that is possible now; else they come as close as a
//!   greedy choice does, largest bundle first.
//! - BP-4: [`PlanError::Infeasible`] is said only of what no waiting can help. That the greedy choice found nothing is
//!   [`PlanError::Unavailable`].

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::pool::{Pool, Room, Shortfall};
use super::resources::{ResourceError, ResourceName, ResourceSet, check_gpus};
use super::view::NodeView;
use crate::ids::NodeId;

/// How the bundles of a placement group lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Strategy {
    /// On as few nodes as possible.
    #[default]
    Pack,
    /// On as many nodes as possible.
    Spread,
    /// All on one node.
    StrictPack,
    /// Each on a node of its own.
    StrictSpread,
}

impl Strategy {
    const ALL: [Self; 4] = [Self::Pack, Self::Spread, Self::StrictPack, Self::StrictSpread];

    /// As frames and people name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "PACK",
            Self::Spread => "SPREAD",
            Self::StrictPack => "STRICT_PACK",
            Self::StrictSpread => "STRICT_SPREAD",
        }
    }

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == name)
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A placement group without bundles.
    #[error("a placement group needs at least one bundle")]
    NoBundles,
    /// A bundle that asks for nothing.
    #[error("bundle {index} is empty: every bundle needs a resource above zero")]
    EmptyBundle {
        /// Its index.
        index: usize,
    },
    /// A bundle that makes no sense.
    #[error("bundle {index}: {reason}")]
    BadBundle {
        /// Its index.
        index: usize,
        /// What is wrong.
        reason: ResourceError,
    },
    /// The nodes could not hold it even if they were idle.
    #[error("the placement group cannot be placed: {why}")]
    Infeasible {
        /// What is missing.
        why: Obstacle,
    },
    /// Not now.
    #[error("the placement group has to wait for resources")]
    Unavailable,
}

/// What stands in the way of a placement group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// There are no nodes.
    #[error("there are no nodes")]
    NoNodes,
    /// No node is large enough for one of the bundles.
    #[error("bundle {index} fits on no node: {nearest}")]
    Bundle {
        /// The bundle's index.
        index: usize,
        /// What the last node that was tried lacks.
        nearest: Shortfall,
    },
    /// No node is large enough for all bundles.
    #[error("all {bundles} bundles together fit on no node, as STRICT_PACK asks: {nearest}")]
    AllOnOne {
        /// How many bundles there are.
        bundles: usize,
        /// What the last node that was tried lacks.
        nearest: Shortfall,
    },
    /// Not enough nodes that are large enough.
    #[error("{bundles} bundles need a node each, as STRICT_SPREAD asks, and only {nodes} nodes can serve")]
    TooFewNodes {
        /// How many bundles there are.
        bundles: usize,
        /// How many of them find a node of their own.
        nodes: usize,
    },
    /// All nodes together have less.
    #[error("all nodes together: {0}")]
    Sum(Shortfall),
}

/// A node for each bundle.
///
/// # Errors
/// [`PlanError`] says what is wrong with the bundles, what can never fit, or that it does not fit now.
pub fn plan(nodes: &[NodeView], bundles: &[ResourceSet], strategy: Strategy) -> Result<Vec<NodeId>, PlanError> {
    check(bundles)?;
    let now = attempt(nodes, bundles, strategy);
    if let Some(chosen) = now {
        return Ok(chosen.into_iter().map(|at| nodes[at].node()).collect());
    }
    match obstacle(nodes, bundles, strategy) {
        Some(why) => Err(PlanError::Infeasible { why }),
        None => Err(PlanError::Unavailable),
    }
}

/// Whether the bundles make sense, wherever they might go.
///
/// # Errors
/// [`PlanError`] says what is wrong with which.
pub fn check(bundles: &[ResourceSet]) -> Result<(), PlanError> {
    if bundles.is_empty() {
        return Err(PlanError::NoBundles);
    }
    for (index, bundle) in bundles.iter().enumerate() {
        if bundle.is_empty() {
            return Err(PlanError::EmptyBundle { index });
        }
        check_gpus(bundle).map_err(|reason| PlanError::BadBundle { index, reason })?;
    }
    Ok(())
}

fn attempt(nodes: &[NodeView], bundles: &[ResourceSet], strategy: Strategy) -> Option<Vec<usize>> {
    let room = Room::Available;
    match strategy {
        Strategy::StrictPack => all_on_one(nodes, bundles),
        Strategy::StrictSpread => one_each(nodes, bundles, room).ok(),
        Strategy::Pack => all_on_one(nodes, bundles).or_else(|| fill_up(nodes, bundles)),
        Strategy::Spread => one_each(nodes, bundles, room).ok().or_else(|| deal_out(nodes, bundles)),
    }
}

/// What no waiting can help (BP-4).
fn obstacle(nodes: &[NodeView], bundles: &[ResourceSet], strategy: Strategy) -> Option<Obstacle> {
    if nodes.is_empty() {
        return Some(Obstacle::NoNodes);
    }
    let lacking_everywhere = |request: &ResourceSet| {
        let lacking = nodes.iter().map(|node| node.pool.fits(request, Room::Total).err());
        lacking.collect::<Option<Vec<_>>>().and_then(|mut all| all.pop())
    };
    let single = bundles
        .iter()
        .enumerate()
        .find_map(|(index, bundle)| Some((index, lacking_everywhere(bundle)?)));
    if let Some((index, nearest)) = single {
        return Some(Obstacle::Bundle { index, nearest });
    }
    let sum = sum(bundles);
    match strategy {
        Strategy::StrictPack => {
            let nearest = lacking_everywhere(&whole_devices(&sum))?;
            Some(Obstacle::AllOnOne {
                bundles: bundles.len(),
                nearest,
            })
        }
        Strategy::StrictSpread => {
            let nodes = one_each(nodes, bundles, Room::Total).err()?;
            Some(Obstacle::TooFewNodes {
                bundles: bundles.len(),
                nodes,
            })
        }
        Strategy::Pack | Strategy::Spread => sum
            .iter()
            .map(|(resource, required)| {
                let found = nodes.iter().map(|node| node.pool.quantity(resource, Room::Total)).sum();
                Shortfall::Resource {
                    resource: resource.clone(),
                    required,
                    found,
                }
            })
            .find(|shortfall| matches!(shortfall, Shortfall::Resource { required, found, .. } if required > found))
            .map(Obstacle::Sum),
    }
}

fn sum(bundles: &[ResourceSet]) -> ResourceSet {
    bundles.iter().fold(ResourceSet::new(), |mut sum, bundle| {
        sum.add(bundle);
        sum
    })
}

/// A sum of fractions of GPUs is no request; rounded down to devices it is one that must fit in any case.
fn whole_devices(sum: &ResourceSet) -> ResourceSet {
    let gpus = sum.get(&ResourceName::Gpu);
    let devices = if gpus.is_whole() {
        gpus.units_rounded_up()
    } else {
        gpus.units_rounded_up() - 1
    };
    let devices = u32::try_from(devices).unwrap_or(u32::MAX);
    sum.clone().with(ResourceName::Gpu, super::Fixed::whole(devices))
}

/// The order in which bundles are placed: many GPUs first, then the largest. They are the hardest to place.
fn hardest_first(bundles: &[ResourceSet]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..bundles.len()).collect();
    order.sort_by_cached_key(|at| {
        let bundle = &bundles[*at];
        let scarce = bundle
            .iter()
            .filter(|(name, _)| matches!(name, ResourceName::Custom(_)))
            .count();
        Reverse((
            bundle.get(&ResourceName::Gpu),
            scarce,
            bundle.get(&ResourceName::Cpu),
            bundle.get(&ResourceName::Memory),
        ))
    });
    order
}

/// Places as many of `waiting` as fit into `pool`, and gives those that do not.
fn pour(pool: &mut Pool, bundles: &[ResourceSet], waiting: &[usize]) -> Vec<usize> {
    let left = waiting.iter().filter(|at| pool.take(&bundles[**at], true).is_err());
    left.copied().collect()
}

fn all_on_one(nodes: &[NodeView], bundles: &[ResourceSet]) -> Option<Vec<usize>> {
    let order = hardest_first(bundles);
    let total = sum(bundles);
    let fits = nodes.iter().enumerate().filter(|(_, node)| {
        let mut pool = node.pool.clone();
        pour(&mut pool, bundles, &order).is_empty()
    });
    let emptiest =
        fits.max_by(|(_, one), (_, other)| one.emptiness_after(&total).total_cmp(&other.emptiness_after(&total)));
    emptiest.map(|(node, _)| vec![node; bundles.len()])
}

/// A node of its own for each bundle, or how many can have one: maximal bipartite matching.
fn one_each(nodes: &[NodeView], bundles: &[ResourceSet], room: Room) -> Result<Vec<usize>, usize> {
    let order = hardest_first(bundles);
    let mut candidates: Vec<Vec<usize>> = vec![Vec::new(); bundles.len()];
    for (bundle, candidates) in bundles.iter().zip(&mut candidates) {
        candidates.extend((0..nodes.len()).filter(|node| nodes[*node].pool.fits(bundle, room).is_ok()));
        // The emptiest first: where there is a choice, the load is even.
        candidates.sort_by(|one, other| {
            nodes[*other]
                .emptiness_after(bundle)
                .total_cmp(&nodes[*one].emptiness_after(bundle))
        });
    }
    let mut bundle_on: Vec<Option<usize>> = vec![None; nodes.len()];
    let matched = order
        .iter()
        .filter(|bundle| augment(**bundle, &candidates, &mut bundle_on, &mut vec![false; nodes.len()]));
    let matched = matched.count();
    if matched < bundles.len() {
        return Err(matched);
    }
    let mut chosen = vec![0; bundles.len()];
    for (node, bundle) in bundle_on.iter().enumerate() {
        if let Some(bundle) = bundle {
            chosen[*bundle] = node;
        }
    }
    Ok(chosen)
}

/// Finds `bundle` a node, moving others if need be. At most as deep as there are nodes.
fn augment(bundle: usize, candidates: &[Vec<usize>], bundle_on: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &node in &candidates[bundle] {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        let free = match bundle_on[node] {
            None => true,
            Some(other) => augment(other, candidates, bundle_on, seen),
        };
        if free {
            bundle_on[node] = Some(bundle);
            return true;
        }
    }
    false
}

/// Greedy packing: again and again the node that takes the most of what is left.
fn fill_up(nodes: &[NodeView], bundles: &[ResourceSet]) -> Option<Vec<usize>> {
    let mut pools: Vec<Pool> = nodes.iter().map(|node| node.pool.clone()).collect();
    let mut chosen = vec![0; bundles.len()];
    let mut waiting = hardest_first(bundles);
    while !waiting.is_empty() {
        let poured = pools.iter().enumerate().map(|(node, pool)| {
            let mut pool = pool.clone();
            let left = pour(&mut pool, bundles, &waiting);
            (node, pool, left)
        });
        let (node, pool, left) = poured.min_by_key(|(_, _, left)| left.len())?;
        if left.len() == waiting.len() {
            return None;
        }
        for at in waiting.iter().filter(|at| !left.contains(at)) {
            chosen[*at] = node;
        }
        pools[node] = pool;
        waiting = left;
    }
    Some(chosen)
}

/// Greedy spreading: each bundle to the node with the fewest bundles so far.
fn deal_out(nodes: &[NodeView], bundles: &[ResourceSet]) -> Option<Vec<usize>> {
    let mut pools: Vec<(usize, Pool)> = nodes.iter().map(|node| (0, node.pool.clone())).collect();
    let mut chosen = vec![0; bundles.len()];
    for at in hardest_first(bundles) {
        let fits = pools
            .iter()
            .enumerate()
            .filter(|(_, (_, pool))| pool.fits(&bundles[at], Room::Available).is_ok());
        let node = fits.min_by_key(|(_, (count, _))| *count).map(|(node, _)| node)?;
        pools[node].0 += 1;
        pools[node].1.take(&bundles[at], true).ok()?;
        chosen[at] = node;
    }
    Some(chosen)
}
