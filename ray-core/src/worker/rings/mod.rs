//! The fast way between two processes of a node: tasks and their answers in shared memory.
//!
//! A ring pair is made by the owner when it first sends tasks to a worker: it offers the ring over their socket, the worker
//! accepts. From then on tasks and answers that carry no references go through it; everything else, and what does not
//! fit, goes over the socket.
//!
//! - RI-1: what carries references never takes the ring, so that hand-overs and releases keep the socket's order (RC-T1).
//! - RI-2: each process has one bell, rung by all its producers, and one consumer at a time: whoever holds [`Consumer`]'s
//!   lock. A thread that waits for a reply is the consumer itself, which saves a wake-up; else the reactor is.
//! - RI-3: whoever lets go of the consumer leaves the bell armed for the reactor, except a worker's main thread that runs
//!   code which waits for nothing, and where somebody comes by anyway (RI-5, in `duty`): its peers then ring nobody.
//! - RI-4: before the death of a peer is acted upon, all its answers have been seen; then the state of each record tells
//!   whether its task may have begun.
//! - RI-6: the death of a peer rouses the consumer whatever its bell says: the peer may have died while it rang (BELL-4).

mod consume;
mod duty;
mod held;
mod inbox;
mod outgoing;
mod reactor;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;

use ray_core_ring::{BellDescriptors, Channel, Doorbell, Receiver, Ringer, Rung, SetupError, SpinPolicy};

use crate::ids::WorkerId;
use crate::wire::DeathCause;
use crate::worker::Worker;
pub(crate) use consume::Arrival;
use duty::Duty;
use held::Consumer;
use inbox::{Inbox, Inboxes};
pub(crate) use outgoing::OutRing;
pub(crate) use reactor::serve_reactor;

/// Something for the consumer to do that others have left.
#[derive(Debug)]
enum Errand {
    Answers(Inbox),
    Tasks(Inbox),
    Death(WorkerId, DeathCause),
}

/// The rings of this process.
#[derive(Debug)]
pub(crate) struct Rings {
    consumer: Mutex<Consumer>,
    ringer: Ringer,
    /// What the reactor polls.
    event: OwnedFd,
    errands: Mutex<Vec<Errand>>,
    errand_count: AtomicUsize,
    /// What posts of this process found since the last wait: 1 a peer awake, 2 a peer that slept.
    posted: AtomicU8,
    /// The bell was left unarmed (RI-3).
    unarmed: AtomicBool,
    /// The reactor was rung and found the consumer locked.
    reactor_missed: AtomicBool,
    /// Tasks are taken as they come: this process is an actor.
    eager: AtomicBool,
    task_owners: Mutex<Vec<WorkerId>>,
    /// The main thread of a worker process.
    main: OnceLock<ThreadId>,
    /// Calls of the actor overlap: new ones must be seen while others run.
    overlapping: AtomicBool,
    duty: Duty,
}

impl Rings {
    /// No rings yet; `cpus` is the CPU time that the process can get.
    pub(crate) fn new(cpus: f64) -> Result<Self, SetupError> {
        let bell = Doorbell::create()?;
        let ringer = bell.ringer();
        let event = bell.descriptors()?.event;
        let consumer = Consumer {
            bell,
            policy: SpinPolicy::new(cpus),
            inboxes: Inboxes::default(),
        };
        Ok(Self {
            consumer: Mutex::new(consumer),
            ringer,
            event,
            errands: Mutex::default(),
            errand_count: AtomicUsize::new(0),
            posted: AtomicU8::new(0),
            unarmed: AtomicBool::new(false),
            reactor_missed: AtomicBool::new(false),
            eager: AtomicBool::new(false),
            task_owners: Mutex::default(),
            main: OnceLock::new(),
            overlapping: AtomicBool::new(false),
            duty: Duty::default(),
        })
    }

    /// The bell that wakes this process.
    pub(crate) fn ringer(&self) -> &Ringer {
        &self.ringer
    }

