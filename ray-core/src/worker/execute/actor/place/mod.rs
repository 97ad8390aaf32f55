//! Where the states of one actor are kept: a [directory](directory), or [object storage](storage).
//!
//! - CK-2: what bears the name of a saved state was complete before it got that name, and a save counts only when it would
//!   be there after a crash.
//! - CK-3: a save removes an older state only when it leaves two that were written or read whole, the new one and the one
//!   before.
//! - CK-4: of several processes that use the place, the saves of at most one count.

mod directory;
#[cfg(feature = "storage")]
mod storage;

use std::io;
use std::time::Duration;

use super::record::{Record, Unreadable};
use directory::Directory;
#[cfg(feature = "storage")]
use storage::Storage;

const SUFFIX: &str = ".state";
/// How long a process that is about to end may keep a directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no state to restore although there are some, or why the place cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("cannot be restored: {at} ({source})")]
    Io { at: String, source: io::Error },
    #[cfg(feature = "storage")]
    #[error("cannot be restored: {0}")]
    Storage(#[from] crate::storage::BucketError),
    #[error("cannot be restored: {at}: {source}")]
    Nowhere {
        at: String,
        source: crate::storage::LocationError,
    },
    #[error(
        "is in use: another process saves to {at}; give the actor another name, namespace or checkpoint_place, or end that process"
    )]
    InUse { at: String },
    #[error("cannot be restored: nothing in {at} is whole: {damaged}; put a copy of one back, or {anew} to begin anew")]
    AllDamaged {
        at: String,
        damaged: String,
        anew: &'static str,
    },
    #[error("cannot be restored: {at} {why}; use the build that wrote it, or {anew} to begin anew")]
    Foreign {
        at: String,
        why: Unreadable,
        anew: &'static str,
    },
}

/// The place.
#[derive(Debug)]
pub(super) enum Place {
    Directory(directory::Directory),
    #[cfg(feature = "storage")]
    Storage(Box<Storage>),
}

impl Place {
    /// Opens the place of the actor with this key, and makes it if it is not there. A request to object storage may take
    /// that long.
    #[cfg_attr(
        not(feature = "storage"),
        expect(unused_variables, reason = "directories have no limit")
    )]
    pub(super) fn open(place: &str, key: &str, limit: Duration) -> Result<Self, PlaceError> {
        let located = crate::storage::locate(place);
        match located.map_err(|source| PlaceError::Nowhere {
            at: place.to_owned(),
            source,
        })? {
            crate::storage::Location::Directory(path) => {
                Ok(Self::Directory(Directory::open(&path, key, LOCK_PATIENCE)?))
            }
            #[cfg(feature = "storage")]
            crate::storage::Location::Url(url) => {
                let bucket = crate::storage::Bucket::open(&url, limit)?;
                Ok(Self::Storage(Box::new(Storage::open(bucket, key)?)))
            }
            #[cfg(not(feature = "storage"))]
            crate::storage::Location::Url(_) => Err(PlaceError::Nowhere {
                at: place.to_owned(),
                source: crate::storage::LocationError::NoFeature,
            }),
        }
    }

    /// Where the state of this number lies, for people.
    pub(super) fn shown(&self, number: u64) -> String {
        match self {
            Self::Directory(directory) => directory.file(number).display().to_string(),
            #[cfg(feature = "storage")]
            Self::Storage(storage) => storage.shown(number),
        }
    }

    /// How to begin anew, for people.
    pub(super) fn anew(&self) -> &'static str {
        match self {
            Self::Directory(_) => directory::ANEW,
            #[cfg(feature = "storage")]
            Self::Storage(_) => storage::ANEW,
        }
    }

    /// The newest state that is whole; `None` if none was ever saved.
    pub(super) fn newest(&mut self) -> Result<Option<Record>, PlaceError> {
        match self {
            Self::Directory(directory) => directory.newest(),
            #[cfg(feature = "storage")]
            Self::Storage(storage) => storage.newest(),
        }
    }

    /// Writes a state under the next number, and gives the record that number (CK-2).
    pub(super) fn write(&mut self, record: Record) -> Result<(), String> {
        match self {
            Self::Directory(directory) => directory.write(record),
            #[cfg(feature = "storage")]
            Self::Storage(storage) => storage.write(record),
        }
    }

    /// Removes everything: the actor has ended, and none will take it over.
    pub(super) fn remove(&self) {
        match self {
            Self::Directory(directory) => directory.remove(),
            #[cfg(feature = "storage")]
            Self::Storage(storage) => storage.remove(),
        }
    }
}

/// The name of the state of this number: names sort as numbers do.
fn name_of(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number in the name of a state.
fn number_in(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// The first whole state among those of falling numbers. `read` gives the bytes of one, with where it lies; `None` if it
/// is gone or no state.
fn first_whole(
    at: impl Fn() -> String,
    anew: &'static str,
    numbers: impl IntoIterator<Item = u64>,
    mut read: impl FnMut(u64) -> Result<Option<(bytes::Bytes, String)>, PlaceError>,
) -> Result<Option<Record>, PlaceError> {
    let mut damaged = Vec::new();
    for number in numbers {
        let Some((bytes, shown)) = read(number)? else { continue };
        match Record::from_bytes(bytes) {
            Ok(record) if record.number == number => {
                if !damaged.is_empty() {
                    tracing::warn!(target: "ray_core::worker", damaged = damaged.join("; "), restored = shown, "an older state of an actor is restored: the newest is damaged");
                }
                return Ok(Some(record));
            }
            Ok(_) => damaged.push(format!("{shown} has the number of another")),
            Err(why @ Unreadable::Version { .. }) => return Err(PlaceError::Foreign { at: shown, why, anew }),
            Err(why) => damaged.push(format!("{shown} {why}")),
        }
    }
    if damaged.is_empty() {
        return Ok(None);
    }
    Err(PlaceError::AllDamaged {
        at: at(),
        damaged: damaged.join("; "),
        anew,
    })
}
