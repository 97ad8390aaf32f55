//! Ray for Rust.
pub mod error;
pub mod ids;
#[doc(hidden)]
pub mod process;
pub mod scheduling;
pub mod value;
pub mod wire;
pub mod worker;
