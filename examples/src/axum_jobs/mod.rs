//! Jobs submitted over HTTP: all of the `axum_jobs` example but the remote call.

pub mod queue;
pub mod service;
