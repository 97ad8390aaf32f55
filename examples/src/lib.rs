//! What the runnable examples of ray-core share: everything in them that is not a remote call.

pub mod axum_jobs;
pub mod digits;
pub mod progress;
pub mod table;
