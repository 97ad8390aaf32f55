//! The examples as their users run them: built binaries, some of whose processes are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is all test code, also outside of functions marked as tests"
)]

mod axum_jobs;
mod digits;
mod program;
mod small;
