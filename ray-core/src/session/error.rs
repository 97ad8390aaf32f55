//! What can go wrong with a session's directory.

use std::io;
use std::path::PathBuf;

/// The session's directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory belongs to somebody else, or is a link.
    #[error(
        "{} cannot hold the session's files: {why}; set RAY_TMPDIR to a directory of your own",
        path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is a node already.
    #[error("a node runs on this machine already (it holds {}): `ray status` shows it, `ray stop` ends it", path.display())]
    NodeRuns {
        /// Its lock.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {action} {}: {source}; set RAY_TMPDIR to a directory that can be written", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
