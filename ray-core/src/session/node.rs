//! Where drivers of this machine find the node that `ray start` has started.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Error;
use super::base::{self, Base, failed};
use super::directory::SOCKETS;

/// The link to the session of the node.
const CURRENT: &str = "ray_current_cluster";
/// Locked by the node.
const LOCK: &str = ".ray_current_cluster.lock";
/// The node's socket, among those of its session.
pub(crate) const NODE_SOCKET: &str = "raylet";

/// There is no node to join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoNode {
    #[error("no node runs on this machine (looked in {}): start one with `ray start --head`", base.display())]
    None { base: PathBuf },
    #[error("the node of {} cannot be reached: {source}", session.display())]
    Unreachable { session: PathBuf, source: io::Error },
    #[error(transparent)]
    Session(#[from] Error),
}

/// The right to be the node of a directory, which one process has at a time. Dropped, drivers find none there any more.
#[derive(Debug)]
pub struct NodeClaim {
    base: Base,
    session: String,
    _lock: OwnedFd,
}

impl NodeClaim {
    pub(super) fn new(base: &Base, session: &str) -> Result<Self, Error> {
        let path = base.path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&base.directory, LOCK, flags, Mode::RUSR | Mode::WUSR);
        let lock = lock.map_err(|errno| failed("open", &path, errno))?;
        match super::directory::lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::NodeRuns { path }),
            Err(errno) => return Err(failed("lock", &path, errno)),
        }
        let copied = base.try_clone().map_err(|source| Error::Io {
            action: "open",
            path,
            source,
        })?;
        Ok(Self {
            base: copied,
            session: session.to_owned(),
            _lock: lock,
        })
    }

    /// Drivers find their node in this session from now on.
    pub fn announce(&self) -> Result<(), Error> {
        let failed = |errno| failed("point to the node in", &self.base.path.join(CURRENT), errno);
        base::point_to(&self.base.directory, CURRENT, &self.session).map_err(failed)
    }
}

impl Drop for NodeClaim {
    fn drop(&mut self) {
        // What is left points to a session that is over.
        let _left = rustix::fs::unlinkat(&self.base.directory, CURRENT, rustix::fs::AtFlags::empty());
    }
}

/// Connects to the node of this machine whose session lies in this directory, or where sessions lie by default.
pub(crate) fn connect_to_node(base: Option<&Path>) -> Result<UnixStream, NoNode> {
    let base = Base::open(base)?;
    let none = || NoNode::None {
        base: base.path.clone(),
    };
    let link = rustix::fs::readlinkat(&base.directory, CURRENT, Vec::new()).map_err(|_none| none())?;
    let session = PathBuf::from(link.to_str().map_err(|_strange| none())?);
    // A name in the base, and nowhere else.
    if session.components().count() != 1 {
        return Err(none());
    }
    let path = base.path.join(&session);
    let sockets = base::open_directory(&base.directory, &session, &path)
        .and_then(|directory| base::open_directory(&directory, Path::new(SOCKETS), &path.join(SOCKETS)))
        .map_err(|_over| none())?;
    // Socket paths end at 107 bytes.
    let socket = format!("/proc/self/fd/{}/{NODE_SOCKET}", sockets.as_raw_fd());
    UnixStream::connect(socket).map_err(|source| match Errno::from_io_error(&source) {
        // It has ended without a farewell.
        Some(Errno::CONNREFUSED | Errno::NOENT) => none(),
        _ => NoNode::Unreachable { session: path, source },
    })
}
