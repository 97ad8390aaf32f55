//! The `memory` report.

use crate::api::blocking;
use crate::error::Result;
use crate::memory::MemoryReport;
use crate::worker::current;

/// Who holds which memory of this node: every object with its size, state and holders, and the memory of each process with
/// the tasks and the actor in it. Printed, it is a table.
///
/// With `RAY_record_ref_creation_sites=1` it also says where in the program each object was made.
///
/// # Errors
/// [`RayError::NotInitialized`](crate::RayError::NotInitialized),
/// [`RayError::Disconnected`](crate::RayError::Disconnected).
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let numbers = ray_core::put(&vec![1u64; 1000])?;
/// let report = ray_core::memory_report()?;
/// println!("{report}");
/// let object = report.objects.iter().find(|object| object.object == numbers.id());
/// assert_eq!(object.map(|object| object.holders[0].handles), Some(1));
/// # Ok(()) }
/// ```
pub fn memory_report() -> Result<MemoryReport> {
    let worker = current()?;
    blocking::run("memory_report()", "a blocking thread", worker.memory_report())
}
