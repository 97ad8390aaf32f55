//! `ray-bench`: what ray-core costs, beside the floor of the machine it runs on.
//!
//! `cargo run --release -p ray-bench -- core` prints one row for each metric. Every row is measured in a process of its
//! own, through ray-core's public interface and with its defaults; the floors are measured in the same run.

mod child;
mod context;
mod core;
mod floors;
mod peer;
mod procfs;
mod report;
mod row;
mod rows;
mod sample;
mod shared_memory;
mod stats;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "ray-bench",
    about = "Measures ray-core beside floors and peers taken in the same run"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tasks, actors and objects on one machine.
    Core(core::Options),
    /// The process at the other end of a measurement; started by this program only.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        role: child::Role,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Core(options) => core::run(&options),
        Command::Child { role } => child::run(&role),
    }
}
