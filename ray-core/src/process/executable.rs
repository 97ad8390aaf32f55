//! A program's file, opened once: rebuilding, renaming or deleting the path changes nothing afterwards.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Error;

/// An open program file. Clones share the descriptor.
#[derive(Debug, Clone)]
pub struct Executable {
    file: Arc<OwnedFd>,
    shown_as: Arc<Path>,
}

impl Executable {
    /// The program that runs now.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/self/exe")
    }

    /// The program that this process runs, which may be another than this one.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/exe"))
    }

    /// The program in this file, for an explicit worker command.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        // The right to execute is enough: the file need not be readable.
        match rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => {
                let shown_as = std::fs::read_link(&path).unwrap_or(path);
                Ok(Self {
                    file: Arc::new(file),
                    shown_as: shown_as.into(),
                })
            }
            Err(errno) => Err(Error::Executable {
                path,
                source: errno.into(),
            }),
        }
    }

    /// The program in a file that another process has opened so.
    pub fn received(file: OwnedFd) -> Self {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
        Self {
            file: Arc::new(file),
            shown_as: path.into(),
        }
    }

    /// Where the file was when it was opened. For people: the file may have moved since.
    pub fn path(&self) -> &Path {
        &self.shown_as
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
