//! Log lines: one format for all processes of a session, text or JSON.
//!
//! ```text
//! 2026-11-21T10:38:05.123456Z  INFO app::train job=1 task=5f..01 attempt=0 an epoch has ended loss=0.25
//! ```
//!
//! Everything that this library logs goes through [`tracing`]. A worker process gets a subscriber that writes to its
//! standard error, which is a file in the session's `logs/` and is shown by the driver; a `worker_setup` function may set
//! another one before. A driver's subscriber is the program's own affair: [`init`] sets one on demand, nothing else does.
//!
//! `RAY_LOG_LEVEL` and `RAY_LOG_ENCODING` say what is written and how.

mod line;

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Cluster, Sources};
use crate::error::{RayError, Result};
use line::Line;

/// Sets a subscriber for this program that writes ray's log lines, and the program's own, to standard error.
///
/// # Errors
/// [`RayError::Unsupported`] if the program has a subscriber, [`RayError::Start`] if a setting makes no sense.
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// ray_core::logging::init()?;
/// tracing::info!(answer = 42, "ready");
/// # Ok(()) }
/// ```
pub fn init() -> Result<()> {
    let sources = Sources::of_this_process(Default::default());
    let config = sources.and_then(|sources| Cluster::resolve(&sources));
    let config = config.map_err(|error| RayError::Start { why: error.to_string() })?;
    if install(&config) {
        return Ok(());
    }
    Err(RayError::Unsupported {
        call: "logging::init()".into(),
        why: "this program has a tracing subscriber already: leave out one of the two".into(),
    })
}

/// Sets the subscriber of a worker process, unless its setup has set one.
pub(crate) fn in_worker(config: &Cluster) {
    let _set = install(config);
}

fn install(config: &Cluster) -> bool {
    // The text was checked when the setting was read.
    let filter = EnvFilter::new(config.log_level.as_str());
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Line::new(config.log_encoding))
        .with_ansi(false)
        .with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok()
}
