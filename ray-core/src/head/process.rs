//! A head in a process of its own, as its driver sees it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::main::SESSION;
use super::printing::Printing;
use super::{Error, Plan};
use crate::process::{Death, Executable, Output, SpawnRequest, SpawnRole, Spawned, Spawner, role};
use crate::session::Session;
use crate::wire::connection::over_socket;
use crate::wire::{Frame, Receiver, Sender};

/// How long a head may take to end its workers and free its memory, beside the last saves of actors: more than it gives to
/// all of them.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long the death of a head is waited for whose connection has ended.
const DIES_WITHIN: Duration = Duration::from_secs(5);
/// Where the head prints, in the session's `logs/`.
const LOGS: [&str; 2] = ["head.out", "head.err"];

/// The process. Dropped, it is killed, and its workers with it.
#[derive(Debug)]
pub(crate) struct HeadProcess {
    process: Spawned,
    session: Arc<Session>,
    ends_within: Duration,
    /// Lives longer than the process: the parent-death signal follows its thread (PR-1).
    _spawner: Spawner,
}

impl HeadProcess {
    /// Starts the process and tells it what to be. Must be called within the runtime that will receive.
    pub(super) async fn start(plan: Plan) -> Result<(Self, (Sender, Receiver)), Error> {
        let Plan {
            setup,
            session,
            saves_within,
            ..
        } = plan;
        let spawner = Spawner::start()?;
        let (ours, theirs) = UnixStream::pair()?;
        let [stdout, stderr] = LOGS.map(|name| session.open_log(name));
        let mut request = SpawnRequest::new(Executable::current()?);
        request.stdout = Output::File(stdout?.into());
        request.stderr = Output::File(stderr?.into());
        let descriptors = vec![(SESSION.to_owned(), session.as_fd().try_clone_to_owned()?)];
        request.role = Some(SpawnRole {
            name: role::HEAD.to_owned(),
            control: theirs.into(),
            descriptors,
        });
        let process = spawner.spawn(request).await?;
        let (sender, receiver) = over_socket(ours.into())?;
        sender.send(Frame::StartHead { setup: Box::new(setup) });
        let head = Self {
            process,
            session,
            ends_within: ENDS_WITHIN + saves_within,
            _spawner: spawner,
        };
        Ok((head, (sender, receiver)))
    }

    /// Waits until the head has ended everything, which it does once the driver's connection is closed.
    pub(super) async fn shutdown(self, printing: Printing) {
        let pid = self.process.pid();
        let ends_within = self.ends_within;
        match tokio::time::timeout(ends_within, self.process.wait()).await {
            Ok(Ok(death)) if death.is_success() => {}
            Ok(Ok(death)) => {
                tracing::error!(target: "ray_core::head", pid, %death, "the head's process did not end by itself");
            }
            Ok(Err(error)) => tracing::error!(target: "ray_core::head", pid, %error, "the head's process"),
            Err(_elapsed) => {
                tracing::error!(target: "ray_core::head", pid, "the head does not end within {ends_within:?}: killed");
                self.process.kill();
                // Killed, it goes as soon as the kernel has taken its memory down.
                let _death = tokio::time::timeout(DIES_WITHIN, self.process.wait()).await;
            }
        }
        printing.end().await;
    }

    /// How the head ended, and what it wrote last; `None` if it lives.
    pub(super) async fn died_of(&self) -> Option<String> {
        let death: Death = tokio::time::timeout(DIES_WITHIN, self.process.wait())
            .await
            .ok()?
            .ok()?;
        let pid = self.process.pid();
        let written = std::fs::read(self.session.logs().join(LOGS[1])).unwrap_or_default();
        let written = String::from_utf8_lossy(&written);
        let last = written.lines().rev().find(|line| !line.trim().is_empty());
        let last = last.map_or_else(String::new, |line| format!("; it wrote: {line}"));
        Some(format!("the head's process {pid} has ended: {death}{last}"))
    }
}
