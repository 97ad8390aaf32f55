//! Carries the raylet's frames, spawns its processes, and tells of their deaths.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::convert::from_numbers;
use super::memory::{self, Answers, Watched};
use super::state::{Effect, Effects, State, warn_unsaved};
use crate::host::{Memory, MemoryUsage};
use crate::ids::{IdHasher, JobId, NodeId, WorkerId};
use crate::process::{self, Death, Executable, Output, SpawnRequest, SpawnRole, Spawned, Spawner};
use crate::scheduling::NodeResources;
use crate::session::Session;
use crate::session::logs::{Follow, FollowId, LogFollower, Stream};
use crate::wire::connection::over_socket;
use crate::wire::{DeathCause, Frame, Hello, Packet, Receiver, Sender, Welcome};
use crate::{clock, config};

/// What a raylet needs to start.
#[derive(Debug)]
pub struct Options {
    /// The node's id.
    pub node: NodeId,
    /// What the node has.
    pub resources: BTreeMap<String, f64>,
    /// How the node's GPUs are named to workers, by index.
    pub gpus: Vec<String>,
    /// How many idle workers are kept; as many are started at once.
    pub idle_workers: usize,
    /// The store's capacity in bytes.
    pub store_bytes: u64,
    /// The session's directory.
    pub session: Arc<Session>,
    /// The program that workers run.
    pub executable: Executable,
    /// The job, its driver, and its namespace.
    pub job: (JobId, WorkerId, String),
    /// The memory of the machine, or of its control group.
    pub machine: Memory,
    /// The node's settings.
    pub config: config::Node,
    /// The cluster's settings.
    pub cluster: config::Cluster,
    /// The hash of the table of remote items: workers must have the same.
    pub items: u64,
    /// Follows the log files of workers, if they are shown.
    pub logs: Option<LogFollower>,
}

/// A raylet that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its object store cannot start.
    #[error("the object store cannot start: {0}")]
    Store(#[from] ray_objstore::Error),
    /// Its spawning thread cannot start.
    #[error("workers cannot be spawned: {0}")]
    Process(#[from] process::Error),
    /// A resource makes no sense.
    #[error("the node's resources: {0}")]
    Resources(#[from] crate::scheduling::ResourceError),
    /// It has ended.
    #[error("the raylet has ended")]
    Ended,
    /// A process is of another build or protocol.
    #[error("{0}")]
    Refused(String),
}

/// A raylet, before it runs.
#[derive(Debug)]
pub struct Raylet {
    options: Options,
    state: State,
    watched: Watched,
    /// Processes that are being spawned.
    births: usize,
    store: ray_objstore::Store,
    spawner: Arc<Spawner>,
    processes: HashMap<WorkerId, Connected, IdHasher>,
    gcs: Sender,
    inputs: mpsc::Sender<Input>,
}

/// A process that the raylet knows.
#[derive(Debug, Default)]
struct Connected {
    sender: Option<Sender>,
    /// Its process, if it is a driver.
    pid: Option<u32>,
    spawned: Option<Arc<Spawned>>,
    followed: Vec<FollowId>,
    /// The name under which its output is shown.
    shown_as: String,
}

impl Connected {
    fn pid(&self) -> Option<u32> {
        self.pid.or_else(|| Some(self.spawned.as_ref()?.pid()))
    }
}

#[derive(Debug)]
enum Input {
    Driver {
        hello: Box<Hello>,
        sender: Sender,
    },
    Spawned {
        worker: WorkerId,
        spawned: Result<Arc<Spawned>, process::Error>,
    },
    Joined {
        worker: WorkerId,
        hello: Box<Hello>,
        sender: Sender,
    },
    Frame {
        from: WorkerId,
        frame: Frame,
    },
    /// A driver's connection has ended.
    Left {
        worker: WorkerId,
    },
    Died {
        worker: WorkerId,
        cause: DeathCause,
    },
    Gcs(Frame),
    GcsGone,
    StoreReport(oneshot::Sender<ray_objstore::Report>),
    Shutdown(oneshot::Sender<()>),
}

/// A raylet that runs.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    hello_within: Duration,
}

impl Handle {
    /// Serves a driver's connection, whose first frame must be a hello, until it ends.
    pub async fn attend(&self, (sender, mut receiver): (Sender, Receiver)) {
        let first = tokio::time::timeout(self.hello_within, receiver.recv()).await;
        let Ok(Some(Packet {
            frame: Frame::Hello { hello },
            ..
        })) = first
        else {
            let within = self.hello_within;
            tracing::error!(target: "ray_core::raylet", "a driver did not introduce itself within {within:?}");
            return;
        };
        let worker = hello.worker;
        if self.inputs.send(Input::Driver { hello, sender }).await.is_ok() {
            read_frames(worker, receiver, self.inputs.clone()).await;
        }
    }

    /// What the node's store holds.
    pub async fn store_report(&self) -> Result<ray_objstore::Report, Error> {
        let (reply, report) = oneshot::channel();
        self.inputs
            .send(Input::StoreReport(reply))
            .await
            .map_err(|_| Error::Ended)?;
        report.await.map_err(|_| Error::Ended)
    }

    /// Ends all processes of the node and frees its memory. Returns when that is done.
    pub async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.inputs.send(Input::Shutdown(done)).await.is_ok() {
            // An error means that it has ended already.
            let _ended = finished.await;
        }
    }
}

