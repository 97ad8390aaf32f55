//! Nodes whose processes are guests here: their connections, their jobs' programs, and links between guests and processes of
//! this node.
//!
//! - GU-1: what a guest asks for waits until the program of its job is here: its workers run that.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::inputs::Input;
use super::jobs::Job;
use super::processes::Process;
use super::{Raylet, ways};
use crate::clock;
use crate::error::RayError;
use crate::ids::{ActorId, JobId, NodeId, WorkerId};
use crate::process::Executable;
use crate::raylet::state::Effects;
use crate::session::PROGRAMS;
use crate::wire::{ActorSpec, Frame, GuestJob, Packet, Receiver, Sender, from_bytes, to_bytes};

/// The nodes whose processes are guests.
#[derive(Debug, Default)]
pub(super) struct Guests {
    nodes: HashMap<NodeId, Visitor>,
    /// Jobs whose programs are on their way, and what waits for each.
    fetched: HashMap<JobId, Vec<Waiting>>,
    visits: u64,
}

/// What waits for a program.
#[derive(Debug)]
enum Waiting {
    ForGuest(NodeId, WorkerId, Frame),
    ForActor(Frame),
}

impl Waiting {
    fn is_request(&self, guest: WorkerId, number: u64) -> bool {
        matches!(self, Self::ForGuest(_, from, Frame::RequestLease { request, .. }) if *from == guest && *request == number)
    }
}

#[derive(Debug)]
struct Visitor {
    visit: u64,
    sender: Sender,
}

/// News of the guests of a node.
#[derive(Debug)]
pub(super) enum Guest {
    /// Their node has connected.
    Came(Sender, Receiver),
    Frame(u64, Frame),
    /// Their node has disconnected.
    Left(u64),
    /// The connection for a link is there.
    Link {
        ticket: u64,
        socket: OwnedFd,
    },
}

impl Raylet {
    pub(super) fn guest_news(&mut self, node: NodeId, news: Guest, out: &mut Effects) {
        let current = |guests: &Guests, visit| guests.nodes.get(&node).is_some_and(|known| known.visit == visit);
        match news {
            Guest::Came(sender, receiver) => {
                // Whatever an earlier connection of the node has left.
                self.state.guests_lost(node, clock::monotonic(), out);
                self.forget_visitor(node);
                self.guests.visits += 1;
                let visit = self.guests.visits;
                self.guests.nodes.insert(node, Visitor { visit, sender });
                tokio::spawn(listen(node, visit, receiver, self.inputs.clone()));
            }
            Guest::Frame(visit, frame) if current(&self.guests, visit) => self.visitor_says(node, frame, out),
            Guest::Left(visit) if current(&self.guests, visit) => {
                let why = "its connection as a visitor has ended".to_owned();
                self.state.way_lost(node, why, out);
            }
            Guest::Frame(..) | Guest::Left(_) => {}
            Guest::Link { ticket, socket } => self.processes.linked(node, ticket, socket),
        }
    }

    /// The guests of a node have ended here: its connection does too.
    pub(super) fn forget_visitor(&mut self, node: NodeId) {
        if let Some(visitor) = self.guests.nodes.remove(&node) {
            visitor.sender.abort();
        }
        for job in self.processes.forget_guests(node) {
            self.let_go(job);
        }
    }

    fn visitor_says(&mut self, node: NodeId, frame: Frame, out: &mut Effects) {
        let now = clock::monotonic();
        match frame {
            Frame::GuestComes { worker, job, pid } => {
                if !self.state.guest_comes(node, worker, job, pid) {
                    return;
                }
                let sender = self.guests.nodes.get(&node).map(|visitor| visitor.sender.clone());
                let process = Process {
                    job,
                    sender,
                    pid: Some(pid),
                    guest_of: Some(node),
                    ..Process::default()
                };
                self.processes.add(worker, process);
                self.fetch_program(node, job);
            }
            Frame::GuestGone { worker, cause } => {
                self.state.guest_gone(node, worker, cause, now, out);
                if self.processes.is_guest_of(worker, node)
                    && let Some(guest) = self.processes.remove(worker)
                {
                    self.let_go(guest.job);
                }
            }
            Frame::Relay { guest, frame } => match from_bytes(frame) {
                Ok(frame) => {
                    if matches!(frame, Frame::RequestLease { .. }) && self.processes.is_guest_of(guest, node) {
                        // It may not have come when it was asked for before.
                        self.fetch_program(node, self.processes.job(guest));
                    }
                    let waiting = self.guests.fetched.get_mut(&self.processes.job(guest));
                    match (waiting, frame) {
                        // GU-1.
                        (Some(waiting), frame @ Frame::RequestLease { .. }) => {
                            waiting.push(Waiting::ForGuest(node, guest, frame));
                        }
                        (Some(waiting), Frame::CancelLeaseRequest { request }) => {
                            waiting.retain(|waited| !waited.is_request(guest, request));
                        }
                        (_, frame) => self.state.guest_frame(node, guest, frame, now, out),
                    }
                }
                Err(error) => {
                    tracing::warn!(target: "ray_core::raylet", %error, %node, %guest, "a guest's frame that is none");
                }
            },
            other => tracing::warn!(target: "ray_core::raylet", ?other, %node, "a frame that a visitor does not send"),
        }
    }

