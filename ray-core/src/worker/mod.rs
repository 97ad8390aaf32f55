//! One worker process's runtime.

pub mod main;
