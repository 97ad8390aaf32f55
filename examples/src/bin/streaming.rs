//! A task that gives its results one by one: the driver works on the first while the last is not made yet, and a slow
//! driver holds the task back.
//!
//! `cargo run --release -p ray-examples --bin streaming`

use std::io::Write;

use anyhow::Result;
use ray_core::prelude::*;

/// All primes below `limit`, in blocks.
#[remote]
fn primes(limit: u64, block: u64) -> impl Iterator<Item = Vec<u64>> {
    let is_prime = |n: &u64| *n > 1 && (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (0..limit)
        .step_by(block as usize)
        .map(move |start| (start..(start + block).min(limit)).filter(is_prime).collect())
}

fn main() -> Result<()> {
    let _ray = ray_core::init()?;
    let mut out = std::io::stdout().lock();
    let mut count = 0;
    for block in primes::remote(200_000, 20_000) {
        let block = ray_core::get(&block)?;
        count += block.len();
        writeln!(
            out,
            "{count:>6} primes up to {}",
            block.last().copied().unwrap_or_default()
        )?;
    }
    Ok(())
}
