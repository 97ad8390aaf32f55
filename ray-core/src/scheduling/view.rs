//! A node as the cluster sees it: what the choice of a node is made from.

use super::fixed::Fixed;
use super::node::NodeResources;
use super::pool::{Pool, Room};
use super::resources::{ResourceError, ResourceName, ResourceSet};
use crate::ids::NodeId;

/// A node, what it has and what is left of it.
#[derive(Debug, Clone)]
pub struct NodeView {
    node: NodeId,
    pub(super) pool: Pool,
}

impl NodeView {
    /// A node known by its sums, as other nodes know it.
    ///
    /// # Errors
    /// [`ResourceError::FractionalGpus`] when the node's number of GPUs is not whole.
    pub fn new(node: NodeId, total: &ResourceSet, available: &ResourceSet) -> Result<Self, ResourceError> {
        Ok(Self {
            node,
            pool: Pool::from_sums(total, available)?,
        })
    }

    /// A node known to the last device, as it knows itself.
    pub fn of(node: NodeId, resources: &NodeResources) -> Self {
        Self {
            node,
            pool: resources.pool().clone(),
        }
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether the request could run on the node, ever.
    pub fn is_feasible(&self, request: &ResourceSet) -> bool {
        self.pool.fits(request, Room::Total).is_ok()
    }

    /// Whether the request could run on the node now.
    pub fn is_available(&self, request: &ResourceSet) -> bool {
        self.pool.fits(request, Room::Available).is_ok()
    }

    /// Counts the request as running on the node, if it has room.
    pub fn take(&mut self, request: &ResourceSet) {
        // Nothing is given back: the next news of the node replaces the view.
        let _taken = self.pool.take(request, false);
    }

    /// The fullest of the resources that every task uses: 0 is idle, 1 is full.
    pub(super) fn critical_utilisation(&self) -> f64 {
        let critical = [ResourceName::Cpu, ResourceName::Memory, ResourceName::ObjectStoreMemory];
        critical.iter().map(|name| self.utilisation(name)).fold(0.0, f64::max)
    }

    fn utilisation(&self, name: &ResourceName) -> f64 {
        let total = self.pool.quantity(name, Room::Total);
        if total <= Fixed::ZERO {
            return 0.0;
        }
        1.0 - self.pool.quantity(name, Room::Available).to_f64() / total.to_f64()
    }

    pub(super) fn has_gpus(&self) -> bool {
        self.pool.quantity(&ResourceName::Gpu, Room::Total) > Fixed::ZERO
    }

    /// How much of what `request` names would be left after it, summed as fractions of what is left now: Ray's
    /// least-resource score, higher is emptier.
    pub(super) fn emptiness_after(&self, request: &ResourceSet) -> f64 {
        let left = |name| self.pool.quantity(name, Room::Available).to_f64();
        request
            .iter()
            .map(|(name, quantity)| (left(name) - quantity.to_f64()) / left(name).max(f64::MIN_POSITIVE))
            .sum()
    }
}
