//! Connections of this process: to its raylet, and through it to other workers.
//!
//! A connection to another worker is made when the first frame for it is sent: the raylet is asked for it, and frames
//! wait in line until it comes. A worker that is known to be dead gets nothing.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use ray_core_ring::Ringer;

use crate::ids::{IdHasher, TaskId, WorkerId};
use crate::wire::{DeathCause, Frame, Sender, TaskSpec};
use crate::worker::rings::{Offered, OutRing, Rings};
use crate::worker::state::Dest;

#[derive(Debug)]
enum Peer {
    Connecting(Vec<Frame>),
    Up {
        sender: Sender,
        gone: Option<DeathCause>,
        /// Further connections: of two processes on different nodes each may have asked for one at the same time. They are read
        /// only, so that what is sent keeps its order.
        further: Vec<Sender>,
    },
    /// Its last frame was read; the raylet has not told its death yet.
    Drained,
    Dead,
}

/// The sending halves of all connections.
#[derive(Debug)]
pub(crate) struct Links {
    raylet: Sender,
    peers: HashMap<WorkerId, Peer, IdHasher>,
    rings: HashMap<WorkerId, PeerRings, IdHasher>,
}

/// The rings to one peer.
#[derive(Debug, Default)]
struct PeerRings {
    tasks: TaskRing,
    answers: Option<OutRing>,
}

#[derive(Debug, Default)]
enum TaskRing {
    #[default]
    None,
    Offered(Offered),
    /// The worker has accepted, and this end is being opened. A second offer now would put a ring that is in use out of use,
    /// with the tasks and answers in it.
    Opening,
    Up(OutRing),
    /// No ring can be made or opened: out of descriptors, say.
    Refused,
}

/// What is put in line.
#[derive(Debug)]
pub(crate) enum Parcel<'a> {
    Frame(Frame),
    /// A frame that keeps the socket's order.
    Ordered(Frame),
    /// A task, and whether it carries no reference.
    Task {
        spec: &'a TaskSpec,
        plain: bool,
    },
}

/// What is to be done for a parcel to leave.
#[derive(Debug)]
pub(crate) enum Departure {
    /// It waits for a connection, or nobody is there any more.
    None,
    Flush(Sender),
    Ring(Ringer),
}

impl Links {
    pub(crate) fn new(raylet: Sender) -> Self {
        Self {
            raylet,
            peers: HashMap::default(),
            rings: HashMap::default(),
        }
    }

    /// Puts a parcel in line, the fast way if there is one.
    pub(crate) fn push(&mut self, rings: &Rings, dest: Dest, parcel: Parcel<'_>) -> Departure {
        let worker = match dest {
            Dest::Raylet => {
                if let Parcel::Frame(frame) | Parcel::Ordered(frame) = parcel {
                    self.raylet.push(frame);
                }
                return Departure::Flush(self.raylet.clone());
            }
            Dest::Worker(worker) => worker,
        };
        match parcel {
            Parcel::Task { spec, plain } => {
                if plain && let Some(ringer) = self.push_task(rings, worker, spec) {
                    return Departure::Ring(ringer);
                }
                let spec = Box::new(spec.clone());
                self.push_frame(worker, Frame::PushTask { spec, lease: None })
            }
            Parcel::Ordered(frame) => self.push_frame(worker, frame),
            Parcel::Frame(frame) => {
                let ring = self.rings.get_mut(&worker).and_then(|rings| rings.answers.as_mut());
                if let Some(ring) = ring.filter(|_| frame.is_plain_answer())
                    && ring.push_answer(&frame)
                {
                    return Departure::Ring(ring.ringer().clone());
                }
                self.push_frame(worker, frame)
            }
        }
    }

    /// Puts a task into the worker's ring, or offers one if there is none.
    fn push_task(&mut self, rings: &Rings, worker: WorkerId, spec: &TaskSpec) -> Option<Ringer> {
        let Some(Peer::Up { sender, .. }) = self.peers.get(&worker) else {
            return None;
        };
        let of_peer = self.rings.entry(worker).or_default();
        match &mut of_peer.tasks {
            TaskRing::Up(ring) => ring.push_task(spec).then(|| ring.ringer().clone()),
            TaskRing::None => {
                of_peer.tasks = match rings.offer(worker) {
                    Ok((offered, fds)) => {
                        sender.send_with(Frame::RingOffer {}, fds);
                        TaskRing::Offered(offered)
                    }
                    Err(error) => {
                        tracing::warn!(target: "ray_core::worker", %error, "no ring to a worker: tasks go by socket");
                        TaskRing::Refused
                    }
                };
                None
            }
            TaskRing::Offered(_) | TaskRing::Opening | TaskRing::Refused => None,
        }
    }

    fn push_frame(&mut self, worker: WorkerId, frame: Frame) -> Departure {
        match self.peers.get_mut(&worker) {
            Some(Peer::Up { sender, .. }) => {
                sender.push(frame);
                Departure::Flush(sender.clone())
            }
            Some(Peer::Connecting(line)) => {
                line.push(frame);
                Departure::None
            }
            Some(Peer::Drained | Peer::Dead) => Departure::None,
            None => {
                self.peers.insert(worker, Peer::Connecting(vec![frame]));
                self.raylet.push(Frame::Connect { worker });
                Departure::Flush(self.raylet.clone())
            }
        }
    }

