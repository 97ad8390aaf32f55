//! A pool of resources, a node's or a bundle's: what there is, what is left, and which GPU is shared by whom.
//!
//! - PL-1: for every resource, and for every GPU by itself: left + taken = total. So nothing is given out twice or lost.
//! - PL-2: of everything but CPU, what is left is never below zero, unless the total itself was lowered.
//! - PL-3: a quantity below 1 GPU lies on one device, a larger one on whole devices.

use smallvec::SmallVec;

use super::fixed::Fixed;
use super::resources::{BundleTarget, ResourceError, ResourceName, ResourceSet};

/// Which of a pool's quantities a request is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// All there is: can it ever be granted?
    Total,
    /// What would be left if every lease of bounded length ended: can it be granted by waiting for tasks?
    WithoutTasks,
    /// What is left: can it be granted now?
    Available,
}

/// Why a request does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// There is less than asked for.
    #[error("needs {required} {resource}, there is {found}")]
    Resource {
        /// The first resource that does not suffice.
        resource: ResourceName,
        /// What is asked for.
        required: Fixed,
        /// What there is, in the sense of the [`Room`] asked about.
        found: Fixed,
    },
    /// Enough GPUs in sum, but in pieces.
    #[error(
        "needs {required} GPU, and no device (or not enough whole devices) of the {found} GPU there are has that much"
    )]
    GpuFragments {
        /// What is asked for.
        required: Fixed,
        /// The sum over the devices.
        found: Fixed,
    },
    /// The placement group has no such committed bundle on this node.
    #[error("no bundle {} of placement group {} on this node", BundleIndex(target.index), target.group)]
    NoBundle {
        /// The bundle asked for.
        target: BundleTarget,
    },
}

struct BundleIndex(Option<u32>);

impl std::fmt::Display for BundleIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(index) => write!(f, "{index}"),
            None => f.write_str("at all"),
        }
    }
}

/// A quantity of a device: its index on the node, and how much of it.
pub(super) type GpuShares = SmallVec<[(u32, Fixed); 1]>;

/// What was taken from a pool.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) resources: ResourceSet,
    pub(super) gpus: GpuShares,
    pub(super) lasting: bool,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    total: Fixed,
    available: Fixed,
    /// Taken by leases that have no foreseeable end.
    lasting: Fixed,
}

impl Level {
    fn full(total: Fixed) -> Self {
        Self {
            total,
            available: total,
            lasting: Fixed::ZERO,
        }
    }

    fn room(&self, room: Room) -> Fixed {
        match room {
            Room::Total => self.total,
            Room::WithoutTasks => self.total - self.lasting,
            Room::Available => self.available,
        }
    }

    fn take(&mut self, quantity: Fixed, lasting: bool) {
        self.available -= quantity;
        if lasting {
            self.lasting += quantity;
        }
    }

    fn put(&mut self, quantity: Fixed, lasting: bool) {
        self.available += quantity;
        if lasting {
            self.lasting -= quantity;
        }
    }
}

/// What a node or a bundle has, and what is left of it.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    /// All resources but GPUs, sorted by name.
    levels: SmallVec<[(ResourceName, Level); 3]>,
    /// The devices, sorted by index.
    gpus: SmallVec<[(u32, Level); 1]>,
}

impl Pool {
    /// A full pool, its devices numbered from zero.
    pub(super) fn new(total: &ResourceSet) -> Result<Self, ResourceError> {
        let given = total.get(&ResourceName::Gpu);
        if !given.is_whole() {
            return Err(ResourceError::FractionalGpus { given });
        }
        let devices = u32::try_from(given.units_rounded_up()).unwrap_or(u32::MAX);
        Ok(Self::of(total, (0..devices).map(|index| (index, Fixed::ONE))))
    }

    /// A full pool of what was taken from another one.
    pub(super) fn carved_out(taken: &Taken) -> Self {
        Self::of(&taken.resources, taken.gpus.iter().copied())
    }

    /// A pool known by its sums alone: what is left of its GPUs is taken to lie on as few devices as possible.
    pub(super) fn from_sums(total: &ResourceSet, available: &ResourceSet) -> Result<Self, ResourceError> {
        let mut pool = Self::new(total)?;
        for (name, level) in &mut pool.levels {
            level.available = available.get(name);
        }
        let mut left = available.get(&ResourceName::Gpu);
        for (_, level) in &mut pool.gpus {
            level.available = left.clamp(Fixed::ZERO, Fixed::ONE);
            left -= level.available;
        }
        Ok(pool)
    }

    fn of(total: &ResourceSet, gpus: impl Iterator<Item = (u32, Fixed)>) -> Self {
        let scalars = total.iter().filter(|(name, _)| **name != ResourceName::Gpu);
        Self {
            levels: scalars
                .map(|(name, quantity)| (name.clone(), Level::full(quantity)))
                .collect(),
            gpus: gpus.map(|(index, share)| (index, Level::full(share))).collect(),
        }
    }

    fn level(&self, name: &ResourceName) -> Option<&Level> {
        let at = self.levels.binary_search_by(|(entry, _)| entry.cmp(name)).ok()?;
        Some(&self.levels[at].1)
    }

