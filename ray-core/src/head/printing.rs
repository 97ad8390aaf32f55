//! The driver's side of its workers' output, where their raylet is in another process.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::{Error, output};

/// The thread that prints, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Printing(Option<JoinHandle<()>>);

impl Printing {
    /// Prints what comes through a socket, whose other end is for the raylet.
    pub(super) fn start() -> Result<(Self, OwnedFd), Error> {
        let (near, far) = UnixStream::pair()?;
        let thread = output::print_what_comes(near).map_err(Error::Logs)?;
        Ok((Self(Some(thread)), far.into()))
    }

    /// Returns when all is printed: the other end is closed.
    pub(super) async fn end(self) {
        let Some(thread) = self.0 else { return };
        // The rest may be long, and the terminal slow.
        let printed = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(printed, Ok(Ok(()))) {
            tracing::error!(target: "ray_core::head", "the thread `ray-logs` panicked");
        }
    }
}
