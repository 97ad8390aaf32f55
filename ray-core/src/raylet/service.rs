//! The raylet's edge: takes what comes, has the state decide, and carries out what it wants done.
//!
//! What comes is read by tasks beside the loop (`inputs`, `births`), so that the loop never waits for anything else.

mod births;
mod end;
mod guests;
mod handle;
mod hosts;
mod inputs;
mod jobs;
mod joins;
mod options;
mod output;
mod processes;
mod watch;
mod ways;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::memory::Watched;
use super::state::{Effect, Effects, State};
use crate::clock;
use crate::ids::WorkerId;
use crate::process::Spawner;
use crate::scheduling::{NodeResources, ResourceSet};
use crate::wire::{DeathCause, Frame, Receiver, Sender};
use guests::Guests;
pub use handle::{Handle, Peer};
use hosts::Hosts;
use inputs::{Input, Next, read_gcs};
use jobs::{Job, Jobs};
pub use options::{Error, Options};
pub use output::JobOutput;
use processes::Processes;

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
    processes: Processes,
    jobs: Jobs,
    hosts: Hosts,
    guests: Guests,
    /// Drivers that have left while their processes live.
    left: HashMap<WorkerId, OwnedFd>,
    /// The outputs of jobs that have ended, of which something is left to show.
    showing: JoinSet<()>,
    stop: Arc<Notify>,
    gcs: Sender,
    inputs: mpsc::Sender<Input>,
}

