//! Where bytes are kept that outlive their process: a directory, or object storage by URL (feature `storage`).
//!
//! - OS-1: every request to object storage has a limit of time, its retries included; then it is an error that names URL
//!   and cause.
//! - OS-2: credentials come from the environment of the process that makes the request, never from the URL: it is logged.

#[cfg(feature = "storage")]
mod client;
#[cfg(all(test, feature = "storage"))]
pub(crate) mod testing;
#[cfg(feature = "storage")]
mod transport;
#[cfg(feature = "storage")]
mod url;

use std::path::PathBuf;

#[cfg(feature = "storage")]
pub(crate) use client::{Bucket, BucketError, Put};

/// A place that was given by path or URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Directory(PathBuf),
    /// Object storage, without a slash at the end.
    #[cfg_attr(not(feature = "storage"), expect(dead_code, reason = "nobody makes one"))]
    Url(String),
}

/// Why a text is no place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocationError {
    #[error("no such directory can be named: {0}")]
    Path(#[from] std::io::Error),
    #[cfg(not(feature = "storage"))]
    #[error(
        "URLs of object storage need ray-core's feature `storage`, which this program was built without: build with it, or give a directory"
    )]
    NoFeature,
    #[cfg(feature = "storage")]
    #[error("{0}")]
    Url(String),
}

/// Reads a place: what contains `://` is a URL, anything else a path.
pub(crate) fn locate(text: &str) -> Result<Location, LocationError> {
    if !is_url(text) {
        return Ok(Location::Directory(std::path::absolute(text)?));
    }
    #[cfg(feature = "storage")]
    return url::location(text);
    #[cfg(not(feature = "storage"))]
    Err(LocationError::NoFeature)
}

/// Whether a place is a URL.
pub(crate) fn is_url(place: &str) -> bool {
    place.contains("://")
}
