//! The floor of `put`: one copy of 1 GiB into shared memory.

use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::context::Context;
use crate::sample::Sample;
use crate::shared_memory::SharedMemory;
use crate::stats;

const GIB: usize = 1 << 30;

/// The better of one and two threads that copy into pages that exist.
pub(super) fn into_touched(context: &Context) -> Result<Sample> {
    let source = vec![1; GIB];
    let mut target = SharedMemory::new(GIB)?;
    target.bytes_mut().fill(2);
    let one = context.repeat(|| Ok(gib_per_s(|| copy(&source, target.bytes_mut(), 1))))?;
    let two = context.repeat(|| Ok(gib_per_s(|| copy(&source, target.bytes_mut(), 2))))?;
    if stats::median(&two) > stats::median(&one) {
        Ok(Sample::new(two)?.note("two threads"))
    } else {
        Ok(Sample::new(one)?.note("one thread"))
    }
}

/// One thread that copies into a memfd that has no page yet; making and mapping it counts, giving it back does not.
pub(super) fn into_fresh(context: &Context) -> Result<Sample> {
    let source = vec![1; GIB];
    let values = context.repeat(|| {
        let started = Instant::now();
        let mut target = SharedMemory::new(GIB)?;
        copy(&source, target.bytes_mut(), 1);
        Ok(1.0 / started.elapsed().as_secs_f64())
    })?;
    Sample::new(values)
}

fn gib_per_s(copy_one_gib: impl FnOnce()) -> f64 {
    let started = Instant::now();
    copy_one_gib();
    1.0 / started.elapsed().as_secs_f64()
}

fn copy(source: &[u8], target: &mut [u8], threads: usize) {
    let part = source.len().div_ceil(threads);
    let mut parts = source.chunks(part).zip(target.chunks_mut(part));
    let own = parts.next();
    thread::scope(|scope| {
        for (source, target) in parts {
            scope.spawn(|| target.copy_from_slice(source));
        }
        if let Some((source, target)) = own {
            target.copy_from_slice(source);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_threads_copy_every_byte() {
        let source: Vec<u8> = (0..1001).map(|index| (index % 251) as u8).collect();
        for threads in [1, 2] {
            let mut target = vec![0; source.len()];
            copy(&source, &mut target, threads);
            assert_eq!(target, source);
        }
    }
}
