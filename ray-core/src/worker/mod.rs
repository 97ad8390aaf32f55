//! One process's runtime: it submits tasks, owns their results, runs what others submit, and resolves references.
//!
//! [`Worker`] is the edge: it holds the [`State`](state::State) under its lock, carries out what the state wants done, and
//! feeds it with the frames of other processes. Drivers and worker processes have one each, of the same kind.

pub(crate) mod context;
pub(crate) mod execute;
mod gcs_client;
mod join;
mod links;
pub(crate) mod local;
pub mod main;
pub(crate) mod native;
pub(crate) mod objects;
pub(crate) mod put;
pub mod refs;
pub(crate) mod resolve;
mod rings;
mod service;
pub(crate) mod shape;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod waiter;

use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ray_core_ring::Ringer;
use smallvec::SmallVec;

use crate::config;
use crate::error::{RayError, Result};
use crate::ids::{ActorId, JobId, NodeId, ObjectId, WorkerId};
use crate::wire::{DeathCause, Frame, Sender, Welcome};
use execute::Executor;
use gcs_client::GcsClient;
use links::{Departure, Links, Parcel};
use local::{LocalLine, LocalLines, Startable};
use rings::Rings;
use state::{Dest, Out, Outgoing, State, Timer};

pub(crate) use join::{Introduction, JoinError, join};
pub(crate) use service::serve;

/// Who this process is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) worker: WorkerId,
    pub(crate) node: NodeId,
    pub(crate) job: JobId,
    pub(crate) driver: WorkerId,
    pub(crate) namespace: String,
    pub(crate) session_dir: std::path::PathBuf,
}

impl Identity {
    pub(crate) fn new(worker: WorkerId, welcome: &Welcome) -> Self {
        Self {
            worker,
            node: welcome.node,
            job: welcome.job,
            driver: welcome.driver,
            namespace: welcome.namespace.clone(),
            session_dir: welcome.session_dir.clone().into(),
        }
    }

    pub(crate) fn is_driver(&self) -> bool {
        self.worker == self.driver
    }
}

/// The runtime of this process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) identity: Identity,
    pub(crate) config: config::Cluster,
    state: Mutex<State>,
    links: Mutex<Links>,
    pub(crate) store: ray_objstore::Client,
    pub(crate) executor: Executor,
    pub(crate) locals: LocalLines,
    pub(crate) gcs: GcsClient,
    pub(crate) rings: Rings,
    pub(crate) io: tokio::runtime::Handle,
}

/// Frames in line that are to leave once the lock is released.
#[derive(Debug, Default)]
struct Leaving {
    flush: SmallVec<[Sender; 2]>,
    bells: SmallVec<[(Dest, Ringer); 2]>,
    to_self: Vec<Frame>,
}

static CURRENT: RwLock<Option<Arc<Worker>>> = RwLock::new(None);

/// The runtime of this process.
pub(crate) fn current() -> Result<Arc<Worker>> {
    let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
    current.clone().ok_or(RayError::NotInitialized {})
}

/// Makes `worker` the runtime of this process; `None` ends it.
pub(crate) fn set_current(worker: Option<Arc<Worker>>) {
    let old = std::mem::replace(&mut *CURRENT.write().unwrap_or_else(PoisonError::into_inner), worker);
    // Not under the lock: what it holds may look for the current runtime while it drops.
    drop(old);
}

/// Drops something of the user's. A panic in its destructor has been told; it must not end a thread of the runtime.
pub(crate) fn drop_value<T>(value: T) {
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(value)));
    if dropped.is_err() {
        tracing::error!(target: "ray_core::worker", "a value panicked while it was dropped");
    }
}

