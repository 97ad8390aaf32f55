//! The store with real processes, real files and real deaths.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why"
)]

mod arenas;
mod child;
mod disk;
mod large;
mod leaks;
mod objects;
mod processes;
mod support;
