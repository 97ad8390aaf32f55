//! Ray for Rust.
pub mod ids;
pub mod scheduling;
pub mod worker;
