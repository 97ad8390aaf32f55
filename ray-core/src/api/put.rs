//! `put`: from values to references.

use std::panic::Location;

use serde::Serialize;

use crate::api::object_ref::{ObjectRef, RawRef};
use crate::error::Result;
use crate::worker::current;

/// Writes a value into the node's object store and returns a reference to it.
///
/// Buffers inside the value ([`Buffer`](crate::value::Buffer), [`Table`](crate::value::Table),
/// [`Tensor`](crate::value::Tensor), ...) are copied once, from where they are to shared memory, and read in place by
/// every process of the node. The object is freed when its last reference drops.
///
/// # Errors
/// [`RayError::Encode`](crate::RayError::Encode) if the value cannot be serialised,
/// [`RayError::Store`](crate::RayError::Store) if the store is full and nothing can be spilled.
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let reference = ray_core::put(&vec![1, 2, 3])?;
/// assert_eq!(ray_core::get(&reference)?, [1, 2, 3]);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn put<T: Serialize + ToOwned + ?Sized>(value: &T) -> Result<ObjectRef<T::Owned>> {
    let worker = current()?;
    let site = Location::caller();
    let object = worker.put(value)?;
    worker.note_site([object], site);
    Ok(ObjectRef::from_raw(RawRef::counted(
        &worker,
        object,
        worker.identity.worker,
    )))
}
