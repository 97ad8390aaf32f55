//! The floor of two busy workers: two plain processes that compute the same at the same time.

use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::child::{Child, Role};
use crate::context::Context;
use crate::sample::Sample;

/// Rounds that take about half a second, long enough that starting them does not show.
const ROUNDS: u64 = 150_000_000;

/// The work of one busy process or worker: a chain of shifts (xorshift) that touches no memory and that no
/// compiler shortens.
pub(crate) fn compute() -> u64 {
    compute_rounds(ROUNDS)
}

fn compute_rounds(rounds: u64) -> u64 {
    let mut state: u64 = black_box(1);
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// Seconds until both of two processes have computed; the parent waits, as a driver does.
pub(super) fn two_processes(context: &Context) -> Result<Sample> {
    let mut pair = [Child::start(&Role::Busy)?, Child::start(&Role::Busy)?];
    for child in &mut pair {
        child.wait_for_signal()?;
    }
    let values = context.repeat(|| {
        let started = Instant::now();
        for child in &mut pair {
            child.signal()?;
        }
        for child in &mut pair {
            child.wait_for_signal()?;
        }
        let elapsed = started.elapsed();
        std::thread::sleep(Duration::from_millis(20));
        Ok(elapsed.as_secs_f64())
    })?;
    Ok(Sample::new(values)?.by(pair.iter().map(Child::pid)))
}

/// The other end: says that it is there, then computes once for each byte received.
pub(crate) fn serve(socket: &mut UnixStream) -> Result<()> {
    loop {
        socket.write_all(&[0]).context("telling the parent")?;
        match socket.read_exact(&mut [0]) {
            Ok(()) => black_box(compute()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("waiting for the parent"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_depends_on_every_round() {
        assert_eq!(compute_rounds(0), 1);
        assert_ne!(compute_rounds(10), compute_rounds(11));
    }
}
