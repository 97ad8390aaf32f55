//! What workers print: it goes to files in the session's directory, and is shown from there under the name of what runs.
//!
//! *Absent:* reading the files, which the follower does (`session/logs`).

use std::fs::File;
use std::sync::Arc;

use crate::ids::WorkerId;
use crate::session::logs::{Follow, FollowId, LogFollower, Stream};
use crate::session::{self, Session};

/// The output of all workers.
#[derive(Debug)]
pub(super) struct Output {
    session: Arc<Session>,
    /// Follows the files, if they are shown.
    follower: Option<LogFollower>,
}

/// How a worker's output is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    followed: Vec<FollowId>,
    name: String,
}

impl Output {
    pub(super) fn new(session: Arc<Session>, follower: Option<LogFollower>) -> Self {
        Self { session, follower }
    }

    /// The files for a worker's standard output and error.
    pub(super) fn open(&self, worker: WorkerId) -> Result<(File, File), session::Error> {
        let [out, err] = log_names(worker);
        Ok((self.session.open_log(&out)?, self.session.open_log(&err)?))
    }

    /// Shows a worker's output from now on.
    pub(super) fn follow(&self, worker: WorkerId, pid: u32) -> Shown {
        let Some(follower) = &self.follower else {
            return Shown::default();
        };
        let files = log_names(worker).into_iter().zip([Stream::Stdout, Stream::Stderr]);
        let follow = |(name, stream)| {
            let path = self.session.logs().join(name);
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
        Shown {
            followed: followed.into_iter().flatten().collect(),
            name: String::new(),
        }
    }

    /// Shows a worker's output under the name of what it runs: a function's or a type's without its path.
    pub(super) fn rename(&self, shown: &mut Shown, name: String) {
        let Some(follower) = &self.follower else { return };
        if shown.name != name {
            let short = name.rsplit("::").next().unwrap_or(&name);
            shown.followed.iter().for_each(|id| follower.rename(*id, short));
            shown.name = name;
        }
    }

    /// The worker prints nothing any more.
    pub(super) fn finish(&self, shown: Shown) {
        if let Some(follower) = &self.follower {
            shown.followed.into_iter().for_each(|id| follower.finish(id));
        }
    }
}

/// The files of a worker's standard output and error in the session's log directory.
fn log_names(worker: WorkerId) -> [String; 2] {
    let short = worker.to_string()[..12].to_owned();
    [format!("worker-{short}.out"), format!("worker-{short}.err")]
}
