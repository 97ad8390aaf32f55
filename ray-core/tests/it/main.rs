//! Tests with real processes. A child is this very test binary, which takes over before the harness's `main`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is all test code, also outside of functions marked as tests"
)]

mod actors;
mod process;
mod support;
mod tasks;