impl Worker {
    pub(crate) fn new(
        identity: Identity,
        config: config::Cluster,
        raylet: Sender,
        store: ray_objstore::Client,
        io: tokio::runtime::Handle,
    ) -> Result<Arc<Self>> {
        let rings = Rings::new(crate::host::Cpus::detect().usable());
        let rings = rings.map_err(|error| RayError::Start {
            why: format!("no bell for this process: {error}"),
        })?;
        let mut state = State::new(identity.worker, &config);
        let locals = LocalLines::new(state.common());
        state.local_line(&locals.calls);
        state.shared.hosts = identity.is_driver();
        if !identity.is_driver() {
            state.tell_of_lending();
        }
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            links: Mutex::new(Links::new(raylet)),
            executor: Executor::new(),
            locals,
            gcs: GcsClient::default(),
            identity,
            config,
            rings,
            store,
            io,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug; what the state holds is still consistent enough to end the session cleanly.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and carries out what follows. Frames are put in line under the lock, so that their order is the
    /// order of the changes, and leave after it is released.
    pub(crate) fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut State, Instant, &mut Out) -> R) -> R {
        let now = Instant::now();
        let mut out = Out::new(now);
        let mut state = self.state();
        let result = change(&mut state, now, &mut out);
        state.apply_ref_effects(&mut out);
        state.note_lending(&mut out);
        let leaving = if out.sends.is_empty() {
            Leaving::default()
        } else {
            self.line_up(&state, &mut out)
        };
        drop(state);
        self.carry_out(out, leaving);
        result
    }

    /// Puts the frames in line.
    fn line_up(&self, state: &State, out: &mut Out) -> Leaving {
        let mut leaving = Leaving::default();
        let mut links = self.links();
        for (dest, outgoing) in out.sends.drain(..) {
            let parcel = match outgoing {
                Outgoing::Frame(frame) if dest == Dest::Worker(self.identity.worker) => {
                    leaving.to_self.push(frame);
                    continue;
                }
                Outgoing::Ordered(frame) => Parcel::Ordered(frame),
                Outgoing::Frame(frame) => Parcel::Frame(frame),
                Outgoing::Task { task, plain } => match state.tasks.get(&task) {
                    Some(pending) => Parcel::Task {
                        spec: &pending.spec,
                        plain,
                    },
                    None => continue,
                },
            };
            match links.push(&self.rings, dest, parcel) {
                Departure::Flush(sender) if !leaving.flush.iter().any(|other| other.is_same(&sender)) => {
                    leaving.flush.push(sender);
                }
                Departure::Ring(ringer) if !leaving.bells.iter().any(|(known, _)| *known == dest) => {
                    leaving.bells.push((dest, ringer));
                }
                Departure::None | Departure::Flush(_) | Departure::Ring(_) => {}
            }
        }
        leaving
    }

    /// Does what a change wants done, the lock being released.
    fn carry_out(self: &Arc<Self>, out: Out, leaving: Leaving) {
        for (_, ringer) in &leaving.bells {
            self.rings.posted(ringer.ring());
        }
        leaving.flush.iter().for_each(Sender::flush);
        out.wakes.iter().for_each(|waiter| waiter.notify());
        out.failures.iter().for_each(|waiter| waiter.notify_failure());
        out.rouse.iter().for_each(std::thread::Thread::unpark);
        for _ in 0..out.start_threads {
            execute::shared::start_thread(self);
        }
        out.cancelled.iter().for_each(|context| context.cancel.set());
        for (host, error) in out.buried {
            host.end_local(self, &error);
        }
        for call in out.ended {
            call.fail(self, self.read(|state| state.why_ended()));
        }
        for (tasks, error) in out.refused {
            LocalLine::refuse(&tasks, self, &error);
        }
        out.encode.iter().for_each(|object| self.encode_wanted(*object));
        for (object, to) in out.whole {
            // It may have to be restored, and is copied: not on a thread that others wait for.
            let worker = self.clone();
            self.io.spawn_blocking(move || worker.send_whole(object, to));
        }
        if !out.free.is_empty() {
            let keys: Vec<_> = out
                .free
                .iter()
                .map(|object| ray_objstore::Key(*object.as_bytes()))
                .collect();
            self.store.free(&keys);
        }
        for (pause, timer) in out.timers {
            // The timer must not keep an ended session alive.
            let worker = Arc::downgrade(self);
            self.io.spawn(async move {
                tokio::time::sleep(pause).await;
                if let Some(worker) = worker.upgrade() {
                    let may_end = matches!(timer, Timer::LendsNoMore);
                    worker.with(|state, now, out| state.timer(timer, now, out));
                    if may_end {
                        worker.executor.recheck_exit(&worker);
                    }
                }
            });
        }
        for frame in leaving.to_self {
            service::from_peer(self, self.identity.worker, frame);
        }
        for (worker, only) in out.take_back {
            let back = self.links().take_back(worker, only.map(|(task, _)| task));
            if let (true, Some((task, recursive))) = (back.is_empty(), only) {
                // The worker has it: it runs, or has ended.
                let cancel = Frame::CancelTask { task, recursive };
                self.with(|_, _, out| out.send(Dest::Worker(worker), cancel));
            } else if !back.is_empty() {
                self.with(|state, now, out| state.taken_back(worker, &back, now, out));
            }
        }
        for value in out.garbage {
            drop_value(value);
        }
    }

    /// Puts calls in line whose turn at their actor has come.
    pub(crate) fn start_calls(self: &Arc<Self>, actor: ActorId, startable: Startable) {
        if startable.is_empty() {
            return;
        }
        let Startable { of_state, local } = startable;
        for task in local {
            if let Err(task) = self.locals.calls.push(task) {
                task.fail(self, self.read(|state| state.why_ended()));
            }
        }
        if !of_state.is_empty() || !self.locals.calls.is_served() {
            let startable = Startable {
                of_state,
                local: SmallVec::new(),
            };
            self.with(|state, _, out| {
                state.start_calls(actor, startable, out);
                state.local_pushed(&self.locals.calls, out);
            });
        }
    }

    /// Notes where in the program objects were made, if that is wanted.
    pub(crate) fn note_site(
        self: &Arc<Self>,
        objects: impl IntoIterator<Item = ObjectId>,
        site: &'static Location<'static>,
    ) {
        if self.config.record_ref_creation_sites {
            self.with(|state, _, _| objects.into_iter().for_each(|object| state.made_at(object, site)));
        }
    }

    /// Reads the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state())
    }

    /// Answers that came by ring.
    pub(crate) fn answers_arrived(self: &Arc<Self>, peer: WorkerId, mut frames: Vec<Frame>) {
        {
            let mut links = self.links();
            for frame in &frames {
                if let Frame::TaskDone { task, .. } = frame {
                    links.answered(peer, *task);
                }
            }
        }
        for frame in &mut frames {
            if let Frame::TaskDone { outcome, .. } = frame {
                self.find_losses(outcome);
            }
        }
        self.with(|state, _, out| {
            for frame in frames {
                if let Frame::TaskDone {
                    task,
                    attempt,
                    outcome,
                    reusable,
                    ran,
                } = frame
                {
                    state.task_done(peer, (task, attempt), outcome, (reusable, ran), out);
                }
            }
        });
    }

    /// Whether this process waits for no answer.
    pub(crate) fn awaits_nothing(&self) -> bool {
        self.read(|state| state.tasks.is_empty())
    }

    /// Another process of the node is dead, and everything that it sent by socket has been seen.
    pub(crate) fn process_died(self: &Arc<Self>, peer: WorkerId, cause: DeathCause) {
        self.rings.peer_died(self, peer, cause);
    }

    /// Another process of the node is dead, and everything that it sent has been seen.
    pub(crate) fn peer_is_dead(self: &Arc<Self>, peer: WorkerId, cause: &DeathCause) {
        let not_begun = self.links().rings_end(peer);
        self.with(|state, now, out| state.process_died(peer, cause, &not_begun, now, out));
        self.claim_lost(peer);
        self.executor.caller_gone(self, peer);
        self.executor.recheck_exit(self);
    }

    /// Waits until the frames in line have left, but not for long: the process is about to end.
    pub(crate) fn drain(&self) {
        self.links().flush();
    }

    /// Ends the session in this process: what is pending fails with `error`.
    pub(crate) fn end_session(self: &Arc<Self>, error: &RayError) {
        let hosts = self.with(|state, now, out| {
            let hosts = state.local_actors();
            state.end_session(error, now, out);
            hosts
        });
        self.locals.end(self, &hosts, error);
        self.gcs.fail_all(error);
        self.links().close();
    }
}
