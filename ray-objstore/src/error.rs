//! What can go wrong, each with what, where and a way out.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::ids::Key;

/// An error of the store or one of its clients.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No sealed object of that key is in the store.
    #[error("no object {key} in the store: it was never sealed here, or it was freed")]
    NotFound {
        /// The key asked for.
        key: Key,
    },
    /// The object was spilled, and its copy on disk is gone or damaged.
    #[error("object {key} is lost: {reason}; make it again")]
    Lost {
        /// The key asked for.
        key: Key,
        /// What happened to the copy.
        reason: String,
    },
    /// No space came free in time.
    #[error(
        "the object store is full: {requested} bytes did not fit within {waited:?}; {usage}{}; \
         drop references, or give the store more memory or spill space",
        spill_error.as_deref().map(|e| format!("; spilling fails: {e}")).unwrap_or_default()
    )]
    Full {
        /// Bytes asked for.
        requested: u64,
        /// How long the store waited for space.
        waited: Duration,
        /// Who holds what.
        usage: Usage,
        /// Why spilling could not help, when it failed.
        spill_error: Option<String>,
    },
    /// The object could never fit.
    #[error("an object of {requested} bytes cannot fit into a store of {capacity} bytes; give the store more memory")]
    TooLarge {
        /// Bytes asked for.
        requested: u64,
        /// Bytes the store has.
        capacity: u64,
    },
    /// The index has no free slot.
    #[error("the store holds {limit} objects of this job, its limit; free some, or make fewer and larger ones")]
    TooManyObjects {
        /// The limit.
        limit: u64,
    },
    /// The client's pin table has no free slot.
    #[error("this process holds {limit} views, its limit; drop some")]
    TooManyPins {
        /// The limit.
        limit: u64,
    },
    /// The machine has no memory for the object, though the store has room.
    #[error(
        "the machine has no memory for {requested} bytes of shared memory: {reason}; give the store less than is free"
    )]
    NoMemory {
        /// Bytes asked for.
        requested: u64,
        /// What the kernel said.
        reason: String,
    },
    /// The store has ended.
    #[error("the object store has ended")]
    StoreGone,
    /// Shared words or messages that no correct peer writes.
    #[error("the store's shared memory or messages are not as they must be: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// A system call failed.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        reason: String,
    },
}

impl Error {
    /// The error's number in the documentation; the store has 1000 to 1999.
    pub fn code(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 1001,
            Self::Lost { .. } => 1002,
            Self::Full { .. } => 1003,
            Self::TooLarge { .. } => 1004,
            Self::TooManyObjects { .. } => 1005,
            Self::TooManyPins { .. } => 1006,
            Self::NoMemory { .. } => 1007,
            Self::StoreGone => 1008,
            Self::Corrupt { .. } => 1009,
            Self::Io { .. } => 1010,
        }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            what,
            reason: error.to_string(),
        }
    }

    pub(crate) fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::Io {
            what,
            reason: io::Error::from(error).to_string(),
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

/// Bytes by state and holder, as a full store reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes the store may hold in memory.
    pub capacity: u64,
    /// Bytes granted and not sealed yet.
    pub creating: u64,
    /// Bytes of sealed objects in memory.
    pub sealed: u64,
    /// Bytes of arenas, leased to clients for small objects, that hold none.
    pub arenas: u64,
    /// Bytes freed and still read by someone.
    pub dying: u64,
    /// Bytes that lie on disk only.
    pub spilled: u64,
    /// The processes that pin or create the most, largest first.
    pub holders: Vec<Holder>,
}

/// One process that keeps memory from being freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Bytes of objects it pins or creates.
    pub bytes: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            capacity,
            creating,
            sealed,
            arenas,
            dying,
            spilled,
            holders,
        } = self;
        write!(
            f,
            "of {capacity} bytes {creating} are being created, {sealed} sealed, {dying} freed but still read"
        )?;
        write!(f, ", {arenas} leased for small objects, and {spilled} spilled")?;
        for Holder { pid, bytes } in holders {
            write!(f, "; process {pid} holds {bytes}")?;
        }
        Ok(())
    }
}
