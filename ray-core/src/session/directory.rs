//! One session's directory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::base::{self, Base, failed};
use super::node::NodeClaim;
use super::{Error, sweep};
use crate::clock::{Parts, Timestamp};

/// The link to the newest session.
pub(super) const LATEST: &str = "session_latest";
/// The variable that names the directory of all sessions.
const BASE_VARIABLE: &str = "RAY_TMPDIR";

/// How often making a session may lose a race before it is taken for an error.
const RACES_LOST: usize = 64;

pub(super) const LOGS: &str = "logs";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const SPILL: &str = "spill";
/// States of actors, for those without a place of their own. Made by the first that saves.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Programs of jobs whose drivers are on other nodes.
pub(crate) const PROGRAMS: &str = "programs";

/// The directory of a living session. Dropping it removes its sockets and spilled objects, and everything if it has no logs;
/// what was [joined](Self::join) stays as it is.
#[derive(Debug)]
pub struct Session {
    /// Where the session lies, if it ends with this value.
    base: Option<Base>,
    name: String,
    path: PathBuf,
    /// Holds the lock (SE-2).
    directory: OwnedFd,
    logs: OwnedFd,
    sockets: OwnedFd,
}

impl Session {
    /// A new session's directory where the environment says (`RAY_TMPDIR`), else in `/tmp`.
    pub fn create() -> Result<Self, Error> {
        let configured = std::env::var_os(BASE_VARIABLE).filter(|path| !path.is_empty());
        Self::create_in(configured.as_deref().map(Path::new))
    }

    /// A new session's directory in this directory; `None` is `/tmp/ray`, or `/tmp/ray-<uid>` where that is another's.
    pub fn create_in(base: Option<&Path>) -> Result<Self, Error> {
        let base = Base::open(base)?;
        let to_sweep = base.try_clone();
        let session = Self::make(base)?;
        match to_sweep {
            Ok(base) => sweep::sweep_aside(base),
            Err(error) => tracing::debug!(%error, "other sessions are not cleaned up after"),
        }
        Ok(session)
    }

    /// The directory at this path, which another process made and will remove. The descriptor must be a copy of that
    /// process's own: it holds the same lock (SE-2).
    pub fn join(path: PathBuf, directory: OwnedFd) -> Result<Self, Error> {
        let open = |name: &str| base::open_directory(&directory, Path::new(name), &path.join(name));
        let (logs, sockets) = (open(LOGS)?, open(SOCKETS)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            base: None,
            name,
            path,
            directory,
            logs,
            sockets,
        })
    }

    fn make(base: Base) -> Result<Self, Error> {
        let (name, directory) = (0..RACES_LOST)
            .find_map(|_| make_locked(&base).transpose())
            .unwrap_or_else(|| {
                Err(Error::Io {
                    action: "create a session in",
                    path: base.path.clone(),
                    source: std::io::ErrorKind::NotFound.into(),
                })
            })?;
        let path = base.path.join(&name);
        let make = |name| base::make_directory(&directory, name, &path.join(name));
        let (logs, sockets, _spill) = (make(LOGS)?, make(SOCKETS)?, make(SPILL)?);
        if let Err(errno) = base::point_to(&base.directory, LATEST, &name) {
            // For people only.
            tracing::warn!(error = %errno, "cannot point `{LATEST}` to {}", path.display());
        }
        Ok(Self {
            base: Some(base),
            name,
            path,
            directory,
            logs,
            sockets,
        })
    }

    /// The session's name: `session_<time>_<pid>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The session's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of log files.
    pub fn logs(&self) -> PathBuf {
        self.path.join(LOGS)
    }

    /// The directory for spilled objects.
    pub fn spill(&self) -> PathBuf {
        self.path.join(SPILL)
    }

    /// The path of a socket as others are told it. It may be too long to bind: see [`bindable`](Self::bindable).
    pub fn socket(&self, name: &str) -> PathBuf {
        self.path.join(SOCKETS).join(name)
    }

    /// A short path to the same socket, valid in this process while the session lives: socket paths end at 107 bytes.
    pub fn bindable(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.sockets.as_raw_fd()))
    }

    /// The right to be the node of this session's directory; none for a session that another process has made.
    pub fn claim_node(&self) -> Result<Option<NodeClaim>, Error> {
        let base = self.base.as_ref();
        base.map(|base| NodeClaim::new(base, &self.name)).transpose()
    }

    /// Opens a new or existing log file for appending.
    pub fn open_log(&self, name: &str) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.logs, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| failed("open", &self.logs().join(name), errno))
    }
}

impl AsFd for Session {
    /// The session's directory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(base) = &self.base {
            sweep::finish(base, &self.name, &self.directory);
        }
    }
}

/// Makes and locks an empty directory for a new session; `None` if another process was faster with the name or the lock.
fn make_locked(base: &Base) -> Result<Option<(String, OwnedFd)>, Error> {
    let name = session_name(Timestamp::now(), std::process::id());
    let path = base.path.join(&name);
    let directory = match base::make_directory(&base.directory, &name, &path) {
        Ok(directory) => directory,
        // Another session of this process was made in the same microsecond, or a sweep removed ours already.
        Err(Error::Io { source, .. }) if is_raced(&source) => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock(&directory, FlockOperation::LockExclusive) {
        // Network file systems without locks: then nobody can take ours for dead either.
        Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => {}
        Err(errno) => return Err(failed("lock", &path, errno)),
    }
    // Before it was locked, a sweep may have found it empty.
    let stat = rustix::fs::fstat(&directory).map_err(|errno| failed("examine", &path, errno))?;
    Ok((stat.st_nlink > 0).then_some((name, directory)))
}

fn is_raced(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::EXIST | Errno::NOENT))
}

