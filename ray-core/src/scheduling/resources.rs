//! Sets of resources, and the shape of a lease: what it asks for and where.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::fixed::{Fixed, QuantityError};
use crate::ids::PlacementGroupId;

/// The name of a resource. The order is the order in which sets are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ResourceName {
    /// Processor cores.
    Cpu,
    /// Graphics processors, counted per device.
    Gpu,
    /// Bytes of heap, for admission.
    Memory,
    /// Bytes of the object store.
    ObjectStoreMemory,
    /// A name of the user's.
    Custom(Arc<str>),
}

/// A resource request that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResourceError {
    /// The number is no quantity.
    #[error("resource `{resource}`: {reason}")]
    Quantity {
        /// The resource it was given for.
        resource: ResourceName,
        /// What is wrong with the number.
        reason: QuantityError,
    },
    /// More than one GPU, and not a whole number of them.
    #[error("{given} GPUs cannot be given out: ask for a fraction below 1, or for a whole number")]
    FractionalGpus {
        /// What was asked for.
        given: Fixed,
    },
    /// A custom resource with a name that has a meaning of its own.
    #[error("`{name}` is not a custom resource: use the option of its own (num_cpus, num_gpus, memory)")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A custom resource without a name.
    #[error("a custom resource needs a name")]
    EmptyName,
}

impl ResourceName {
    /// The resource with this name, predefined or custom.
    ///
    /// # Errors
    /// [`ResourceError::EmptyName`].
    pub fn parse(name: &str) -> Result<Self, ResourceError> {
        Ok(match name {
            "CPU" => Self::Cpu,
            "GPU" => Self::Gpu,
            "memory" => Self::Memory,
            "object_store_memory" => Self::ObjectStoreMemory,
            "" => return Err(ResourceError::EmptyName),
            custom => Self::Custom(custom.into()),
        })
    }

    /// The custom resource with this name.
    ///
    /// # Errors
    /// [`ResourceError::ReservedName`] for a predefined one, [`ResourceError::EmptyName`].
    pub fn custom(name: &str) -> Result<Self, ResourceError> {
        match Self::parse(name)? {
            custom @ Self::Custom(_) => Ok(custom),
            _ => Err(ResourceError::ReservedName { name: name.to_owned() }),
        }
    }

    /// The name as users write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Memory => "memory",
            Self::ObjectStoreMemory => "object_store_memory",
            Self::Custom(name) => name,
        }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for ResourceName {
    type Error = ResourceError;

    fn try_from(name: String) -> Result<Self, ResourceError> {
        Self::parse(&name)
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.as_str().to_owned()
    }
}

/// How much of which resources. Sorted by name and without zeros, so equal sets are equal values with equal hashes.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(ResourceName, i64)>", into = "Vec<(ResourceName, i64)>")]
pub struct ResourceSet {
    entries: SmallVec<[(ResourceName, Fixed); 2]>,
}

impl ResourceSet {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many whole CPUs.
    pub fn cpus(count: u32) -> Self {
        Self::new().with(ResourceName::Cpu, Fixed::whole(count))
    }

    /// The set of these quantities; of a name given twice the last counts.
    ///
    /// # Errors
    /// [`ResourceError::Quantity`] names the resource and what is wrong with its number.
    pub fn from_f64(quantities: impl IntoIterator<Item = (ResourceName, f64)>) -> Result<Self, ResourceError> {
        let mut set = Self::new();
        for (resource, given) in quantities {
            match Fixed::from_f64(given) {
                Ok(quantity) => set.set(resource, quantity),
                Err(reason) => return Err(ResourceError::Quantity { resource, reason }),
            }
        }
        Ok(set)
    }

    /// The set as nodes and bundles declare it.
    ///
    /// # Errors
    /// Those of [`ResourceName::parse`] and [`from_f64`](Self::from_f64).
    pub(crate) fn from_numbers(numbers: &BTreeMap<String, f64>) -> Result<Self, ResourceError> {
        let parsed: Result<Vec<_>, ResourceError> = numbers
            .iter()
            .map(|(name, amount)| Ok((ResourceName::parse(name)?, *amount)))
            .collect();
        Self::from_f64(parsed?)
    }

    /// This set with so much of `name`, whatever it had of it.
    pub fn with(mut self, name: ResourceName, quantity: Fixed) -> Self {
        self.set(name, quantity);
        self
    }

    fn set(&mut self, name: ResourceName, quantity: Fixed) {
        match self.position(&name) {
            Ok(at) if quantity == Fixed::ZERO => {
                self.entries.remove(at);
            }
            Ok(at) => self.entries[at].1 = quantity,
            Err(_) if quantity == Fixed::ZERO => {}
            Err(at) => self.entries.insert(at, (name, quantity)),
        }
    }

    /// The quantity of `name`, zero where the set has none.
    pub fn get(&self, name: &ResourceName) -> Fixed {
        self.position(name).map_or(Fixed::ZERO, |at| self.entries[at].1)
    }