impl Raylet {
    /// Starts a raylet on the current runtime, with a connection to its GCS.
    pub fn start(options: Options, gcs: (Sender, Receiver)) -> Result<Handle, Error> {
        let mut store_options = ray_objstore::Options::new(options.store_bytes, options.session.spill());
        store_options.spill_threshold = options.config.object_spilling_threshold.get();
        store_options.wait = Duration::from_millis(options.config.object_store_full_wait_ms);
        let store = ray_objstore::Store::start(store_options)?;
        let spawner = Arc::new(Spawner::start()?);
        let resources = NodeResources::new(&from_numbers(&options.resources)?)?;
        let (inputs, received) = mpsc::channel(4096);
        let (gcs_sender, gcs_receiver) = gcs;
        let idle_time = Duration::from_millis(options.config.idle_worker_killing_time_threshold_ms);
        let mut state = State::new(
            options.node,
            resources,
            options.idle_workers,
            idle_time,
            Duration::from_millis(options.config.checkpoint_at_end_ms),
        );
        gcs_sender.send(state.registration());
        tokio::spawn(read_gcs(gcs_receiver, inputs.clone()));
        let handle = Handle {
            inputs: inputs.clone(),
            hello_within: Duration::from_secs(options.config.worker_register_timeout_seconds),
        };
        let processes = HashMap::default();
        let raylet = Self {
            births: 0,
            watched: Watched {
                machine: options.machine.clone(),
                limit: options.config.memory_limit,
            },
            options,
            state,
            store,
            spawner,
            processes,
            gcs: gcs_sender,
            inputs,
        };
        tokio::spawn(raylet.run(received));
        Ok(handle)
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let refresh = Duration::from_millis(self.options.config.memory_monitor_refresh_ms);
        let mut looked = clock::monotonic();
        let mut ticked = looked;
        loop {
            let watches = !refresh.is_zero() && self.state.has_work();
            let look = watches.then(|| (looked + refresh).saturating_sub(clock::monotonic()));
            let due = self.state.tick_due(ticked);
            if due.is_none() {
                ticked = clock::monotonic();
            }
            let tick = due.map(|due| due.saturating_sub(clock::monotonic()));
            let next = match look.into_iter().chain(tick).min() {
                Some(pause) => match tokio::time::timeout(pause, inputs.recv()).await {
                    Ok(input) => input.map(Some),
                    Err(_elapsed) => Some(None),
                },
                None => inputs.recv().await.map(Some),
            };
            let mut out = Effects::new();
            if watches && clock::monotonic() >= looked + refresh {
                looked = clock::monotonic();
                self.look_at_memory(&mut out);
            }
            // Also while frames come without a pause.
            if due.is_some_and(|due| clock::monotonic() >= due) {
                ticked = clock::monotonic();
                self.state.tick(ticked, &mut out);
            }
            match next {
                None => return,
                Some(None) => {}
                Some(Some(Input::Shutdown(done))) => {
                    self.end(&mut inputs).await;
                    // Who asked may have stopped waiting.
                    let _gone = done.send(());
                    return;
                }
                Some(Some(input)) => self.take(input, &mut out),
            }
            self.carry_out(out);
        }
    }

