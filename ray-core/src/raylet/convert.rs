//! Between resources as frames carry them and resources as the scheduler knows them.

use std::collections::BTreeMap;

use crate::scheduling::{BundleTarget, Fixed, ResourceError, ResourceName, ResourceSet, Shape};
use crate::wire::{LeaseShape, SchedulingStrategy};

/// Resources in steps of 1/10000, as tasks ask for them.
pub(super) fn from_steps(steps: &BTreeMap<String, i64>) -> Result<ResourceSet, ResourceError> {
    let mut set = ResourceSet::new();
    for (name, amount) in steps {
        let name = ResourceName::parse(name)?;
        let amount = Fixed::from_steps(*amount).map_err(|reason| ResourceError::Quantity {
            resource: name.clone(),
            reason,
        })?;
        set = set.with(name, amount);
    }
    Ok(set)
}

/// Resources as numbers, for reports.
pub(super) fn to_numbers(set: &ResourceSet) -> BTreeMap<String, f64> {
    set.iter()
        .map(|(name, amount)| (name.to_string(), amount.to_f64()))
        .collect()
}

pub(super) fn shape_of(wire: &LeaseShape) -> Result<Shape, ResourceError> {
    within(Shape::new(from_steps(&wire.resources)?)?, &wire.strategy)
}

pub(super) fn within(shape: Shape, strategy: &SchedulingStrategy) -> Result<Shape, ResourceError> {
    Ok(match strategy {
        SchedulingStrategy::PlacementGroup { group, bundle, .. } => shape.in_bundle(BundleTarget {
            group: *group,
            index: *bundle,
        }),
        _ => shape,
    })
}
