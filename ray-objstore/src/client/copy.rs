//! Copying into shared memory at the speed of the memory.
//!
//! Measured on two cores, 1 GiB, GiB/s: touched and mapped memory one thread 9, two threads 17; never touched memory
//! through a mapping 1.3 (a fault and a cleared page each 4 KiB), by `pwrite` after reserving 2.7. A file's `pwrite`s
//! exclude each other, so a second thread does not help there. Huge pages are so few that they are copied to as touched
//! memory is.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::memory::{Step, write_all_at};

/// From this size on a second thread pays for its start.
const PARALLEL_FROM: usize = 16 << 20;
/// Below this the page faults are cheaper than a system call.
const DIRECT_BELOW: usize = 64 << 10;

/// Copies `data` into steps of the same length together, whose pages have memory.
pub(super) fn into_backed<'a>(steps: impl Iterator<Item = Step<'a>> + Send, data: &[u8]) {
    let parallel = data.len() >= PARALLEL_FROM;
    let work = Mutex::new((steps, data));
    let copy = || {
        loop {
            let mut left = work.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mut step) = left.0.next() else { return };
            let Some((data, rest)) = left.1.split_at_checked(step.bytes.len()) else {
                return;
            };
            left.1 = rest;
            drop(left);
            if data.len() >= DIRECT_BELOW {
                step.populate();
            }
            step.bytes.copy_from_slice(data);
        }
    };
    if !parallel {
        return copy();
    }
    std::thread::scope(|scope| {
        let second = std::thread::Builder::new()
            .name("ray-store-copy".into())
            .spawn_scoped(scope, copy);
        if let Err(error) = second {
            tracing::debug!(%error, "copying with one thread");
        }
        copy();
    });
}

/// Copies into pages that were reserved and never touched.
pub(super) fn into_fresh(segment: BorrowedFd<'_>, offset: u64, target: &mut [u8], data: &[u8]) -> Result<(), Error> {
    if data.len() < DIRECT_BELOW {
        target.copy_from_slice(data);
        return Ok(());
    }
    write_all_at(segment, offset, data).map_err(Error::io("writing an object"))
}