    fn take(&mut self, input: Input, out: &mut Effects) {
        let now = clock::monotonic();
        if matches!(input, Input::Spawned { .. }) {
            self.births -= 1;
        }
        match input {
            Input::Driver { hello, sender } => match self.welcome(&hello) {
                Ok((welcome, store)) => {
                    let welcome = Box::new(welcome);
                    sender.send_with(Frame::Welcome { welcome }, vec![store]);
                    self.state.driver_joined(hello.worker, hello.pid);
                    let connected = Connected {
                        sender: Some(sender),
                        pid: Some(hello.pid),
                        ..Connected::default()
                    };
                    self.processes.insert(hello.worker, connected);
                    self.state.prestart(out);
                }
                // It leaves by its connection.
                Err(error) => sender.send(Frame::Refused { why: error.to_string() }),
            },
            Input::Spawned {
                worker,
                spawned: Ok(spawned),
            } => {
                tracing::debug!(target: "ray_core::raylet", %worker, pid = spawned.pid(), "a worker was started");
                self.state.spawned(worker, spawned.pid());
                let followed = self.follow(worker, spawned.pid());
                let process = self.processes.entry(worker).or_default();
                process.spawned = Some(spawned);
                process.followed = followed;
            }
            Input::Spawned {
                worker,
                spawned: Err(error),
            } => {
                let cause = DeathCause::NotStarted { why: error.to_string() };
                self.state.process_ended(worker, cause, now, out);
            }
            Input::Joined { worker, hello, sender } => match self.welcome(&hello) {
                Ok((welcome, store)) => {
                    let welcome = Welcome { worker, ..welcome };
                    sender.send_with(
                        Frame::Welcome {
                            welcome: Box::new(welcome),
                        },
                        vec![store],
                    );
                    let process = self.processes.entry(worker).or_default();
                    process.sender = Some(sender);
                    self.state.worker_joined(worker, now, out);
                }
                Err(error) => {
                    sender.send(Frame::Refused { why: error.to_string() });
                    self.state
                        .kill(worker, DeathCause::NotStarted { why: error.to_string() }, out);
                }
            },
            Input::Frame { from, frame } => self.state.frame(from, frame, now, out),
            Input::Left { worker } => {
                let cause = DeathCause::Exited { code: 0 };
                self.state.process_ended(worker, cause, now, out);
                self.processes.remove(&worker);
            }
            Input::Died { worker, cause } => {
                tracing::debug!(target: "ray_core::raylet", %worker, %cause, "a worker has ended");
                self.state.process_ended(worker, cause, now, out);
                let followed = self
                    .processes
                    .remove(&worker)
                    .map(|process| process.followed)
                    .unwrap_or_default();
                if let Some(logs) = &self.options.logs {
                    followed.into_iter().for_each(|id| logs.finish(id));
                }
            }
            Input::Gcs(frame) => self.state.gcs_frame(frame, now, out),
            Input::GcsGone => tracing::warn!(target: "ray_core::raylet", "the GCS is gone"),
            Input::StoreReport(reply) => {
                let _gone = reply.send(self.store.report());
            }
            Input::Shutdown(_) => {}
        }
    }

    fn welcome(&self, hello: &Hello) -> Result<(Welcome, OwnedFd), Error> {
        let ours = Hello::of_this_process(WorkerId::default(), self.options.items);
        hello.check(&ours).map_err(Error::Refused)?;
        let (job, driver, namespace) = &self.options.job;
        let client = ray_objstore::ClientId(*hello.worker.as_bytes());
        let store = self.store.connect(job.number(), client, hello.pid)?;
        let welcome = Welcome {
            worker: hello.worker,
            node: self.options.node,
            job: *job,
            driver: *driver,
            namespace: namespace.clone(),
            session_dir: self.options.session.path().to_string_lossy().into_owned(),
            config: self.options.cluster.to_text(),
        };
        Ok((welcome, store))
    }