impl Raylet {
    /// Starts a raylet on the current runtime, with a connection to its GCS.
    pub fn start(options: Options, gcs: (Sender, Receiver)) -> Result<Handle, Error> {
        let mut store_options = ray_objstore::Options::new(options.store_bytes, options.session.spill());
        store_options.spill_threshold = options.config.object_spilling_threshold.get();
        store_options.wait = Duration::from_millis(options.config.object_store_full_wait_ms);
        let store = ray_objstore::Store::start(store_options)?;
        let spawner = Arc::new(Spawner::start()?);
        let resources = NodeResources::new(&ResourceSet::from_numbers(&options.resources)?)?;
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
        gcs_sender.send(state.registration(options.address.clone()));
        tokio::spawn(read_gcs(gcs_receiver, inputs.clone()));
        let stop = Arc::new(Notify::new());
        let handle = Handle {
            stop: stop.clone(),
            inputs: inputs.clone(),
            node: options.node,
            hello_within: Duration::from_secs(options.config.worker_register_timeout_seconds),
        };
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
            processes: Processes::default(),
            jobs: Jobs::default(),
            hosts: Hosts::default(),
            guests: Guests::default(),
            left: HashMap::new(),
            showing: JoinSet::new(),
            stop,
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
            let next = inputs::next(&mut inputs, look.into_iter().chain(tick).min()).await;
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
                Next::End => return,
                Next::Nothing => {}
                Next::Input(Input::Shutdown(done)) => {
                    self.end(&mut inputs).await;
                    // Who asked may have stopped waiting.
                    let _gone = done.send(());
                    return;
                }
                Next::Input(input) => self.take(input, &mut out),
            }
            self.carry_out(out);
        }
    }

    fn take(&mut self, input: Input, out: &mut Effects) {
        let now = clock::monotonic();
        match input {
            Input::Arrived(arrival) => self.arrives(*arrival),
            Input::Spawned { worker, spawned } => self.worker_spawned(worker, spawned, now, out),
            Input::Joined { worker, hello, sender } => self.worker_joins(worker, &hello, sender, now, out),
            Input::Frame {
                from,
                frame: Frame::StopNode {},
            } if self.state.is_observer(from) => self.asked_to_stop(from),
            Input::Frame { from, frame } => self.state.frame(from, frame, now, out),
            Input::Left { worker } if self.jobs.left_early(worker) => {}
            Input::Left { worker } => {
                let cause = DeathCause::Exited { code: 0 };
                self.state.process_ended(worker, cause, now, out);
                if let Some(process) = self.processes.remove(worker) {
                    self.driver_left(worker, process);
                }
            }
            Input::Vanished { worker } => self.store.client_died(ray_objstore::ClientId(*worker.as_bytes())),
            Input::Died { worker, cause } => {
                tracing::debug!(target: "ray_core::raylet", %worker, %cause, "a worker has ended");
                self.state.process_ended(worker, cause, now, out);
                if let Some(process) = self.processes.remove(worker) {
                    let job = self.jobs.get(process.job);
                    if let Some(follower) = job.and_then(Job::follower) {
                        process.shown.finish(follower);
                    }
                    self.let_go(process.job);
                }
            }
            Input::Gcs(Frame::JobAdded { driver, job }) => self.job_added(driver, job, out),
            Input::Gcs(Frame::StartActor { spec, restarts }) => self.start_actor(spec, restarts, out),
            Input::Gcs(Frame::NodeLeft { node, why }) if node == self.options.node => self.head_lost(&why),
            Input::Gcs(Frame::NodeLeft { node, why }) => {
                self.state.gcs_frame(Frame::NodeLeft { node, why }, now, out);
                self.forget_visitor(node);
            }
            Input::Gcs(Frame::StopActor {
                actor,
                force,
                saves,
                why,
            }) => {
                self.forget_waiting_actor(actor);
                let frame = Frame::StopActor {
                    actor,
                    force,
                    saves,
                    why,
                };
                self.state.gcs_frame(frame, now, out);
            }
            Input::Gcs(Frame::JobOver { job }) => self.job_over(job, out),
            Input::Gcs(frame) => self.state.gcs_frame(frame, now, out),
            Input::GcsGone => self.head_lost("the connection to the head has ended"),
            Input::HeadLost(why) => self.head_lost(&why),
            Input::Visit { node, visit, news } => self.visited(node, visit, news, out),
            Input::Guest { node, news } => self.guest_news(node, news, out),
            Input::ProgramFetched { job, fetched } => self.program_fetched(job, fetched, out),
            Input::Program { job, reply } => {
                // Who asked may have stopped waiting.
                let _gone = reply.send(self.jobs.get(job).map(Job::shipped));
            }
            Input::StoreReport(reply) => {
                let _gone = reply.send(self.store.report());
            }
            Input::Shutdown(_) => {}
        }
    }

    fn asked_to_stop(&self, by: WorkerId) {
        tracing::info!(target: "ray_core::raylet", %by, "the node is asked to end");
        self.stop.notify_one();
    }

    /// CL-3 of `head/cluster`. In a node that has its head within, that happens at the end only.
    fn head_lost(&self, why: &str) {
        tracing::error!(target: "ray_core::raylet", why, "the node has lost its head, and ends");
        self.stop.notify_one();
    }

    fn carry_out(&mut self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => self.processes.send(to, frame),
                Effect::ToGcs(frame) => self.gcs.send(frame),
                Effect::ToNode { node, frame } => self.send_to_node(node, frame),
                Effect::LeaveNode { node } => self.leave_node(node),
                Effect::Link { a, b } => self.processes.link(a, b),
                Effect::Spawn { worker, job, gpus } => self.spawn(worker, job, &gpus),
                Effect::Kill { worker } => self.processes.kill(worker),
                Effect::Name { worker, name } => {
                    let job = self.jobs.get(self.processes.job(worker));
                    if let Some(follower) = job.and_then(Job::follower)
                        && let Some(process) = self.processes.get_mut(worker)
                    {
                        process.shown.rename(follower, name);
                    }
                }
                Effect::ForgetInStore { worker } => self.forget_in_store(worker),
                Effect::Report { to, request, answers } => self.report(to, request, answers),
                Effect::Judge { usage, answers } => self.judge(usage, &answers),
            }
        }
    }
}
