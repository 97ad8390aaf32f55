//! A process that outlives the one that starts it.

use std::ffi::OsString;
use std::io;
use std::process::{ChildStdout, Command, Stdio};

/// Starts this program again with other arguments. The process has nothing to read, shares this one's standard error, and
/// what it prints comes back. It is nobody's to wait for: this process is about to end.
pub(crate) fn start_again_detached(args: &[OsString]) -> io::Result<ChildStdout> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdout.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
}