    fn carry_out(&mut self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    if let Some(sender) = self.processes.get(&to).and_then(|process| process.sender.as_ref()) {
                        sender.send(frame);
                    }
                }
                Effect::ToGcs(frame) => self.gcs.send(frame),
                Effect::Link { a, b } => self.link(a, b),
                Effect::Spawn { worker, gpus } => self.spawn(worker, &gpus),
                Effect::Kill { worker } => {
                    if let Some(spawned) = self.processes.get(&worker).and_then(|process| process.spawned.as_ref()) {
                        spawned.kill();
                    }
                }
                Effect::Name { worker, name } => self.name_output(worker, name),
                Effect::ForgetInStore { worker } => {
                    self.store.client_died(ray_objstore::ClientId(*worker.as_bytes()));
                    self.store.free_owned_by(worker.prefix());
                }
                Effect::Report { to, request, answers } => self.report(to, request, answers),
                Effect::Judge { usage, answers } => self.judge(usage, &answers),
            }
        }
    }

    /// Puts the `memory` report together beside the loop: the kernel takes its time to count pages.
    fn report(&self, to: WorkerId, request: u64, answers: Answers) {
        let Some(sender) = self.processes.get(&to).and_then(|process| process.sender.clone()) else {
            return;
        };
        let (node, workers, store) = (self.options.node, self.state.report().workers, self.store.report());
        tokio::task::spawn_blocking(move || {
            let report = Box::new(memory::report(node, workers, answers, store));
            sender.send(Frame::MemoryReportReply { request, report });
        });
    }

    /// Looks at the memory. Only the processes that it started and its driver count as the session's.
    fn look_at_memory(&mut self, out: &mut Effects) {
        let pids: Vec<u32> = self.state.report().workers.iter().map(|worker| worker.pid).collect();
        match self.watched.usage(&pids, self.store.used_bytes()) {
            Ok(usage) if usage.fraction() > self.options.config.memory_usage_threshold.get() => {
                self.state.memory_short(usage, clock::monotonic(), out);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(target: "ray_core::raylet", %error, "the memory cannot be watched"),
        }
    }

    fn judge(&mut self, usage: MemoryUsage, answers: &Answers) {
        let threshold = self.options.config.memory_usage_threshold.get();
        if let Some(verdict) = memory::verdict(usage, threshold, self.state.suspects(), answers) {
            let mut out = Effects::new();
            self.state
                .kill_for_memory(verdict.victim, verdict.report.to_string(), &mut out);
            self.carry_out(out);
        }
    }

    fn link(&self, a: WorkerId, b: WorkerId) {
        let (for_a, for_b) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors: each side's requests stay in its line, and the message says why.
                tracing::error!(target: "ray_core::raylet", %error, %a, %b, "two workers cannot be linked");
                return;
            }
        };
        for (to, peer, socket) in [(a, b, for_a), (b, a, for_b)] {
            // One that has just ended: its death follows.
            let Some(pid) = self.processes.get(&peer).and_then(Connected::pid) else {
                return;
            };
            if let Some(sender) = self.processes.get(&to).and_then(|process| process.sender.as_ref()) {
                let frame = Frame::PeerLink { worker: peer, pid };
                sender.send_with(frame, vec![socket.into()]);
            }
        }
    }

    fn spawn(&mut self, worker: WorkerId, gpus: &[u32]) {
        let inputs = self.inputs.clone();
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return self.not_spawned(worker, error.to_string()),
        };
        let [out_name, err_name] = log_names(worker);
        let session = &self.options.session;
        let files = session
            .open_log(&out_name)
            .and_then(|out| Ok((out, session.open_log(&err_name)?)));
        let (stdout, stderr) = match files {
            Ok(files) => files,
            Err(error) => return self.not_spawned(worker, error.to_string()),
        };
        let mut request = SpawnRequest::new(self.options.executable.clone());
        request.stdout = Output::File(stdout.into());
        request.stderr = Output::File(stderr.into());
        request.role = Some(SpawnRole {
            name: process::role::WORKER.to_owned(),
            control: theirs.into(),
            descriptors: Vec::new(),
        });
        request.environment.extend(self.visible_gpus(gpus));
        let spawner = self.spawner.clone();
        let hello_within = Duration::from_secs(self.options.config.worker_register_timeout_seconds);
        self.births += 1;
        let birth = Birth {
            worker,
            hello_within,
            inputs,
        };
        tokio::spawn(async move { birth.attend(spawner.spawn(request).await, ours).await });
    }

    /// Shows a worker's output from now on.
    fn follow(&self, worker: WorkerId, pid: u32) -> Vec<FollowId> {
        let Some(logs) = &self.options.logs else {
            return Vec::new();
        };
        let files = log_names(worker).into_iter().zip([Stream::Stdout, Stream::Stderr]);
        let follow = |(name, stream)| {
            let path = self.options.session.logs().join(name);
            logs.follow(Follow {
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
        followed.into_iter().flatten().collect()
    }

    /// Shows a worker's output under the name of what it runs: a function's or a type's without its path.
    fn name_output(&mut self, worker: WorkerId, name: String) {
        let (Some(logs), Some(process)) = (&self.options.logs, self.processes.get_mut(&worker)) else {
            return;
        };
        if process.shown_as != name {
            let short = name.rsplit("::").next().unwrap_or(&name);
            process.followed.iter().for_each(|id| logs.rename(*id, short));
            process.shown_as = name;
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
        Some((crate::host::gpus::VISIBLE_DEVICES_VARIABLE.into(), list.into()))
    }

    /// Has the actors saved that can be, and waits until these have ended, or their time is over.
    async fn save_actors(&mut self, inputs: &mut mpsc::Receiver<Input>) {
        let mut out = Effects::new();
        let (mut saving, until) = self.state.save_all(clock::monotonic(), &mut out);
        self.carry_out(out);
        while !saving.is_empty() {
            let left = until.saturating_sub(clock::monotonic());
            match tokio::time::timeout(left, inputs.recv()).await {
                Ok(Some(Input::Died { worker, .. })) => {
                    saving.remove(&worker);
                }
                Ok(Some(Input::Spawned { worker, spawned })) => self.born(worker, spawned),
                // What else comes is of a session that is over. In particular, nothing is restarted.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let within = Duration::from_millis(self.options.config.checkpoint_at_end_ms);
        saving.values().for_each(|actor| warn_unsaved(actor, within));
    }

    /// A worker whose birth the session's end has overtaken.
    fn born(&mut self, worker: WorkerId, spawned: Result<Arc<Spawned>, process::Error>) {
        self.births -= 1;
        self.processes.entry(worker).or_default().spawned = spawned.ok();
    }

    /// Kills what still runs and waits until it is gone.
    async fn end(mut self, inputs: &mut mpsc::Receiver<Input>) {
        self.save_actors(inputs).await;
        // Those that are being born are not known yet.
        while self.births > 0 {
            match tokio::time::timeout(Duration::from_secs(5), inputs.recv()).await {
                Ok(Some(Input::Spawned { worker, spawned })) => self.born(worker, spawned),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let running: Vec<Arc<Spawned>> = self
            .processes
            .drain()
            .filter_map(|(_, process)| process.spawned)
            .collect();
        running.iter().for_each(|spawned| spawned.kill());
        for spawned in running {
            // An error means that it cannot be watched; it was killed all the same.
            let _death = tokio::time::timeout(Duration::from_secs(5), spawned.wait()).await;
        }
        drop(self.options.logs.take());
        // The store frees a node's memory here, which takes time in the size of what was touched.
        let freed = tokio::task::spawn_blocking(move || drop(self.store)).await;
        if let Err(error) = freed {
            tracing::error!(target: "ray_core::raylet", %error, "the store did not end cleanly");
        }
    }
}

/// The files of a worker's standard output and error in the session's log directory.
fn log_names(worker: WorkerId) -> [String; 2] {
    let short = worker.to_string()[..12].to_owned();
    [format!("worker-{short}.out"), format!("worker-{short}.err")]
}

/// Follows one worker from its spawn to its death.
struct Birth {
    worker: WorkerId,
    /// How long it may take until its first frame.
    hello_within: Duration,
    inputs: mpsc::Sender<Input>,
}

impl Birth {
    async fn attend(self, spawned: Result<Spawned, process::Error>, control: UnixStream) {
        let Self {
            worker,
            hello_within,
            inputs,
        } = self;
        let spawned = spawned.map(Arc::new);
        let watched = spawned.as_ref().ok().cloned();
        if inputs.send(Input::Spawned { worker, spawned }).await.is_err() {
            return;
        }
        let Some(watched) = watched else { return };
        let serving = tokio::spawn(serve_worker(
            worker,
            control,
            hello_within,
            inputs.clone(),
            watched.clone(),
        ));
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
        let _ended = inputs.send(Input::Died { worker, cause }).await;
    }
}

/// Reads a worker's frames, the first of which must be a hello.
async fn serve_worker(
    worker: WorkerId,
    control: UnixStream,
    hello_within: Duration,
    inputs: mpsc::Sender<Input>,
    spawned: Arc<Spawned>,
) {
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
    while let Some(packet) = receiver.recv().await {
        if inputs
            .send(Input::Frame {
                from: worker,
                frame: packet.frame,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Reads the frames of a process that the raylet did not spawn; the end of its connection is its end.
async fn read_frames(worker: WorkerId, mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    while let Some(packet) = receiver.recv().await {
        if inputs
            .send(Input::Frame {
                from: worker,
                frame: packet.frame,
            })
            .await
            .is_err()
        {
            return;
        }
    }
    let _ended = inputs.send(Input::Left { worker }).await;
}

async fn read_gcs(mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    while let Some(packet) = receiver.recv().await {
        if inputs.send(Input::Gcs(packet.frame)).await.is_err() {
            return;
        }
    }
    let _ended = inputs.send(Input::GcsGone).await;
}
