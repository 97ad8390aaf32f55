//! Ray for Rust.
pub mod ids;
pub mod value;
