//! A pool of actors: each has made an expensive start once, and takes the next piece of work when it is free.
//!
//! `cargo run --release -p ray-examples --bin actor_pool`

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::process;

use anyhow::{Context as _, Result};
use ray_core::prelude::*;

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
    let mut texts = (1..=20).map(|n| "The quick brown fox jumps over the lazy dog. ".repeat(n));
    let mut idle: Vec<_> = (0..2).map(|_| Counter::remote()).collect();
    let mut running = Vec::new();
    let mut working = HashMap::new();
    let mut by_process: BTreeMap<u32, usize> = BTreeMap::new();
    let mut total = Letters::new();
    loop {
        while let Some(counter) = idle.pop() {
            let Some(text) = texts.next() else { break };
            let counted = counter.count(text);
            working.insert(counted.id(), counter);
            running.push(counted);
        }
        if running.is_empty() {
            break;
        }
        let (ready, rest) = ray_core::wait(running, 1, None)?;
        running = rest;
        for counted in ready {
            idle.push(working.remove(&counted.id()).context("an answer of no actor")?);
            let (pid, letters) = ray_core::get(&counted)?;
            *by_process.entry(pid).or_default() += 1;
            for (letter, count) in letters {
                *total.entry(letter).or_default() += count;
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "letter o: {} times", total.get(&'o').copied().unwrap_or_default())?;
    writeln!(out, "texts by process: {by_process:?}")?;
    Ok(())
}