/// Locks a session's directory (SE-2).
pub(super) fn lock(directory: &OwnedFd, how: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(directory, how))
}

fn session_name(time: Timestamp, pid: u32) -> String {
    let Parts {
        year,
        month,
        day,
        hour,
        minute,
        second,
        micro,
    } = time.parts();
    format!("session_{year:04}-{month:02}-{day:02}_{hour:02}-{minute:02}-{second:02}_{micro:06}_{pid}")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn entries(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        entries
    }

    #[test]
    fn a_session_has_its_directories_and_is_the_latest() {
        let base = tempfile::tempdir().unwrap();
        let session = Session::create_in(Some(base.path())).unwrap();
        assert_eq!(entries(session.path()), [LOGS, SOCKETS, SPILL]);
        for directory in [session.path().to_owned(), session.logs(), session.spill()] {
            assert_eq!(
                std::fs::metadata(directory).unwrap().permissions().mode() & 0o7777,
                0o700
            );
        }
        let latest = || std::fs::read_link(base.path().join(LATEST)).unwrap();
        assert_eq!(latest(), Path::new(session.name()));
        let next = Session::create_in(Some(base.path())).unwrap();
        assert_eq!(latest(), Path::new(next.name()));
        assert_eq!(
            session_name(Timestamp::from_unix_micros(1), 7),
            "session_1970-01-01_00-00-00_000001_7"
        );
    }

    #[test]
    fn se_3_a_session_without_logs_leaves_nothing_and_one_with_logs_leaves_these() {
        let base = tempfile::tempdir().unwrap();
        drop(Session::create_in(Some(base.path())).unwrap());
        assert!(entries(base.path()).is_empty());

        let session = Session::create_in(Some(base.path())).unwrap();
        let name = session.name().to_owned();
        session.open_log("worker.out").unwrap().write_all(b"one\n").unwrap();
        session.open_log("worker.out").unwrap().write_all(b"two\n").unwrap();
        session.open_log("worker.err").unwrap();
        std::fs::create_dir(session.spill().join("deep")).unwrap();
        std::fs::write(session.spill().join("deep/object"), "bytes").unwrap();
        drop(session);
        assert_eq!(entries(&base.path().join(&name)), [LOGS]);
        let log = base.path().join(&name).join(LOGS).join("worker.out");
        assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\n");
        assert_eq!(entries(base.path()), [name, LATEST.to_owned()]);
    }

    #[test]
    fn se_2_a_sweep_spares_the_living_and_cleans_up_after_the_dead() {
        let base = tempfile::tempdir().unwrap();
        // What a killed process leaves: the directories, and nobody with the lock. All of it is there before the first session
        // is: that one begins a sweep at once, which takes a directory without a lock for a dead session's.
        let dead = base.path().join("session_2020-01-01_00-00-00_000000_1");
        for directory in [LOGS, SOCKETS, SPILL] {
            std::fs::create_dir_all(dead.join(directory)).unwrap();
        }
        std::fs::write(dead.join(SPILL).join("object"), "bytes").unwrap();
        std::fs::write(dead.join(LOGS).join("worker.out"), "last words").unwrap();
        let empty = base.path().join("session_2020-01-01_00-00-00_000000_2");
        std::fs::create_dir_all(empty.join(LOGS)).unwrap();
        std::fs::create_dir(base.path().join("not_a_session")).unwrap();

        let living = Session::create_in(Some(base.path())).unwrap();
        std::fs::write(living.spill().join("object"), "bytes").unwrap();
        let next = Session::create_in(Some(base.path())).unwrap();
        let sweep = |kept| sweep::sweep(next.base.as_ref().unwrap(), kept);
        // The sweeps that the two began may be at it still, and hold what they clean up.
        while entries(&dead) != [LOGS] || empty.exists() {
            sweep(1);
        }
        assert!(base.path().join("not_a_session").exists());
        while dead.exists() {
            sweep(0);
        }
        assert!(living.spill().join("object").exists());
    }

    #[test]
    fn se_2_who_joins_shares_the_lock_and_removes_nothing() {
        let base = tempfile::tempdir().unwrap();
        let mut session = Session::create_in(Some(base.path())).unwrap();
        let join = |session: &Session| {
            let shared = session.as_fd().try_clone_to_owned().unwrap();
            Session::join(session.path().to_owned(), shared).unwrap()
        };
        drop(join(&session));
        assert!(session.spill().exists());
        let joined = join(&session);
        assert_eq!((joined.name(), joined.spill()), (session.name(), session.spill()));
        joined.open_log("worker.out").unwrap().write_all(b"one\n").unwrap();
        // Its maker ends as by SIGKILL, without removing anything. A sweep spares it while the other one lives.
        session.base = None;
        drop(session);
        let sweep = || sweep::sweep(&Base::open(Some(base.path())).unwrap(), 1);
        sweep();
        assert!(joined.spill().exists());
        let spill = joined.spill();
        drop(joined);
        // The sweep that began with the session may be at it still.
        while spill.exists() {
            sweep();
        }
    }

    #[test]
    fn a_socket_binds_however_deep_the_session_lies() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("d".repeat(120));
        let session = Session::create_in(Some(&deep)).unwrap();
        let _listener = UnixListener::bind(session.bindable("raylet")).unwrap();
        UnixStream::connect(session.bindable("raylet")).unwrap();
        assert!(session.socket("raylet").exists());
    }

    #[test]
    fn a_file_in_the_place_of_the_latest_link_stays() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join(LATEST), "precious").unwrap();
        let _session = Session::create_in(Some(base.path())).unwrap();
        assert_eq!(std::fs::read_to_string(base.path().join(LATEST)).unwrap(), "precious");
    }
}
