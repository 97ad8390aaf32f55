//! The shape of a task's lease, as a key that is hashed and compared at every step of every task.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use crate::ids::IdHasher;
use crate::wire::LeaseShape;

/// How much CPU these resources are, if they are nothing else.
pub(crate) fn cpus_alone(resources: &BTreeMap<String, i64>) -> Option<i64> {
    let mut amounts = resources.iter().filter(|(_, amount)| **amount != 0);
    match (amounts.next(), amounts.next()) {
        (None, _) => Some(0),
        (Some((name, amount)), None) if name == "CPU" => Some(*amount),
        _ => None,
    }
}

/// A shared [`LeaseShape`] that knows its hash. Tasks of one template have the very same one, which makes equality cheap too.
#[derive(Debug, Clone)]
pub(crate) struct Shape(Arc<Hashed>);

#[derive(Debug)]
struct Hashed {
    hash: u64,
    shape: LeaseShape,
}

impl Shape {
    pub(crate) fn new(shape: LeaseShape) -> Self {
        let hash = IdHasher::default().hash_one(&shape);
        Self(Arc::new(Hashed { hash, shape }))
    }
}

impl Deref for Shape {
    type Target = LeaseShape;

    fn deref(&self) -> &LeaseShape {
        &self.0.shape
    }
}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.shape == other.0.shape)
    }
}

impl Eq for Shape {}
