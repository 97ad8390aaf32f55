//! Pi by Monte Carlo: many tasks on all cores.
//!
//! `cargo run --release -p ray-examples --bin pi`

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ray_core::prelude::*;

const TASKS: u64 = 64;
const POINTS: u64 = 1_000_000;

/// How many of `points` random points in the unit square lie in the circle.
#[remote]
fn hits(seed: u64, points: u64) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut inside = || {
        let (x, y): (f64, f64) = (random.random(), random.random());
        x * x + y * y <= 1.0
    };
    (0..points).filter(|_| inside()).count() as u64
}

fn main() -> Result<()> {
    let _ray = ray_core::init()?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..TASKS).map(|seed| hits::remote(seed, POINTS)).collect();
    let total: u64 = ray_core::get(&tasks)?.iter().sum();
    let pi = 4.0 * total as f64 / (TASKS * POINTS) as f64;
    writeln!(
        std::io::stdout(),
        "pi is about {pi:.5} ({TASKS} tasks in {:.2?})",
        started.elapsed()
    )?;
    Ok(())
}
