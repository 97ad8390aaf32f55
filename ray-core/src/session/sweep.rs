//! What is removed of sessions that are over (SE-3).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FlockOperation};
use rustix::io::Errno;

use super::base::{self, Base};
use super::directory::{CHECKPOINTS, LATEST, LOGS, SOCKETS, SPILL, lock};

/// The name that every session's directory starts with.
const PREFIX: &[u8] = b"session_";
/// How deep spilled objects may lie.
const DEEPEST: usize = 16;

/// Cleans up after sessions in `base` whose processes died without doing so. Failures only leave files behind.
pub(super) fn sweep(base: &Base) {
    let Ok(names) = names_in(&base.directory) else { return };
    for name in names.iter().filter(|name| name.to_bytes().starts_with(PREFIX)) {
        let Ok(name) = name.to_str() else { continue };
        let path = base.path.join(name);
        // Fails for `session_latest`, which is a link, and for others' sessions.
        let Ok(directory) = base::open_directory(&base.directory, Path::new(name), &path) else {
            continue;
        };
        let is_ours =
            rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
        if is_ours && lock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            finish(base, name, &directory);
        }
    }
}

/// Removes what is of no use after the session, whose lock the caller holds.
pub(super) fn finish(base: &Base, name: &str, directory: &OwnedFd) {
    let cleaned = remove_tree(directory, SOCKETS, DEEPEST)
        .and_then(|()| remove_tree(directory, SPILL, DEEPEST))
        .and_then(|()| remove_tree(directory, CHECKPOINTS, DEEPEST))
        .and_then(|()| remove_if_empty(directory, LOGS))
        .and_then(|()| remove_if_empty(&base.directory, name))
        .and_then(|()| remove_dangling_latest(base, name));
    if let Err(error) = cleaned {
        tracing::debug!(%error, "cannot clean up session {}", base.path.join(name).display());
    }
}

fn names_in(directory: impl AsFd) -> Result<Vec<std::ffi::CString>, Errno> {
    let is_special = |name: &CStr| name == c"." || name == c"..";
    let entries = Dir::read_from(directory)?.map(|entry| Ok(entry?.file_name().to_owned()));
    entries
        .filter(|name| !name.as_ref().is_ok_and(|name| is_special(name)))
        .collect()
}

fn remove_tree(parent: impl AsFd, name: &str, depth: usize) -> Result<(), Errno> {
    let parent = parent.as_fd();
    let path = Path::new(name);
    let directory = match base::open_directory(parent, path, path) {
        Ok(directory) => directory,
        Err(_) if rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT) => {
            return Ok(());
        }
        Err(_) => return Err(Errno::NOTDIR),
    };
    for entry in names_in(&directory)? {
        match rustix::fs::unlinkat(&directory, &entry, AtFlags::empty()) {
            Err(Errno::ISDIR) if depth > 0 => {
                remove_tree(&directory, entry.to_str().map_err(|_| Errno::ILSEQ)?, depth - 1)?;
            }
            removed => removed?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn remove_if_empty(parent: impl AsFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes `session_latest` if it points to this session and that is gone.
fn remove_dangling_latest(base: &Base, name: &str) -> Result<(), Errno> {
    let directory = &base.directory;
    let is_gone = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT);
    let points_here =
        rustix::fs::readlinkat(directory, LATEST, Vec::new()).is_ok_and(|to| to.to_bytes() == name.as_bytes());
    if is_gone && points_here {
        return rustix::fs::unlinkat(directory, LATEST, AtFlags::empty());
    }
    Ok(())
}