    /// The worker has accepted: the offer that was made to it.
    pub(crate) fn take_offered(&mut self, worker: WorkerId) -> Option<Offered> {
        let tasks = &mut self.rings.get_mut(&worker)?.tasks;
        match std::mem::replace(tasks, TaskRing::Opening) {
            TaskRing::Offered(offered) => Some(offered),
            other => {
                *tasks = other;
                None
            }
        }
    }

    /// From now on tasks go to the worker by ring; without one, by socket for good.
    pub(crate) fn tasks_by_ring(&mut self, worker: WorkerId, ring: Option<OutRing>) {
        self.rings.entry(worker).or_default().tasks = ring.map_or(TaskRing::Refused, TaskRing::Up);
    }

    /// From now on answers go to the owner by ring. What the owner must get for it leaves by the socket.
    pub(crate) fn answers_by_ring(&mut self, owner: WorkerId, ring: OutRing, fds: Vec<OwnedFd>) {
        self.rings.entry(owner).or_default().answers = Some(ring);
        if let Some(Peer::Up { sender, .. }) = self.peers.get(&owner) {
            sender.send_with(Frame::RingAccept {}, fds);
        }
    }

    fn task_ring(&mut self, worker: WorkerId) -> Option<&mut OutRing> {
        match &mut self.rings.get_mut(&worker)?.tasks {
            TaskRing::Up(ring) => Some(ring),
            _ => None,
        }
    }

    /// The worker has answered a task.
    pub(crate) fn answered(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(ring) = self.task_ring(worker) {
            ring.answered(task);
        }
    }

    /// Takes back what the worker has not taken: all, or one task.
    pub(crate) fn take_back(&mut self, worker: WorkerId, only: Option<TaskId>) -> Vec<TaskId> {
        let Some(ring) = self.task_ring(worker) else {
            return Vec::new();
        };
        match only {
            Some(task) => ring.take_back_one(task).then_some(task).into_iter().collect(),
            None => ring.take_back(),
        }
    }

    /// The rings of a worker that is dead end here. Returns the tasks that had not begun for sure.
    pub(crate) fn rings_end(&mut self, worker: WorkerId) -> Vec<TaskId> {
        let not_begun = self.task_ring(worker).map(|ring| ring.not_begun()).unwrap_or_default();
        self.rings.remove(&worker);
        not_begun
    }

    /// The raylet has made a connection.
    pub(crate) fn up(&mut self, worker: WorkerId, sender: Sender) {
        if let Some(Peer::Up { further, .. }) = self.peers.get_mut(&worker) {
            return further.push(sender);
        }
        if let Some(Peer::Connecting(line)) = self.peers.insert(
            worker,
            Peer::Up {
                sender: sender.clone(),
                gone: None,
                further: Vec::new(),
            },
        ) {
            line.into_iter().for_each(|frame| sender.push(frame));
        }
        sender.flush();
    }

    /// The raylet says that a worker is dead. Returns the cause when nothing of it is left to be read.
    pub(crate) fn dead(&mut self, worker: WorkerId, cause: DeathCause) -> Option<DeathCause> {
        match self.peers.get_mut(&worker) {
            Some(Peer::Up { gone, sender, further }) => {
                if matches!(cause, DeathCause::NodeGone {}) {
                    // It may be alive, and cut off: it would keep the connection open for ever.
                    sender.abort();
                    further.iter().for_each(Sender::abort);
                }
                *gone = Some(cause);
                None
            }
            Some(Peer::Dead) => None,
            Some(Peer::Connecting(_) | Peer::Drained) | None => {
                self.peers.insert(worker, Peer::Dead);
                Some(cause)
            }
        }
    }

    /// The last frame of a worker was read, by one of its connections. Returns the cause of its death if it is known. `away`:
    /// it is on another node; then a connection that has ended is not made again, and what was on its way is lost.
    pub(crate) fn drained(&mut self, worker: WorkerId, away: bool) -> Option<DeathCause> {
        if let Some(Peer::Up { further, .. }) = self.peers.get_mut(&worker)
            && further.pop().is_some()
        {
            return None;
        }
        match self.peers.insert(worker, Peer::Drained) {
            Some(Peer::Up { gone: Some(cause), .. }) => {
                self.peers.insert(worker, Peer::Dead);
                Some(cause)
            }
            Some(Peer::Up { gone: None, .. }) if away => {
                self.peers.insert(worker, Peer::Dead);
                Some(DeathCause::NodeGone {})
            }
            _ => None,
        }
    }

    /// Sends what is in line.
    pub(crate) fn flush(&self) {
        self.raylet.flush();
        for peer in self.peers.values() {
            if let Peer::Up { sender, .. } = peer {
                sender.flush();
            }
        }
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self) {
        for (_, peer) in self.peers.drain() {
            if let Peer::Up { sender, .. } = peer {
                sender.close();
            }
        }
        self.raylet.close();
    }
}
