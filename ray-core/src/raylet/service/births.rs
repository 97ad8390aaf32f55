//! Workers from their spawn to their death.
//!
//! *Absent:* which workers are to be started, and what their deaths mean: the state decides.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Raylet;
use super::inputs::{Input, pass_on};
use super::jobs::Job;
use super::output::{self, Shown};
use super::processes::Process;
use crate::host;
use crate::ids::{JobId, WorkerId};
use crate::process::{self, Death, Output, SpawnRequest, SpawnRole, Spawned};
use crate::raylet::state::Effects;
use crate::wire::connection::over_socket;
use crate::wire::{DeathCause, Frame, Hello, Packet};

impl Raylet {
    pub(super) fn spawn(&mut self, worker: WorkerId, job: JobId, gpus: &[u32]) {
        let process = Process {
            job,
            ..Process::default()
        };
        self.processes.add(worker, process);
        let (request, control) = match self.spawn_request(worker, job, gpus) {
            Ok(made) => made,
            Err(why) => return self.not_spawned(worker, why),
        };
        let birth = Birth {
            worker,
            hello_within: Duration::from_secs(self.options.config.worker_register_timeout_seconds),
            inputs: self.inputs.clone(),
        };
        let spawner = self.spawner.clone();
        self.births += 1;
        tokio::spawn(async move { birth.attend(spawner.spawn(request).await, control).await });
    }

    /// How a worker is to be started, and the raylet's end of its connection.
    fn spawn_request(&self, worker: WorkerId, job: JobId, gpus: &[u32]) -> Result<(SpawnRequest, UnixStream), String> {
        let job = self.jobs.get(job).ok_or("its job is over")?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let (stdout, stderr) = output::open(&self.options.session, worker).map_err(|error| error.to_string())?;
        let mut request = SpawnRequest::new(job.executable.clone());
        request.stdout = Output::File(stdout.into());
        request.stderr = Output::File(stderr.into());
        request.role = Some(SpawnRole {
            name: process::role::WORKER.to_owned(),
            control: theirs.into(),
            descriptors: Vec::new(),
        });
        request.environment.extend(self.visible_gpus(gpus));
        Ok((request, ours))
    }

    /// The process exists, or could not be started.
    pub(super) fn worker_spawned(
        &mut self,
        worker: WorkerId,
        spawned: Result<Arc<Spawned>, process::Error>,
        now: Duration,
        out: &mut Effects,
    ) {
        self.births -= 1;
        match spawned {
            Ok(spawned) => {
                tracing::debug!(target: "ray_core::raylet", %worker, pid = spawned.pid(), "a worker was started");
                self.state.spawned(worker, spawned.pid(), out);
                let job = self.jobs.get(self.processes.job(worker));
                let follower = job.and_then(Job::follower);
                let follow = |follower| Shown::follow(&self.options.session, follower, worker, spawned.pid());
                let shown = follower.map(follow).unwrap_or_default();
                if let Some(process) = self.processes.get_mut(worker) {
                    process.shown = shown;
                    process.spawned = Some(spawned);
                }
            }
            Err(error) => {
                let cause = DeathCause::NotStarted { why: error.to_string() };
                self.state.process_ended(worker, cause, now, out);
                if let Some(process) = self.processes.remove(worker) {
                    self.let_go(process.job);
                }
            }
        }
    }

    fn not_spawned(&self, worker: WorkerId, why: String) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            // A raylet that has ended needs no worker.
            let _ended = inputs
                .send(Input::Died {
                    worker,
                    cause: DeathCause::NotStarted { why },
                })
                .await;
        });
    }

    /// Workers see the GPUs they were given, and no other; those with none see none where the node has some.
    fn visible_gpus(&self, gpus: &[u32]) -> Option<(OsString, OsString)> {
        if self.options.gpus.is_empty() {
            return None;
        }
        let names = gpus.iter().filter_map(|index| self.options.gpus.get(*index as usize));
        let list = names.cloned().collect::<Vec<_>>().join(",");
        Some((host::gpus::VISIBLE_DEVICES_VARIABLE.into(), list.into()))
    }
}

/// Follows one worker from its spawn to its death.
#[derive(Clone)]
struct Birth {
    worker: WorkerId,
    /// How long it may take until its first frame.
    hello_within: Duration,
    inputs: mpsc::Sender<Input>,
}

impl Birth {
    async fn attend(self, spawned: Result<Spawned, process::Error>, control: UnixStream) {
        let worker = self.worker;
        let spawned = spawned.map(Arc::new);
        let watched = spawned.as_ref().ok().cloned();
        if self.inputs.send(Input::Spawned { worker, spawned }).await.is_err() {
            return;
        }
        let Some(watched) = watched else { return };
        let serving = tokio::spawn(self.clone().serve(control, watched.clone()));
        let cause = match watched.wait().await {
            Ok(Death::Exited { code }) => DeathCause::Exited { code },
            Ok(Death::Killed { signal, .. }) => DeathCause::Signalled { signal },
            Ok(Death::Unknown) => DeathCause::NotStarted {
                why: "other code of this program reaped it".into(),
            },
            Err(error) => DeathCause::NotStarted { why: error.to_string() },
        };
        // What it had sent before it died counts: its reader ends after the last of it.
        let _read = serving.await;
        let _ended = self.inputs.send(Input::Died { worker, cause }).await;
    }

    /// Reads the worker's frames, the first of which must be a hello.
    async fn serve(self, control: UnixStream, spawned: Arc<Spawned>) {
        let Self {
            worker,
            hello_within,
            inputs,
        } = self;
        let (sender, mut receiver) = match over_socket(control.into()) {
            Ok(halves) => halves,
            Err(error) => {
                tracing::error!(target: "ray_core::raylet", %error, %worker, "a worker's socket cannot be used");
                spawned.kill();
                return;
            }
        };
        match tokio::time::timeout(hello_within, receiver.recv()).await {
            Ok(Some(Packet {
                frame: Frame::Hello { hello },
                ..
            })) => {
                let hello = Box::new(Hello { worker, ..*hello });
                if inputs.send(Input::Joined { worker, hello, sender }).await.is_err() {
                    return;
                }
            }
            // It has ended; its death says how.
            Ok(None) => return,
            Ok(Some(_)) | Err(_) => {
                tracing::error!(target: "ray_core::raylet", %worker, "a worker did not introduce itself within {hello_within:?}");
                spawned.kill();
                return;
            }
        }
        // An error means that the raylet has ended.
        let _ended = pass_on(worker, &mut receiver, &inputs).await;
    }
}
