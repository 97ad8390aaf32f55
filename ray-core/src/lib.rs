//! Ray for Rust.
pub mod ids;
#[doc(hidden)]
pub mod process;
