//! A pool of actors: each has made an expensive start once, and takes the next piece of work when it is free.
//!
//! `cargo run --release -p ray-examples --bin actor_pool`

use std::collections::BTreeMap;
use std::io::Write;
use std::process;

use anyhow::Result;
use ray_core::prelude::*;
use ray_core::util::ActorPool;

type Letters = BTreeMap<char, usize>;

/// Knows how often each letter of a text occurs; its start stands for a model that is loaded once.
struct Counter {
    letters: Vec<char>,
}

#[remote(max_restarts = -1, max_task_retries = -1)]
impl Counter {
    fn new() -> Self {
        Self {
            letters: ('a'..='z').collect(),
        }
    }

    fn count(&self, text: String) -> (u32, Letters) {
        let count = |letter: &char| (*letter, text.chars().filter(|c| c.eq_ignore_ascii_case(letter)).count());
        (process::id(), self.letters.iter().map(count).collect())
    }
}

fn main() -> Result<()> {
    let _ray = ray_core::init()?;
    let texts = (1..=20).map(|n| "The quick brown fox jumps over the lazy dog. ".repeat(n));
    let mut pool = ActorPool::new((0..2).map(|_| Counter::remote()))?;
    let mut by_process: BTreeMap<u32, usize> = BTreeMap::new();
    let mut total = Letters::new();
    for counted in pool.map_unordered(|counter, text| counter.count(text), texts) {
        let (pid, letters) = counted?;
        *by_process.entry(pid).or_default() += 1;
        for (letter, count) in letters {
            *total.entry(letter).or_default() += count;
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "letter o: {} times", total.get(&'o').copied().unwrap_or_default())?;
    writeln!(out, "texts by process: {by_process:?}")?;
    Ok(())
}
