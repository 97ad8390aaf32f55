//! What workers print: it goes to files in the session's directory, and is shown from there under the name of what runs.
//!
//! *Absent:* reading the files, which the follower does (`session/logs`).

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::ids::WorkerId;
use crate::session::logs::{Follow, FollowId, LogFollower, Stream};
use crate::session::{self, Session};

/// How long a process that shows the output of a job that has ended may take for the rest. One that is stopped takes nothing.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// The way of a job's output to who shows it. Dropped, it shows what is left, if this process does that.
#[derive(Debug)]
pub struct JobOutput {
    /// First, so that a drop does not wait for who takes nothing.
    far: Option<Far>,
    follower: LogFollower,
}

/// The socket of a process that goes its own ways and may stop reading.
#[derive(Debug)]
struct Far(UnixStream);

impl Drop for Far {
    fn drop(&mut self) {
        // A follower that waits for it goes on. It may be closed already.
        let _closed = self.0.shutdown(Shutdown::Both);
    }
}

impl JobOutput {
    /// It is shown by a process that lives no longer than the raylet, and is waited for as long as it takes.
    pub fn near(follower: LogFollower) -> Self {
        Self { far: None, follower }
    }

    /// It goes through a socket to a process that has nothing to do with the raylet's end.
    pub fn far(follower: LogFollower, socket: UnixStream) -> Self {
        let far = Some(Far(socket));
        Self { far, follower }
    }

    pub(super) fn follower(&self) -> &LogFollower {
        &self.follower
    }

    /// Shows what is left. Returns when that is done, or is in vain.
    pub(super) async fn end(self) {
        let Self { far, follower } = self;
        let mut showing = tokio::task::spawn_blocking(move || drop(follower));
        if let Some(far) = far {
            match tokio::time::timeout(TAKEN_WITHIN, &mut showing).await {
                Ok(_shown) => return,
                Err(_elapsed) => tracing::warn!(
                    target: "ray_core::raylet",
                    "the last output of a job is not shown: its driver takes nothing within {TAKEN_WITHIN:?}"
                ),
            }
            drop(far);
        }
        // The follower says itself when its thread has failed.
        let _shown = showing.await;
    }
}

/// How a worker's output is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    followed: Vec<FollowId>,
    name: String,
}

/// The files for a worker's standard output and error.
pub(super) fn open(session: &Session, worker: WorkerId) -> Result<(File, File), session::Error> {
    let [out, err] = log_names(worker);
    Ok((session.open_log(&out)?, session.open_log(&err)?))
}

impl Shown {
    /// Shows a worker's output from now on.
    pub(super) fn follow(session: &Session, follower: &LogFollower, worker: WorkerId, pid: u32) -> Self {
        let files = log_names(worker).into_iter().zip([Stream::Stdout, Stream::Stderr]);
        let follow = |(name, stream)| {
            let path = session.logs().join(name);
            follower.follow(Follow {
                path,
                name: "worker".into(),
                pid,
                stream,
            })
        };
        let (followed, failed): (Vec<_>, Vec<_>) = files.map(follow).partition(Result::is_ok);
        if let Some(Err(error)) = failed.first() {
            tracing::warn!(target: "ray_core::raylet", %error, pid, "a worker's output is not shown");
        }
        Self {
            followed: followed.into_iter().flatten().collect(),
            name: String::new(),
        }
    }

    /// Shows a worker's output under the name of what it runs: a function's or a type's without its path.
    pub(super) fn rename(&mut self, follower: &LogFollower, name: String) {
        if self.name != name {
            let short = name.rsplit("::").next().unwrap_or(&name);
            self.followed.iter().for_each(|id| follower.rename(*id, short));
            self.name = name;
        }
    }

    /// The worker prints nothing any more.
    pub(super) fn finish(self, follower: &LogFollower) {
        self.followed.into_iter().for_each(|id| follower.finish(id));
    }
}

/// The files of a worker's standard output and error in the session's log directory.
fn log_names(worker: WorkerId) -> [String; 2] {
    let short = worker.to_string()[..12].to_owned();
    [format!("worker-{short}.out"), format!("worker-{short}.err")]
}
