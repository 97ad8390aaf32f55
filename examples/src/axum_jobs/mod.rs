//! Jobs submitted over HTTP: the durable part of the `axum_jobs` example.

pub mod queue;
