//! What a node has, who holds it, and what is set aside for placement groups.
//!
//! - NR-1: an [`Allocation`] is not `Clone` and is consumed by [`NodeResources::release`], so it is given back once.
//! - NR-2: left on the node + left in its bundles + held by allocations = total, for every resource and GPU.
//! - NR-3: an allocation from a bundle that was returned in the meantime goes back to the node, never into a later bundle
//!   of the same name.
//! - NR-4: only CPU can be oversubscribed, and only by a lease that resumes after it was blocked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::fixed::Fixed;
use super::pool::{Pool, Room, Shortfall, Taken};
use super::resources::{BundleTarget, ResourceError, ResourceName, ResourceSet, Shape, check_gpus};
use crate::ids::PlacementGroupId;

/// What a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaseKind {
    /// Tasks: the lease ends, so waiting for its resources makes sense.
    Task,
    /// An actor: the lease lasts as long as the actor.
    Actor,
}

/// What a lease holds. Give it back with [`NodeResources::release`]: dropping it would keep its resources taken for ever.
#[derive(Debug)]
#[must_use = "an allocation that is dropped is never given back"]
pub struct Allocation {
    taken: Taken,
    bundle: Option<Source>,
    cpu_released: bool,
}

/// The bundle an allocation was taken from: this very reservation of it, see NR-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    key: BundleKey,
    reservation: u64,
}

impl Allocation {
    /// What was taken.
    pub fn resources(&self) -> &ResourceSet {
        &self.taken.resources
    }

    /// The devices and how much of each, by index on the node.
    pub fn gpus(&self) -> &[(u32, Fixed)] {
        &self.taken.gpus
    }

    /// The bundle it was taken from.
    pub fn bundle(&self) -> Option<(PlacementGroupId, u32)> {
        self.bundle.map(|source| source.key)
    }

    /// Whether its CPU is given back for the time being.
    pub fn is_cpu_released(&self) -> bool {
        self.cpu_released
    }

    fn cpu(&self) -> Fixed {
        self.taken.resources.get(&ResourceName::Cpu)
    }
}

/// A bundle that cannot be set aside or committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It asks for nothing.
    #[error("bundle {index} of placement group {group} is empty: every bundle needs a resource above zero")]
    Empty {
        /// The group.
        group: PlacementGroupId,
        /// The bundle's index.
        index: u32,
    },
    /// It asks for a fraction over one GPU.
    #[error(
        "bundle {index} of placement group {group} asks for {given} GPUs: ask for less than 1 or for a whole number"
    )]
    FractionalGpus {
        /// The group.
        group: PlacementGroupId,
        /// The bundle's index.
        index: u32,
        /// What it asks for.
        given: Fixed,
    },
    /// The node has not enough left.
    #[error("bundle {index} of placement group {group} does not fit now: {shortfall}")]
    Unavailable {
        /// The group.
        group: PlacementGroupId,
        /// The bundle's index.
        index: u32,
        /// What is missing.
        shortfall: Shortfall,
    },
    /// It is set aside already, with other resources.
    #[error("bundle {index} of placement group {group} is set aside already, with other resources")]
    Conflict {
        /// The group.
        group: PlacementGroupId,
        /// The bundle's index.
        index: u32,
    },
    /// It was never prepared here, or was returned.
    #[error("bundle {index} of placement group {group} was not prepared on this node")]
    NotPrepared {
        /// The group.
        group: PlacementGroupId,
        /// The bundle's index.
        index: u32,
    },
}

type BundleKey = (PlacementGroupId, u32);

#[derive(Debug)]
struct Bundle {
    pool: Pool,
    total: ResourceSet,
    reservation: u64,
    committed: bool,
}

/// What a node has and what is left of it.
#[derive(Debug)]
pub struct NodeResources {
    pool: Pool,
    bundles: BTreeMap<BundleKey, Bundle>,
    reservations: u64,
    totals_version: u64,
}

impl NodeResources {
    /// A node with all of `total` free; its GPUs are numbered from zero.
    ///
    /// # Errors
    /// [`ResourceError::FractionalGpus`] when the number of GPUs is not whole.
    pub fn new(total: &ResourceSet) -> Result<Self, ResourceError> {
        Ok(Self {
            pool: Pool::new(total)?,
            bundles: BTreeMap::new(),
            reservations: 0,
            totals_version: 0,
        })
    }

    /// All the node has, bundles included.
    pub fn total(&self) -> ResourceSet {
        self.pool.quantities(Room::Total)
    }

    /// What is left outside bundles; oversubscribed CPU shows as none left.
    pub fn available(&self) -> ResourceSet {
        self.pool.quantities(Room::Available)
    }

