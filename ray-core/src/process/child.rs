//! A spawned process: its pidfd, its death, its group's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::spawn::Command;
use super::{Death, Error};

/// A child process and the process group it leads.
///
/// Dropping it kills the group. All methods take `&self`, so one task can wait while another kills.
pub struct Spawned {
    child: Option<Child>,
    /// Where a child that is dropped alive is reaped, so that dropping does not wait.
    reaper: mpsc::Sender<Command>,
}

/// What is left to reap of a child.
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    death: Mutex<Option<Death>>,
}

impl Spawned {
    pub(super) fn new(child: Child, reaper: mpsc::Sender<Command>) -> Self {
        Self {
            child: Some(child),
            reaper,
        }
    }

    #[expect(clippy::expect_used, reason = "the child is taken by `drop` only")]
    fn child(&self) -> &Child {
        self.child.as_ref().expect("a living handle has its child")
    }

    /// The process id, which is also its process group's.
    pub fn pid(&self) -> u32 {
        self.child().pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the whole process group at once (SIGKILL). Does nothing once the death is known.
    pub fn kill(&self) {
        self.child().kill_group();
    }

    /// How the process ended, or `None` while it runs. Ends what is left of its group.
    pub fn try_wait(&self) -> Result<Option<Death>, Error> {
        self.child().reap(WaitIdOptions::NOHANG)
    }

    /// Waits for the process's end, then ends what is left of its group. Needs a tokio runtime with I/O.
    ///
    /// Cancel safe; any number of callers may wait.
    pub async fn wait(&self) -> Result<Death, Error> {
        let child = self.child();
        // A descriptor of its own: two waiters of one runtime must not register the same one.
        let pidfd = child.pidfd.try_clone().map_err(|source| child.unwatched(source))?;
        // SAFETY: the descriptor is an open one of our own, which the registration owns and closes after itself.
        let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        let pidfd = registered.map_err(|error| child.unwatched(error.into()))?;
        loop {
            if let Some(death) = self.try_wait()? {
                return Ok(death);
            }
            let mut ready = pidfd.readable().await.map_err(|source| child.unwatched(source))?;
            ready.clear_ready();
        }
    }

    /// Waits for the process's end, for this long at most (`None`: for ever), then ends what is left of its group.
    pub fn wait_blocking(&self, timeout: Option<Duration>) -> Result<Option<Death>, Error> {
        let child = self.child();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(death) = self.try_wait()? {
                return Ok(Some(death));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut readable = [PollFd::new(&child.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut readable, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(child.unwatched(errno.into())),
            }
        }
    }
}

impl AsFd for Spawned {
    /// The pidfd: readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child().pidfd.as_fd()
    }
}

impl fmt::Debug for Spawned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill_group();
        if matches!(child.reap(WaitIdOptions::NOHANG), Ok(None))
            && let Err(mpsc::SendError(command)) = self.reaper.send(Command::Reap(child))
        {
            command.reap_here();
        }
    }
}

impl Child {
    /// Opens the pidfd of a child that was just spawned and not yet reaped; if that fails the child is ended.
    pub(super) fn watch(pid: Pid) -> Result<Self, Error> {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd,
                death: Mutex::new(None),
            }),
            Err(errno) => {
                // Nobody has reaped it, so the number is still its own.
                let ended = rustix::process::kill_process_group(pid, Signal::KILL)
                    .and_then(|()| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
                if let Err(error) = ended {
                    tracing::debug!(%pid, %error, "a child without pidfd could not be ended");
                }
                Err(Error::Watch {
                    pid: pid.as_raw_nonzero().get().unsigned_abs(),
                    source: errno.into(),
                })
            }
        }
    }

    fn unwatched(&self, source: io::Error) -> Error {
        Error::Watch {
            pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
            source,
        }
    }

    fn kill_group(&self) {
        let death = self.death.lock().unwrap_or_else(PoisonError::into_inner);
        if death.is_none() {
            kill_group(self.pid);
        }
    }

    /// PR-3: looks at the zombie without reaping it, kills its group, and only then reaps.
    pub(super) fn reap(&self, blocking: WaitIdOptions) -> Result<Option<Death>, Error> {
        let mut death = self.death.lock().unwrap_or_else(PoisonError::into_inner);
        if death.is_some() {
            return Ok(*death);
        }
        let leader = || WaitId::PidFd(self.pidfd.as_fd());
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | blocking;
        match rustix::io::retry_on_intr(|| rustix::process::waitid(leader(), look)) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                kill_group(self.pid);
                // Whoever else reaps between the two calls changes nothing: the status is known.
                let _reaped = rustix::process::waitid(leader(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                *death = Some(Death::from_status(&status));
            }
            // Reaped by other code of this program, or SIGCHLD is ignored: the number may already be another's. With
            // SIGCHLD ignored `waitid` says so only at the end; a running child gives `None` above.
            Err(Errno::CHILD) => *death = Some(Death::Unknown),
            Err(errno) => return Err(self.unwatched(errno.into())),
        }
        Ok(*death)
    }
}

fn kill_group(leader: Pid) {
    match rustix::process::kill_process_group(leader, Signal::KILL) {
        // The group is empty but for its zombie, or became another user's by a set-uid program.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
        Err(error) => tracing::debug!(%leader, %error, "a process group could not be killed"),
    }
}
/// Waits, from now on, for the end of a process that this one has not started, by its handle. Must be called within a runtime.
pub(crate) fn watch_handle(pidfd: OwnedFd) -> io::Result<impl Future<Output = ()> + Send> {
    // SAFETY: the descriptor is an open one of our own, which the registration owns and closes after itself.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    let registered = registered.map_err(io::Error::from)?;
    Ok(async move {
        // It is readable once the process has ended. An error means that the runtime ends.
        let _ended = registered.readable().await;
    })
}
