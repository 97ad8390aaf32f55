//! What is removed of sessions that are over (SE-3).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation};
use rustix::io::Errno;

use super::base::{self, Base};
use super::directory::{CHECKPOINTS, LATEST, LOGS, PROGRAMS, SOCKETS, SPILL, lock};

/// The name that every session's directory starts with.
const PREFIX: &[u8] = b"session_";
/// How deep spilled objects may lie.
const DEEPEST: usize = 16;

/// Sessions that are over and whose logs stay.
const KEPT: usize = 100;

/// Sweeps on a thread of its own: a base may hold much, and nobody waits for that.
pub(super) fn sweep_aside(base: Base) {
    let swept = std::thread::Builder::new()
        .name("ray-sweep".into())
        .spawn(move || sweep(&base, KEPT));
    if let Err(error) = swept {
        tracing::debug!(%error, "no thread to clean up after other sessions");
    }
}

/// Cleans up after sessions in `base` whose processes died without doing so, and keeps the logs of the newest `kept`.
/// Failures only leave files behind.
pub(super) fn sweep(base: &Base, kept: usize) {
    let Ok(mut names) = names_in(&base.directory) else {
        return;
    };
    // They begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    let mut over = 0;
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
            let has_logs = rustix::fs::statat(&base.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            over += usize::from(has_logs);
            if has_logs && over > kept {
                let removed =
                    remove_tree(&directory, LOGS, DEEPEST).and_then(|()| remove_if_empty(&base.directory, name));
                if let Err(error) = removed {
                    tracing::debug!(%error, "cannot remove old session {}", base.path.join(name).display());
                }
            }
        }
    }
}

/// Removes what is of no use after the session, whose lock the caller holds.
pub(super) fn finish(base: &Base, name: &str, directory: &OwnedFd) {
    let cleaned = remove_tree(directory, SOCKETS, DEEPEST)
        .and_then(|()| remove_tree(directory, SPILL, DEEPEST))
        .and_then(|()| remove_tree(directory, CHECKPOINTS, DEEPEST))
        .and_then(|()| remove_tree(directory, PROGRAMS, DEEPEST))
        .and_then(|()| remove_empty_files(directory, LOGS))
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

/// A log that nothing was written to tells nothing.
fn remove_empty_files(parent: impl AsFd, name: &str) -> Result<(), Errno> {
    let path = Path::new(name);
    let Ok(directory) = base::open_directory(parent.as_fd(), path, path) else {
        return Ok(());
    };
    for entry in names_in(&directory)? {
        let stat = rustix::fs::statat(&directory, &entry, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_size == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            rustix::fs::unlinkat(&directory, &entry, AtFlags::empty())?;
        }
    }
    Ok(())
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
