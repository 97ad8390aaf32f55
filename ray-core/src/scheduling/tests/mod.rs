//! Tests of the scheduling decisions, by property where there is one.

mod bundles;
mod node;
mod policy;

use super::{Fixed, ResourceName, ResourceSet, Shape};

/// A set in hundredths of units, so that the tests stay short.
pub(super) fn set(cpu: u32, gpu: u32, custom: u32) -> ResourceSet {
    let hundredths = |count: u32| Fixed::from_f64(f64::from(count) / 100.0).unwrap();
    ResourceSet::new()
        .with(ResourceName::Cpu, hundredths(cpu))
        .with(ResourceName::Gpu, hundredths(gpu))
        .with(ResourceName::custom("licence").unwrap(), hundredths(custom))
}

pub(super) fn shape(cpu: u32, gpu: u32, custom: u32) -> Shape {
    Shape::new(set(cpu, gpu, custom)).unwrap()
}
