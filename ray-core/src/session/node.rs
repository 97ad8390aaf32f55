//! Where drivers of this machine find the node that `ray start` has started.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Error;
use super::base::{self, Base, failed};
use super::directory::SOCKETS;

/// The link to the session of the node.
const CURRENT: &str = "ray_current_cluster";
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

/// Drivers find their node in this session from now on.
pub(super) fn announce(base: &Base, session: &str) -> Result<(), Error> {
    let failed = |errno| failed("point to the node in", &base.path.join(CURRENT), errno);
    base::point_to(&base.directory, CURRENT, session).map_err(failed)
}

/// The session is over: if drivers found their node there, they do no longer.
pub(super) fn withdraw(base: &Base, session: &str) {
    let current = rustix::fs::readlinkat(&base.directory, CURRENT, Vec::new());
    if current.is_ok_and(|current| current.to_bytes() == session.as_bytes()) {
        // What is left points to nothing.
        let _left = rustix::fs::unlinkat(&base.directory, CURRENT, rustix::fs::AtFlags::empty());
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