    /// What is left of one resource outside bundles: below zero when it is oversubscribed.
    pub fn available_of(&self, name: &ResourceName) -> Fixed {
        self.pool.quantity(name, Room::Available)
    }

    /// A number that changes whenever a request may have become feasible or infeasible.
    pub fn totals_version(&self) -> u64 {
        self.totals_version
    }

    /// Changes how much the node has of a resource. What leases hold stays theirs, so less than nothing may be left.
    ///
    /// # Errors
    /// [`ResourceError::ReservedName`] for GPUs, which are devices and not a quantity.
    pub fn set_total(&mut self, name: &ResourceName, total: Fixed) -> Result<(), ResourceError> {
        if *name == ResourceName::Gpu {
            return Err(ResourceError::ReservedName { name: name.to_string() });
        }
        self.pool.set_total(name, total);
        self.totals_version += 1;
        Ok(())
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether `shape` has room, in the sense of `room`.
    ///
    /// # Errors
    /// The [`Shortfall`]: what is missing.
    pub fn fits(&self, shape: &Shape, room: Room) -> Result<(), Shortfall> {
        let Some(target) = shape.bundle() else {
            return self.pool.fits(shape.resources(), room);
        };
        let mut reason = Shortfall::NoBundle { target };
        for (_, bundle) in self.committed(target) {
            match bundle.pool.fits(shape.resources(), room) {
                Ok(()) => return Ok(()),
                Err(shortfall) => reason = shortfall,
            }
        }
        Err(reason)
    }

    fn committed(&self, target: BundleTarget) -> impl Iterator<Item = (&BundleKey, &Bundle)> {
        let range = (target.group, target.index.unwrap_or(0))..=(target.group, target.index.unwrap_or(u32::MAX));
        self.bundles.range(range).filter(|(_, bundle)| bundle.committed)
    }

    /// Takes what `shape` asks for, all or nothing.
    ///
    /// # Errors
    /// The [`Shortfall`]: what is missing now.
    pub fn allocate(&mut self, shape: &Shape, kind: LeaseKind) -> Result<Allocation, Shortfall> {
        let lasting = kind == LeaseKind::Actor;
        let Some(target) = shape.bundle() else {
            let taken = self.pool.take(shape.resources(), lasting)?;
            return Ok(Allocation {
                taken,
                bundle: None,
                cpu_released: false,
            });
        };
        let fits = |bundle: &Bundle| bundle.pool.fits(shape.resources(), Room::Available).is_ok();
        let key = self
            .committed(target)
            .find(|(_, bundle)| fits(bundle))
            .map(|(key, _)| *key);
        match key.and_then(|key| Some((key, self.bundles.get_mut(&key)?))) {
            None => Err(self
                .fits(shape, Room::Available)
                .err()
                .unwrap_or(Shortfall::NoBundle { target })),
            Some((key, bundle)) => Ok(Allocation {
                taken: bundle.pool.take(shape.resources(), lasting)?,
                bundle: Some(Source {
                    key,
                    reservation: bundle.reservation,
                }),
                cpu_released: false,
            }),
        }
    }

    /// The pool an allocation belongs to: its bundle's, or the node's if it has none (any more).
    fn pool_of(&mut self, bundle: Option<Source>) -> &mut Pool {
        match bundle.and_then(|source| Some((source, self.bundles.get_mut(&source.key)?))) {
            Some((source, bundle)) if bundle.reservation == source.reservation => &mut bundle.pool,
            _ => &mut self.pool,
        }
    }

    /// Gives back all that the lease holds.
    pub fn release(&mut self, mut allocation: Allocation) {
        self.reacquire_cpu_oversubscribed(&mut allocation);
        self.pool_of(allocation.bundle).put(allocation.taken);
    }

    /// Gives back the CPU of a lease whose work is blocked, so that what it waits for can run. Its GPUs stay its own.
    pub fn release_cpu(&mut self, allocation: &mut Allocation) {
        if !allocation.cpu_released {
            allocation.cpu_released = true;
            self.pool_of(allocation.bundle)
                .put_cpu(allocation.cpu(), allocation.taken.lasting);
        }
    }

    /// Takes the CPU of a lease again, whose work goes on, whether or not it is free: making it wait could deadlock.
    pub fn reacquire_cpu_oversubscribed(&mut self, allocation: &mut Allocation) {
        if allocation.cpu_released {
            allocation.cpu_released = false;
            self.pool_of(allocation.bundle)
                .take_cpu(allocation.cpu(), allocation.taken.lasting);
        }
    }

    /// Gives back the CPU of a lease for good: an actor by default needs a CPU to be placed and none to run.
    pub fn drop_cpu(&mut self, allocation: &mut Allocation) {
        self.release_cpu(allocation);
        allocation.cpu_released = false;
        let taken = &mut allocation.taken;
        taken.resources = std::mem::take(&mut taken.resources).with(ResourceName::Cpu, Fixed::ZERO);
    }

    /// Sets resources aside for a bundle (first phase). Preparing the same bundle again changes nothing.
    ///
    /// # Errors
    /// [`BundleError`] says what is wrong with the bundle, or what the node lacks now.
    pub fn prepare_bundle(
        &mut self,
        group: PlacementGroupId,
        index: u32,
        resources: &ResourceSet,
    ) -> Result<(), BundleError> {
        if resources.is_empty() {
            return Err(BundleError::Empty { group, index });
        }
        if check_gpus(resources).is_err() {
            let given = resources.get(&ResourceName::Gpu);
            return Err(BundleError::FractionalGpus { group, index, given });
        }
        if let Some(bundle) = self.bundles.get(&(group, index)) {
            let same = bundle.total == *resources;
            return if same {
                Ok(())
            } else {
                Err(BundleError::Conflict { group, index })
            };
        }
        let unavailable = |shortfall| BundleError::Unavailable {
            group,
            index,
            shortfall,
        };
        let taken = self.pool.take(resources, true).map_err(unavailable)?;
        self.reservations += 1;
        let bundle = Bundle {
            pool: Pool::carved_out(&taken),
            total: taken.resources,
            reservation: self.reservations,
            committed: false,
        };
        self.bundles.insert((group, index), bundle);
        Ok(())
    }

    /// Opens a prepared bundle to leases (second phase). Committing it again changes nothing.
    ///
    /// # Errors
    /// [`BundleError::NotPrepared`].
    pub fn commit_bundle(&mut self, group: PlacementGroupId, index: u32) -> Result<(), BundleError> {
        let bundle = self
            .bundles
            .get_mut(&(group, index))
            .ok_or(BundleError::NotPrepared { group, index })?;
        bundle.committed = true;
        self.totals_version += 1;
        Ok(())
    }

    /// Ends a bundle, prepared or committed. What is left of it is free at once; what its leases hold, when they end.
    /// Tells whether there was such a bundle.
    pub fn return_bundle(&mut self, group: PlacementGroupId, index: u32) -> bool {
        let Some(bundle) = self.bundles.remove(&(group, index)) else {
            return false;
        };
        self.pool.dissolve(&bundle.pool);
        self.totals_version += 1;
        true
    }

    /// The bundles on this node: group, index, what it was made of, what is left of it, and whether it is committed.
    pub fn bundles(&self) -> impl Iterator<Item = (PlacementGroupId, u32, &ResourceSet, ResourceSet, bool)> {
        self.bundles.iter().map(|((group, index), bundle)| {
            let left = bundle.pool.quantities(Room::Available);
            (*group, *index, &bundle.total, left, bundle.committed)
        })
    }

    /// Whether a grant of `granted` takes something that `waiting` is short of, so that it passes it over.
    pub(super) fn contends(&self, waiting: &Shape, granted: &Shape) -> bool {
        self.shared(waiting, granted)
            .iter()
            .any(|(name, required, _)| match waiting.bundle() {
                None => !self.pool.has(name, *required, Room::Available),
                Some(_) => true,
            })
    }

    /// Whether granting `request` now could make `reserved` wait longer: it takes of a resource that `reserved` needs
    /// and leaves less than that. Inside a placement group every shared resource counts.
    pub(super) fn would_delay(&self, reserved: &Shape, request: &Shape) -> bool {
        self.shared(reserved, request).iter().any(|(name, required, taken)| {
            if reserved.bundle().is_some() {
                return true;
            }
            match name {
                ResourceName::Gpu => {
                    let needed = required.units_rounded_up() + taken.units_rounded_up();
                    self.pool.whole_gpus(Room::Available) < needed
                }
                _ => self.pool.quantity(name, Room::Available) - *taken < *required,
            }
        })
    }

    /// The resources that both take from the same pool, with what each takes.
    fn shared<'a>(&self, one: &'a Shape, other: &Shape) -> SmallVec<[(&'a ResourceName, Fixed, Fixed); 3]> {
        if one.bundle().map(|target| target.group) != other.bundle().map(|target| target.group) {
            return SmallVec::new();
        }
        let quantities = one
            .resources()
            .iter()
            .map(|(name, needs)| (name, needs, other.resources().get(name)));
        quantities.filter(|(_, _, takes)| *takes > Fixed::ZERO).collect()
    }
}

#[cfg(test)]
impl NodeResources {
    /// What is left in all bundles together; below zero where it is oversubscribed.
    pub(super) fn left_in_bundles(&self, name: &ResourceName) -> Fixed {
        self.bundles
            .values()
            .map(|bundle| bundle.pool.quantity(name, Room::Available))
            .sum()
    }
}
