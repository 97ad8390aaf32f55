//! The one door to atomics, so that loom can stand in for the hardware under `--cfg ray_loom`.

#[cfg(not(ray_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(ray_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