    /// A job of another node: its program is fetched there, unless it is here or on its way.
    fn fetch_program(&mut self, node: NodeId, job: JobId) {
        if self.jobs.get(job).is_some() || self.guests.fetched.contains_key(&job) {
            return;
        }
        self.guests.fetched.insert(job, Vec::new());
        let way = self
            .state
            .address_of(node)
            .map(str::to_owned)
            .zip(self.options.token.clone());
        let programs = self.options.session.path().join(PROGRAMS);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let fetched = match way {
                Some((address, token)) => ways::fetch(&address, &token, job, &programs).await,
                None => Err("its node is dead".to_owned()),
            };
            // A raylet that has ended needs no program.
            let _ended = inputs.send(Input::ProgramFetched { job, fetched }).await;
        });
    }

    /// The GCS wants an actor here. If it is of a job of which nothing is here, its creator's node has the program.
    pub(super) fn start_actor(&mut self, spec: Box<ActorSpec>, restarts: u32, out: &mut Effects) {
        let job = spec.job;
        if self.jobs.get(job).is_none()
            && let Some(node) = self.state.node_of(spec.owner)
        {
            self.fetch_program(node, job);
        }
        let frame = Frame::StartActor { spec, restarts };
        match self.guests.fetched.get_mut(&job) {
            Some(waiting) => waiting.push(Waiting::ForActor(frame)),
            None => self.state.gcs_frame(frame, clock::monotonic(), out),
        }
    }

    /// An actor is not wanted any more that waits for its program.
    pub(super) fn forget_waiting_actor(&mut self, actor: ActorId) {
        for waiting in self.guests.fetched.values_mut() {
            waiting.retain(
                |waited| !matches!(waited, Waiting::ForActor(Frame::StartActor { spec, .. }) if spec.actor == actor),
            );
        }
    }

    /// A job is over whose program is on its way: it is not needed any more, and nobody waits for it who lives on.
    pub(super) fn forget_fetch(&mut self, job: JobId) {
        self.guests.fetched.remove(&job);
    }

    pub(super) fn program_fetched(
        &mut self,
        job: JobId,
        fetched: Result<(Box<GuestJob>, Executable), String>,
        out: &mut Effects,
    ) {
        let now = clock::monotonic();
        let Some(waiting) = self.guests.fetched.remove(&job) else {
            // The job is over meanwhile.
            return;
        };
        let why = match fetched {
            Ok((guest, executable)) => {
                self.jobs.add(job, Job::of_guests(*guest, executable));
                for waited in waiting {
                    match waited {
                        Waiting::ForGuest(node, guest, frame) => self.state.guest_frame(node, guest, frame, now, out),
                        Waiting::ForActor(frame) => self.state.gcs_frame(frame, now, out),
                    }
                }
                return;
            }
            Err(why) => format!("the program of job {job} did not come from another node: {why}"),
        };
        tracing::warn!(target: "ray_core::raylet", why);
        for waited in waiting {
            let error = RayError::RuntimeEnv { why: why.clone() };
            match waited {
                Waiting::ForGuest(_, guest, Frame::RequestLease { request, .. }) => {
                    self.processes.send(guest, Frame::LeaseRefused { request, error });
                }
                Waiting::ForActor(Frame::StartActor { spec, .. }) => self.gcs.send(Frame::ActorStarted {
                    actor: spec.actor,
                    worker: WorkerId::default(),
                    pid: 0,
                    error: Some(error),
                }),
                Waiting::ForGuest(..) | Waiting::ForActor(_) => {}
            }
        }
    }
}

async fn listen(node: NodeId, visit: u64, mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    while let Some(Packet { frame, .. }) = receiver.recv().await {
        let news = Guest::Frame(visit, frame);
        if inputs.send(Input::Guest { node, news }).await.is_err() {
            return;
        }
    }
    let news = Guest::Left(visit);
    // A raylet that has ended has no guests.
    let _ended = inputs.send(Input::Guest { node, news }).await;
}

/// A frame for a guest, as its node gets it.
pub(super) fn relayed(guest: WorkerId, frame: &Frame) -> Frame {
    let frame = to_bytes(frame);
    Frame::Relay { guest, frame }
}