    /// This process is an actor from now on: calls are taken as they come, and while others run if they overlap.
    pub(crate) fn take_eagerly(&self, overlapping: bool) {
        self.eager.store(true, Ordering::Release);
        self.overlapping.store(overlapping, Ordering::Release);
    }

    /// Notes what a post found.
    pub(crate) fn posted(&self, rung: Rung) {
        let flag = match rung {
            Rung::Awake => 1,
            Rung::Woke => 2,
        };
        self.posted.fetch_or(flag, Ordering::Relaxed);
    }

    fn errand(&self, worker: &Arc<Worker>, errand: Errand) {
        let death = matches!(errand, Errand::Death(..));
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        self.errand_count.fetch_add(1, Ordering::Release);
        if self.drain_for_busy_main(worker) {
            return;
        }
        // Whoever is the consumer looks.
        if death {
            // RI-6.
            self.ringer.rouse();
        } else {
            // This is no post to a peer.
            let _found = self.ringer.ring();
        }
    }

    /// Makes a ring for tasks to a worker: this end of it, and what the worker needs.
    pub(crate) fn offer(&self, peer: WorkerId) -> Result<(Offered, Vec<OwnedFd>), SetupError> {
        let channel = Channel::create(Channel::DEFAULT_LINES)?;
        let bell = self.descriptors()?;
        let ring = channel.descriptor()?;
        let offered = Offered {
            peer,
            sender: channel.sender,
            receiver: channel.receiver,
        };
        Ok((offered, vec![ring, bell.memory, bell.event]))
    }

    /// Takes a worker's acceptance. Returns the way out for tasks.
    pub(crate) fn accepted(
        &self,
        worker: &Arc<Worker>,
        offered: Offered,
        fds: Vec<OwnedFd>,
    ) -> Result<OutRing, SetupError> {
        let ringer = open_bell(fds)?;
        self.errand(
            worker,
            Errand::Answers(Inbox {
                peer: offered.peer,
                receiver: offered.receiver,
                ringer: ringer.clone(),
            }),
        );
        Ok(OutRing::new(offered.sender, ringer))
    }

    /// Takes an owner's offer. Returns the way out for answers, and what the owner needs.
    pub(crate) fn accept(
        &self,
        worker: &Arc<Worker>,
        peer: WorkerId,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(OutRing, Vec<OwnedFd>), SetupError> {
        let bell = fds.split_off(1.min(fds.len()));
        let Some(ring) = fds.pop() else {
            return Err(missing("ring"));
        };
        let channel = Channel::open(ring)?;
        let ringer = open_bell(bell)?;
        let own = self.descriptors()?;
        self.task_owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(peer);
        self.errand(
            worker,
            Errand::Tasks(Inbox {
                peer,
                receiver: channel.receiver,
                ringer: ringer.clone(),
            }),
        );
        Ok((OutRing::new(channel.sender, ringer), vec![own.memory, own.event]))
    }

    fn descriptors(&self) -> Result<BellDescriptors, SetupError> {
        self.ringer.descriptors()
    }

    /// A peer is dead: acted upon once its answers have been seen (RI-4).
    pub(crate) fn peer_died(&self, worker: &Arc<Worker>, peer: WorkerId, cause: DeathCause) {
        self.errand(worker, Errand::Death(peer, cause));
    }
}

/// This end of a ring that the worker has not accepted yet.
#[derive(Debug)]
pub(crate) struct Offered {
    peer: WorkerId,
    sender: ray_core_ring::Sender,
    receiver: Receiver,
}

fn missing(what: &'static str) -> SetupError {
    SetupError::Foreign { what, found: 0 }
}

fn open_bell(fds: Vec<OwnedFd>) -> Result<Ringer, SetupError> {
    let mut fds = fds.into_iter();
    let (Some(memory), Some(event)) = (fds.next(), fds.next()) else {
        return Err(missing("bell"));
    };
    Ringer::open(BellDescriptors { memory, event })
}