    fn level_mut(&mut self, name: &ResourceName) -> &mut Level {
        let at = match self.levels.binary_search_by(|(entry, _)| entry.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.levels.insert(at, (name.clone(), Level::full(Fixed::ZERO)));
                at
            }
        };
        &mut self.levels[at].1
    }

    fn gpu_mut(&mut self, device: u32) -> Option<&mut Level> {
        let at = self.gpus.binary_search_by_key(&device, |(index, _)| *index).ok()?;
        Some(&mut self.gpus[at].1)
    }

    /// The quantity of one resource, GPUs summed.
    pub(super) fn quantity(&self, name: &ResourceName, room: Room) -> Fixed {
        match name {
            ResourceName::Gpu => self.gpus.iter().map(|(_, level)| level.room(room)).sum(),
            _ => self.level(name).map_or(Fixed::ZERO, |level| level.room(room)),
        }
    }

    /// All resources with a quantity above zero.
    pub(super) fn quantities(&self, room: Room) -> ResourceSet {
        let scalars = self.levels.iter().map(|(name, level)| (name, level.room(room)));
        let gpus = self.quantity(&ResourceName::Gpu, room);
        scalars
            .chain([(&ResourceName::Gpu, gpus)])
            .filter(|(_, quantity)| *quantity > Fixed::ZERO)
            .fold(ResourceSet::new(), |set, (name, quantity)| {
                set.with(name.clone(), quantity)
            })
    }

    /// Whole devices with nothing taken from them, in the sense of `room`.
    pub(super) fn whole_gpus(&self, room: Room) -> i64 {
        self.gpus
            .iter()
            .filter(|(_, level)| level.room(room) >= Fixed::ONE)
            .count() as i64
    }

    /// Whether one resource has so much room.
    pub(super) fn has(&self, name: &ResourceName, required: Fixed, room: Room) -> bool {
        match name {
            ResourceName::Gpu => self.pick_gpus(required, room).is_some(),
            _ => required == Fixed::ZERO || self.quantity(name, room) >= required,
        }
    }

    /// Whether all of `request` has room.
    pub(super) fn fits(&self, request: &ResourceSet, room: Room) -> Result<(), Shortfall> {
        match request.iter().find(|(name, required)| !self.has(name, *required, room)) {
            None => Ok(()),
            Some((name, required)) => {
                let found = self.quantity(name, room);
                Err(if *name == ResourceName::Gpu && found >= required {
                    Shortfall::GpuFragments { required, found }
                } else {
                    Shortfall::Resource {
                        resource: name.clone(),
                        required,
                        found,
                    }
                })
            }
        }
    }

    /// PL-3. A fraction goes to the device with the least room that still has enough, so that whole devices stay whole.
    fn pick_gpus(&self, required: Fixed, room: Room) -> Option<GpuShares> {
        if required == Fixed::ZERO {
            return Some(GpuShares::new());
        }
        let open = self.gpus.iter().map(|(index, level)| (*index, level.room(room)));
        if required < Fixed::ONE {
            let fits = open.filter(|(_, left)| *left >= required);
            return fits
                .min_by_key(|(_, left)| *left)
                .map(|(index, _)| [(index, required)].into_iter().collect());
        }
        let wanted = usize::try_from(required.units_rounded_up()).ok()?;
        let whole: GpuShares = open
            .filter(|(_, left)| *left >= Fixed::ONE)
            .take(wanted)
            .map(|(index, _)| (index, Fixed::ONE))
            .collect();
        (whole.len() == wanted).then_some(whole)
    }

    /// Takes all of `request`, or nothing.
    pub(super) fn take(&mut self, request: &ResourceSet, lasting: bool) -> Result<Taken, Shortfall> {
        self.fits(request, Room::Available)?;
        // It fits, so the devices are there; a request without GPUs takes none.
        let gpus = self
            .pick_gpus(request.get(&ResourceName::Gpu), Room::Available)
            .unwrap_or_default();
        for (device, share) in &gpus {
            if let Some(level) = self.gpu_mut(*device) {
                level.take(*share, lasting);
            }
        }
        for (name, quantity) in request.iter().filter(|(name, _)| **name != ResourceName::Gpu) {
            self.level_mut(name).take(quantity, lasting);
        }
        Ok(Taken {
            resources: request.clone(),
            gpus,
            lasting,
        })
    }

    /// Gives back what was taken. `taken` came from this pool, or from one that was carved out of it and dissolved.
    pub(super) fn put(&mut self, taken: Taken) {
        for (device, share) in &taken.gpus {
            if let Some(level) = self.gpu_mut(*device) {
                level.put(*share, taken.lasting);
            }
        }
        for (name, quantity) in taken.resources.iter().filter(|(name, _)| **name != ResourceName::Gpu) {
            self.level_mut(name).put(quantity, taken.lasting);
        }
    }

    /// Takes CPU whether or not it is there.
    pub(super) fn take_cpu(&mut self, quantity: Fixed, lasting: bool) {
        self.level_mut(&ResourceName::Cpu).take(quantity, lasting);
    }

    /// Gives CPU back.
    pub(super) fn put_cpu(&mut self, quantity: Fixed, lasting: bool) {
        self.level_mut(&ResourceName::Cpu).put(quantity, lasting);
    }

    /// Ends a pool that was carved out of this one: what is left of it comes back now, what is taken from it when its
    /// leases end, which from now on are leases of this pool.
    pub(super) fn dissolve(&mut self, part: &Pool) {
        let merge = |level: &mut Level, part: &Level| {
            level.available += part.available;
            level.lasting += part.lasting - part.total;
        };
        for (device, part) in &part.gpus {
            if let Some(level) = self.gpu_mut(*device) {
                merge(level, part);
            }
        }
        for (name, part) in &part.levels {
            merge(self.level_mut(name), part);
        }
    }

    /// Changes how much there is of a resource that is not counted per device.
    pub(super) fn set_total(&mut self, name: &ResourceName, total: Fixed) {
        let level = self.level_mut(name);
        level.available += total - level.total;
        level.total = total;
    }
}
