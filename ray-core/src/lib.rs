//! Ray for Rust.
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod host;
pub mod ids;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod worker;
