//! The store with real processes, real files and real deaths.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod child;
mod disk;
mod leaks;
mod objects;
mod processes;
mod support;
