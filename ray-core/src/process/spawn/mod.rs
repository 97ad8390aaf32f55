//! Spawning: one thread that starts all children of a raylet.

mod posix;
mod request;

use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::process::WaitIdOptions;

use super::child::Child;
use super::{Error, Spawned};

pub use request::{Output, SpawnRequest, SpawnRole};

type Reply = Box<dyn FnOnce(Result<Spawned, Error>) + Send>;

/// What the spawning thread is asked.
pub(super) enum Command {
    Spawn(Box<SpawnRequest>, Reply),
    Reap(Child),
    End,
}

impl Command {
    /// Reaps in the caller's thread, where the spawning thread has ended.
    pub(super) fn reap_here(self) {
        if let Self::Reap(child) = self {
            reap(&child);
        }
    }
}

fn reap(child: &Child) {
    // It was killed, so this waits only for the kernel to take it down.
    if let Err(error) = child.reap(WaitIdOptions::empty()) {
        tracing::debug!(%error, "a killed child could not be reaped");
    }
}

/// The thread that spawns processes. It lives as long as this value; when it ends, the kernel kills all its children that
/// have taken over a role (PR-1).
#[derive(Debug)]
pub struct Spawner {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    /// Starts the thread.
    pub fn start() -> Result<Self, Error> {
        let (commands, received) = mpsc::channel();
        let reaper = commands.clone();
        let thread = std::thread::Builder::new()
            .name("ray-spawner".to_owned())
            .spawn(move || serve(&received, &reaper))
            .map_err(|source| Error::Thread { source })?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Starts a process. A future dropped early kills the process it asked for.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Spawned, Error> {
        let (reply, spawned) = tokio::sync::oneshot::channel();
        self.ask(request, move |outcome| drop(reply.send(outcome)))?;
        spawned.await.map_err(|_| Error::Ended)?
    }

    /// Starts a process, blocking the calling thread for about a millisecond.
    pub fn spawn_blocking(&self, request: SpawnRequest) -> Result<Spawned, Error> {
        let (reply, spawned) = mpsc::sync_channel(1);
        self.ask(request, move |outcome| drop(reply.send(outcome)))?;
        spawned.recv().map_err(|_| Error::Ended)?
    }

    fn ask(
        &self,
        request: SpawnRequest,
        reply: impl FnOnce(Result<Spawned, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let command = Command::Spawn(Box::new(request), Box::new(reply));
        self.commands.send(command).map_err(|_| Error::Ended)
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        let asked = self.commands.send(Command::End);
        let ended = self.thread.take().map(JoinHandle::join);
        if asked.is_err() || matches!(ended, Some(Err(_))) {
            tracing::warn!("the thread that spawns workers had ended early");
        }
    }
}

fn serve(commands: &mpsc::Receiver<Command>, reaper: &mpsc::Sender<Command>) {
    while let Ok(command) = commands.recv() {
        match command {
            Command::Spawn(request, reply) => {
                let spawned = request
                    .start()
                    .and_then(Child::watch)
                    .map(|child| Spawned::new(child, reaper.clone()));
                reply(spawned);
            }
            Command::Reap(child) => reap(&child),
            Command::End => break,
        }
    }
    // What stood in line behind the end.
    for command in commands.try_iter() {
        command.reap_here();
    }
}
