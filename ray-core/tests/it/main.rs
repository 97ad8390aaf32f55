//! Tests with real processes. A child is this very test binary, which takes over before the harness's `main`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is all test code, also outside of functions marked as tests"
)]

mod actor_pool;
mod actors;
mod cancel;
mod checkpoint;
mod cluster;
mod crash;
mod gpus;
mod harness;
mod head;
mod inline;
mod local;
mod logs;
mod nesting;
mod node;
mod objects;
mod placement_groups;
mod process;
mod queue;
mod remote_actors;
mod remote_bodies;
mod shared;
mod shared_named;
mod shared_streams;
mod storage;
mod storm;
mod streams;
mod support;
mod tasks;
mod ui;
mod values;
mod waiting;