    /// Whether there is as much of everything as the other set names.
    pub fn holds(&self, other: &Self) -> bool {
        other.iter().all(|(name, quantity)| quantity <= self.get(name))
    }

    fn position(&self, name: &ResourceName) -> Result<usize, usize> {
        self.entries.binary_search_by(|(entry, _)| entry.cmp(name))
    }

    /// Whether the set has nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The resources and their quantities, sorted by name, none of them zero.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ResourceName, Fixed)> {
        self.entries.iter().map(|(name, quantity)| (name, *quantity))
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, quantity) in other.iter() {
            self.set(name.clone(), self.get(name) + quantity);
        }
    }
}

impl From<ResourceSet> for Vec<(ResourceName, i64)> {
    fn from(set: ResourceSet) -> Self {
        set.entries
            .into_iter()
            .map(|(name, quantity)| (name, quantity.steps()))
            .collect()
    }
}

impl TryFrom<Vec<(ResourceName, i64)>> for ResourceSet {
    type Error = ResourceError;

    fn try_from(entries: Vec<(ResourceName, i64)>) -> Result<Self, ResourceError> {
        let mut set = Self::new();
        for (resource, steps) in entries {
            match Fixed::from_steps(steps) {
                Ok(quantity) => set.set(resource, quantity),
                Err(reason) => return Err(ResourceError::Quantity { resource, reason }),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, quantity)) in self.entries.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{name}: {quantity}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bundle a lease is to run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BundleTarget {
    /// The placement group.
    pub group: PlacementGroupId,
    /// The bundle's index in the group; `None` means whichever has room.
    pub index: Option<u32>,
}

/// What a lease asks for and where: the key under which requests queue and leases are reused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    resources: ResourceSet,
    bundle: Option<BundleTarget>,
}

impl Shape {
    /// A lease of these resources, anywhere on the node.
    ///
    /// # Errors
    /// [`ResourceError::FractionalGpus`].
    pub fn new(resources: ResourceSet) -> Result<Self, ResourceError> {
        check_gpus(&resources)?;
        Ok(Self {
            resources,
            bundle: None,
        })
    }

    /// The same resources inside a bundle.
    pub fn in_bundle(self, bundle: BundleTarget) -> Self {
        Self {
            bundle: Some(bundle),
            ..self
        }
    }

    /// What is asked for.
    pub fn resources(&self) -> &ResourceSet {
        &self.resources
    }

    /// The bundle it is to be taken from, if any.
    pub fn bundle(&self) -> Option<BundleTarget> {
        self.bundle
    }
}

/// A device can be shared, but a lease over several devices has each to itself.
pub(super) fn check_gpus(resources: &ResourceSet) -> Result<(), ResourceError> {
    let given = resources.get(&ResourceName::Gpu);
    if given > Fixed::ONE && !given.is_whole() {
        return Err(ResourceError::FractionalGpus { given });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str) -> ResourceName {
        ResourceName::custom(name).unwrap()
    }

    #[test]
    fn equal_sets_are_equal_whatever_the_order_they_were_built_in() {
        let one =
            ResourceSet::from_f64([(custom("tpu"), 1.0), (ResourceName::Cpu, 2.0), (custom("zero"), 0.0)]).unwrap();
        let other = ResourceSet::cpus(2).with(custom("tpu"), Fixed::ONE);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "{CPU: 2, tpu: 1}");
    }

    #[test]
    fn a_predefined_name_is_no_custom_resource() {
        assert!(matches!(
            ResourceName::custom("CPU"),
            Err(ResourceError::ReservedName { .. })
        ));
        assert_eq!(ResourceName::custom(""), Err(ResourceError::EmptyName));
    }

    #[test]
    fn an_error_names_the_resource() {
        let error = ResourceSet::from_f64([(ResourceName::Cpu, -1.0)]).unwrap_err();
        assert_eq!(error.to_string(), "resource `CPU`: -1 is negative: ask for 0 or more");
    }

    #[test]
    fn one_and_a_half_gpus_are_refused_and_half_a_gpu_is_not() {
        let gpus = |count| ResourceSet::from_f64([(ResourceName::Gpu, count)]).unwrap();
        assert!(matches!(
            Shape::new(gpus(1.5)),
            Err(ResourceError::FractionalGpus { .. })
        ));
        assert!(Shape::new(gpus(0.5)).is_ok());
        assert!(Shape::new(gpus(2.0)).is_ok());
    }

    #[test]
    fn a_set_read_from_elsewhere_is_checked_and_sorted_again() {
        let read = |json: &str| serde_json::from_str::<ResourceSet>(json);
        assert_eq!(
            read(r#"[["x", 10000], ["CPU", 20000], ["y", 0]]"#).unwrap().to_string(),
            "{CPU: 2, x: 1}"
        );
        assert!(read(r#"[["CPU", -1]]"#).is_err());
    }
}
