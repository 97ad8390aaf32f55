//! Ray for Rust.
pub mod ids;
