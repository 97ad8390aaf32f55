//! The raylet's decisions: frames and deaths in, frames, spawns and kills out.
//!
//! - RL-1: the resources of a lease are taken once, when it is granted, and given back once: when it is returned, or when
//!   its worker or its requester is dead.
//! - RL-2: a grant is told only once its worker is up and linked with the requester.
//! - RL-3: each process that was linked with, or asks for, a dead worker hears of its death once.
//! - RL-4: a worker that lends is neither ended for want of work, nor made an actor, whose end would be the end of what it
//!   lends (`lending`).

mod crowd;
mod groups;
mod hosted;
mod last_saves;
mod lending;
mod memory;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::census::{Censuses, Purpose};
use super::convert::{from_steps, shape_of, to_numbers, within};
use super::memory::Answers;
use super::workers::{Role, Workers};
use crate::error::RayError;
use crate::host::MemoryUsage;
use crate::ids::{ActorId, NodeId, WorkerId};
use crate::scheduling::queue::{Added, Grant, LeaseQueue, LeaseRequest};
use crate::scheduling::{Allocation, LeaseKind, NodeResources, Shape};
use crate::wire::{ActorSpec, DeathCause, Frame, LeaseShape, NodeReport, WorkerReport};
use crowd::Crowd;
use groups::Groups;
use last_saves::LastSaves;
pub(super) use last_saves::warn_unsaved;
use lending::Asked;

/// So many workers in a row may die of themselves before they are up. From then on each such death fails a request.
const STILLBORN: u32 = 5;

/// While something can be due, it is looked for this often.
const TICK: Duration = Duration::from_millis(100);

/// What the raylet wants done.
#[derive(Debug)]
pub(super) enum Effect {
    Send {
        to: WorkerId,
        frame: Frame,
    },
    ToGcs(Frame),
    /// Connect two processes, and tell each.
    Link {
        a: WorkerId,
        b: WorkerId,
    },
    Spawn {
        worker: WorkerId,
        gpus: Vec<u32>,
    },
    Kill {
        worker: WorkerId,
    },
    /// What the worker prints from now on is shown under this name.
    Name {
        worker: WorkerId,
        name: String,
    },
    /// A process is dead: its pins and its objects in the store go.
    ForgetInStore {
        worker: WorkerId,
    },
    /// Everybody has told what they hold.
    Report {
        to: WorkerId,
        request: u64,
        answers: Answers,
    },
    /// Memory is short, and the workers have told what they do.
    Judge {
        usage: MemoryUsage,
        answers: Answers,
    },
}

/// Who asked for a lease.
#[derive(Debug)]
enum For {
    Owner {
        requester: WorkerId,
        request: u64,
        name: String,
        shared: bool,
    },
    Actor {
        spec: Box<ActorSpec>,
        restarts: u32,
    },
}

#[derive(Debug)]
struct Lease {
    allocation: Allocation,
    requester: WorkerId,
    worker: WorkerId,
}

/// Resources are taken; the worker is not up yet.
#[derive(Debug)]
struct Granted {
    wanted: For,
    allocation: Allocation,
    gpus: Vec<u32>,
}

/// The node's state.
#[derive(Debug)]
pub(super) struct State {
    node: NodeId,
    resources: NodeResources,
    queue: LeaseQueue,
    workers: Workers,
    leases: HashMap<u64, Lease>,
    /// Requests for actors; the requester of these is the nil worker.
    actor_requests: HashMap<u64, (Box<ActorSpec>, u32)>,
    /// Names and hosts of the open requests of owners.
    requests: HashMap<(WorkerId, u64), (String, bool)>,
    granted: VecDeque<Granted>,
    actors: HashMap<ActorId, ActorPlace>,
    keep_idle: usize,
    /// An idle worker beyond those that are kept ends after this time.
    idle_time: Duration,
    /// Workers that died before they were up, since the last that came up.
    stillborn: u32,
    next: u64,
    crowd: Crowd,
    groups: Groups,
    /// What the GCS was last told is free.
    reported: BTreeMap<String, f64>,
    /// Whether less is free by now: the GCS hears of that at the next tick.
    unreported: bool,
    censuses: Censuses,
    /// Killed because memory is short, and not gone yet.
    victim: Option<WorkerId>,
    last_saves: LastSaves,
}

#[derive(Debug)]
struct ActorPlace {
    /// Whether it would be restarted.
    restartable: bool,
    /// Whether its state is saved.
    saved: bool,
    constructed: bool,
    worker: WorkerId,
    allocation: Option<Allocation>,
    pid: u32,
    /// Until the worker has said that it takes the actor.
    asked: Option<Asked>,
    /// It lives in a host, beside other work.
    hosted: bool,
    /// Why its host was told to end it.
    ended_for: Option<DeathCause>,
}

pub(super) type Effects = Vec<Effect>;

/// Tells who asked that nothing will come of it.
fn refuse(wanted: For, error: RayError, out: &mut Effects) {
    match wanted {
        For::Owner { requester, request, .. } => out.push(Effect::Send {
            to: requester,
            frame: Frame::LeaseRefused { request, error },
        }),
        For::Actor { spec, .. } => out.push(Effect::ToGcs(Frame::ActorStarted {
            actor: spec.actor,
            worker: WorkerId::default(),
            pid: 0,
            error: Some(error),
        })),
    }
}

impl State {
    /// A node of so many CPUs.
    #[cfg(test)]
    fn of_cpus(cpus: f64, keep_idle: usize, idle_time: Duration, saves_within: Duration) -> Self {
        let total = BTreeMap::from([("CPU".to_owned(), cpus)]);
        let resources = NodeResources::new(&super::convert::from_numbers(&total).unwrap()).unwrap();
        Self::new(NodeId::random(), resources, keep_idle, idle_time, saves_within)
    }

    pub(super) fn new(
        node: NodeId,
        resources: NodeResources,
        keep_idle: usize,
        idle_time: Duration,
        saves_within: Duration,
    ) -> Self {
        Self {
            node,
            resources,
            queue: LeaseQueue::new(crate::scheduling::queue::Options::default()),
            workers: Workers::default(),
            leases: HashMap::new(),
            actor_requests: HashMap::new(),
            requests: HashMap::new(),
            granted: VecDeque::new(),
            actors: HashMap::new(),
            keep_idle,
            idle_time,
            stillborn: 0,
            next: 1,
            crowd: Crowd::default(),
            groups: Groups::default(),
            reported: BTreeMap::new(),
            unreported: false,
            censuses: Censuses::default(),
            victim: None,
            last_saves: LastSaves::new(saves_within),
        }
    }

    /// What the node tells the GCS when it joins.
    pub(super) fn registration(&mut self) -> Frame {
        self.reported = to_numbers(&self.resources.total());
        Frame::RegisterNode {
            node: self.node,
            resources: self.reported.clone(),
        }
    }

    /// Starts workers before they are asked for.
    pub(super) fn prestart(&mut self, out: &mut Effects) {
        for _ in self.workers.idle_count() + self.workers.starting_count()..self.keep_idle {
            self.spawn(Vec::new(), out);
        }
    }

    fn spawn(&mut self, gpus: Vec<u32>, out: &mut Effects) {
        let worker = WorkerId::random();
        self.workers.add(worker, 0, Role::Starting, gpus.clone());
        out.push(Effect::Spawn { worker, gpus });
    }

    /// The process exists; it has not said hello yet.
    pub(super) fn spawned(&mut self, worker: WorkerId, pid: u32) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.pid = pid;
        }
    }

    pub(super) fn driver_joined(&mut self, worker: WorkerId, pid: u32) {
        self.workers.add(worker, pid, Role::Driver, Vec::new());
    }

    pub(super) fn worker_joined(&mut self, worker: WorkerId, now: Duration, out: &mut Effects) {
        self.stillborn = 0;
        self.workers.set_idle(worker, now);
        self.schedule(now, out);
    }

    /// A frame from a process of this node.
    pub(super) fn frame(&mut self, from: WorkerId, frame: Frame, now: Duration, out: &mut Effects) {
        match frame {
            Frame::RequestLease { request, shape } => self.request(from, request, &shape, now, out),
            Frame::CancelLeaseRequest { request } => {
                self.requests.remove(&(from, request));
                // One that was granted meanwhile comes back by itself.
                let _granted_already = self.queue.cancel(from, request);
            }
            Frame::ReturnLease { lease, reusable } => self.lease_returned(lease, reusable, now, out),
            Frame::Connect { worker } => {
                if self.workers.get(&worker).is_some() {
                    self.link(from, worker, out);
                } else {
                    let cause = self.workers.death_of(&worker);
                    out.push(Effect::Send {
                        to: from,
                        frame: Frame::PeerGone { worker, cause },
                    });
                }
            }
            Frame::Blocked { lease } => self.blocked(from, lease, true, now, out),
            Frame::Unblocked { lease } => self.blocked(from, lease, false, now, out),
            Frame::KillWorker { worker, task } => {
                let serves = self
                    .leases
                    .values()
                    .any(|lease| lease.worker == worker && lease.requester == from);
                if serves {
                    let why = format!("its owner ended task {task} by force");
                    self.kill(worker, DeathCause::Killed { why }, out);
                }
            }
            Frame::ActorConstructed { actor, error } => self.actor_constructed(from, actor, error, out),
            Frame::Lending { lends } => self.lending(from, lends, now, out),
            Frame::ActorTaken { actor } => self.actor_taken(from, actor, out),
            Frame::ActorDeclined { spec, restarts } => self.actor_declined(from, spec, restarts, now, out),
            Frame::ActorExiting { actor, .. } if self.is_hosted(actor, from) => self.hosted_actor_ended(actor, out),
            Frame::ActorExiting { intended, .. } => {
                if let Some(process) = self.workers.get_mut(&from)
                    && intended
                {
                    process.ended_for = Some(DeathCause::Intended {});
                }
            }
            Frame::NodeReport { request } => {
                let report = Box::new(self.report());
                out.push(Effect::Send {
                    to: from,
                    frame: Frame::NodeReportReply { request, report },
                });
            }
            Frame::MemoryReport { request } => {
                let everybody = |role: &Role| !matches!(role, Role::Starting);
                self.ask(Purpose::Report { to: from, request }, everybody, now, out);
            }
            Frame::Holdings { census, holdings } => {
                self.censuses.answered(census, from, *holdings);
                self.end_censuses(now, out);
            }
            Frame::GcsRequest { request, body, .. } => {
                out.push(Effect::ToGcs(Frame::GcsRequest { request, from, body }));
            }
            other => tracing::warn!(target: "ray_core::raylet", ?other, %from, "a frame that a process does not send"),
        }
    }

    /// A frame from the GCS.
    pub(super) fn gcs_frame(&mut self, frame: Frame, now: Duration, out: &mut Effects) {
        match frame {
            Frame::GcsReply { to, .. } | Frame::GcsEvent { to, .. } => out.push(Effect::Send { to, frame }),
            Frame::StartActor { spec, restarts } => self.start_actor(spec, restarts, now, out),
            Frame::StopActor {
                actor,
                force,
                saves,
                why,
            } => {
                // One that no worker has taken yet has nothing to save.
                let taken = self.actors.get(&actor).is_none_or(|place| place.asked.is_none());
                let saves = force && saves && taken && self.save_and_end(actor, &why, now, out);
                if !saves {
                    self.stop_actor(actor, force, why, out);
                }
            }
            Frame::ReserveBundles { group, bundles, wait } => self.reserve(group, bundles, wait, now, out),
            Frame::ReleaseBundles { group } => self.release_group(group, now, out),
            Frame::GroupStands { group, bundles, state } => self.group_stands(group, bundles, state, out),
            other => tracing::warn!(target: "ray_core::raylet", ?other, "a frame that a GCS does not send"),
        }
    }

    fn request(&mut self, from: WorkerId, request: u64, shape: &LeaseShape, now: Duration, out: &mut Effects) {
        let refuse = |why: String, out: &mut Effects| {
            let error = RayError::Unschedulable {
                name: shape.name.clone(),
                why,
            };
            out.push(Effect::Send {
                to: from,
                frame: Frame::LeaseRefused { request, error },
            });
        };
        let wanted = match shape_of(shape) {
            Ok(wanted) => wanted,
            Err(error) => return refuse(error.to_string(), out),
        };
        let asked = LeaseRequest {
            id: request,
            requester: from,
            shape: wanted,
            kind: LeaseKind::Task,
        };
        match self.queue.add(asked, &self.resources) {
            Ok(Added::Queued) => {
                self.requests
                    .insert((from, request), (shape.name.clone(), shape.shared));
            }
            Ok(Added::Infeasible(_)) if shape.strategy.group().is_some() => {
                self.requests
                    .insert((from, request), (shape.name.clone(), shape.shared));
                self.ask_for_group(shape.strategy.group(), out);
            }
            Ok(Added::Infeasible(shortfall)) => {
                self.queue.cancel(from, request);
                return refuse(format!("no node can ever run it: {shortfall}"), out);
            }
            Err(error) => return refuse(error.to_string(), out),
        }
        self.schedule(now, out);
    }

    fn start_actor(&mut self, spec: Box<ActorSpec>, restarts: u32, now: Duration, out: &mut Effects) {
        if spec.shared {
            return self.start_hosted_actor(spec, restarts, out);
        }
        let actor = spec.actor;
        let refuse = |why: String, out: &mut Effects| {
            let error = Some(RayError::Unschedulable {
                name: spec.type_name.clone(),
                why,
            });
            out.push(Effect::ToGcs(Frame::ActorStarted {
                actor,
                worker: WorkerId::default(),
                pid: 0,
                error,
            }));
        };
        let wanted = from_steps(&spec.placement)
            .and_then(Shape::new)
            .and_then(|shape| within(shape, &spec.strategy));
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return refuse(error.to_string(), out),
        };
        self.next += 1;
        let id = self.next;
        let nobody = WorkerId::default();
        let asked = LeaseRequest {
            id,
            requester: nobody,
            shape: wanted,
            kind: LeaseKind::Actor,
        };
        match self.queue.add(asked, &self.resources) {
            Ok(Added::Queued) => {
                self.actor_requests.insert(id, (spec, restarts));
            }
            Ok(Added::Infeasible(_)) if spec.strategy.group().is_some() => {
                let group = spec.strategy.group();
                self.actor_requests.insert(id, (spec, restarts));
                self.ask_for_group(group, out);
            }
            Ok(Added::Infeasible(shortfall)) => {
                self.queue.cancel(nobody, id);
                return refuse(format!("no node can ever hold it: {shortfall}"), out);
            }
            Err(error) => return refuse(error.to_string(), out),
        }
        self.schedule(now, out);
    }

    /// Grants what can be granted, and asks for turns where requests still wait.
    fn schedule(&mut self, now: Duration, out: &mut Effects) {
        while self.grant(now, out) {}
        self.match_workers(now, out);
        // What waits for its placement group is not helped by turns.
        let waits = self.queue.waiting().any(|(_, _, infeasible)| infeasible.is_none());
        self.note_waiting(waits, now, out);
        self.note_resources(out);
    }

    /// Grants what can be granted. Returns whether that made bundles, in which more may be granted.
    fn grant(&mut self, now: Duration, out: &mut Effects) -> bool {
        let mut bundles_made = false;
        for Grant { request, allocation } in self.queue.grantable(&mut self.resources, now) {
            let Some(allocation) = self.grant_to_group(&request, allocation, out) else {
                bundles_made = true;
                continue;
            };
            let gpus: Vec<u32> = allocation.gpus().iter().map(|(index, _)| *index).collect();
            let Some(wanted) = self.who_asked(&request) else {
                self.resources.release(allocation);
                continue;
            };
            self.granted.push_back(Granted {
                wanted,
                allocation,
                gpus,
            });
        }
        bundles_made
    }

    /// Who made a request that has left the queue; nobody if it is an actor's that was stopped.
    fn who_asked(&mut self, request: &LeaseRequest) -> Option<For> {
        if request.requester.is_nil() {
            let (spec, restarts) = self.actor_requests.remove(&request.id)?;
            return Some(For::Actor { spec, restarts });
        }
        let key = (request.requester, request.id);
        let (name, shared) = self.requests.remove(&key).unwrap_or_default();
        Some(For::Owner {
            requester: request.requester,
            request: request.id,
            name,
            shared,
        })
    }

    /// RL-2: gives each grant a worker, and starts as many as are missing.
    fn match_workers(&mut self, now: Duration, out: &mut Effects) {
        let mut unmatched = VecDeque::new();
        while let Some(granted) = self.granted.pop_front() {
            if let For::Owner {
                requester,
                shared: true,
                ..
            } = granted.wanted
            {
                // On the driver's node the host of shared work is the driver; there is one as long as its job is.
                let host = self.workers.driver().unwrap_or(requester);
                self.hand_out(granted, host, now, out);
                continue;
            }
            let for_life = matches!(granted.wanted, For::Actor { .. });
            match self.workers.take_idle(&granted.gpus, for_life) {
                Some(worker) => self.hand_out(granted, worker, now, out),
                None => unmatched.push_back(granted),
            }
        }
        let mut starting: Vec<Vec<u32>> = self
            .workers
            .iter()
            .filter(|(_, process)| process.role == Role::Starting)
            .map(|(_, process)| process.gpus.clone())
            .collect();
        for granted in &unmatched {
            match starting.iter().position(|gpus| *gpus == granted.gpus) {
                Some(place) => drop(starting.swap_remove(place)),
                None => self.spawn(granted.gpus.clone(), out),
            }
        }
        self.granted = unmatched;
    }

    fn hand_out(&mut self, granted: Granted, worker: WorkerId, now: Duration, out: &mut Effects) {
        let pid = self.workers.get(&worker).map_or(0, |process| process.pid);
        match granted.wanted {
            For::Owner {
                requester,
                request,
                name,
                shared,
            } => {
                if self.workers.get(&requester).is_none() {
                    self.resources.release(granted.allocation);
                    if !shared {
                        self.workers.set_idle(worker, now);
                    }
                    return;
                }
                self.next += 1;
                let lease = self.next;
                if !shared && let Some(process) = self.workers.get_mut(&worker) {
                    process.role = Role::Leased(lease);
                    process.since = now;
                    process.serves = name.clone();
                    out.push(Effect::Name { worker, name });
                }
                if worker != requester {
                    self.link(requester, worker, out);
                }
                self.leases.insert(
                    lease,
                    Lease {
                        allocation: granted.allocation,
                        requester,
                        worker,
                    },
                );
                let frame = Frame::LeaseGranted {
                    request,
                    lease,
                    worker,
                    pid,
                    gpus: granted.gpus,
                    crowded: self.is_crowded_for(requester, now),
                };
                out.push(Effect::Send { to: requester, frame });
            }
            For::Actor { spec, restarts } => {
                let mut allocation = granted.allocation;
                if spec.resources.get("CPU").copied().unwrap_or_default() == 0 {
                    // One CPU to be placed, none to live, unless it asked for some.
                    self.resources.drop_cpu(&mut allocation);
                }
                if let Some(process) = self.workers.get_mut(&worker) {
                    process.role = Role::Actor(spec.actor);
                    process.since = now;
                    let name = spec.name.clone().unwrap_or_else(|| spec.type_name.clone());
                    process.serves = name.clone();
                    out.push(Effect::Name { worker, name });
                }
                self.actors.insert(
                    spec.actor,
                    ActorPlace {
                        saved: spec.checkpoint.is_some(),
                        constructed: false,
                        restartable: spec.max_restarts < 0 || i64::from(restarts) < spec.max_restarts,
                        worker,
                        allocation: Some(allocation),
                        pid,
                        asked: Some(Asked::at(now)),
                        hosted: false,
                        ended_for: None,
                    },
                );
                out.push(Effect::Send {
                    to: worker,
                    frame: Frame::ConstructActor { spec, restarts },
                });
            }
        }
    }

    fn actor_constructed(&mut self, from: WorkerId, actor: ActorId, error: Option<RayError>, out: &mut Effects) {
        let Some(place) = self.actors.get_mut(&actor) else {
            return;
        };
        place.constructed = error.is_none();
        let (worker, pid) = (place.worker, place.pid);
        if error.is_some() && place.hosted {
            self.actors.remove(&actor);
        } else if error.is_some() {
            self.kill(from, DeathCause::Intended {}, out);
        }
        out.push(Effect::ToGcs(Frame::ActorStarted {
            actor,
            worker,
            pid,
            error,
        }));
    }

    fn stop_actor(&mut self, actor: ActorId, force: bool, why: String, out: &mut Effects) {
        if let Some(place) = self.actors.get(&actor) {
            if place.hosted {
                self.stop_hosted_actor(actor, force, why, out);
            } else if force {
                let why = "kill() was called, or its creator or its job has ended".to_owned();
                self.end_placed(actor, Some(DeathCause::Killed { why }), out);
            } else {
                self.end_placed(actor, None, out);
            }
            return;
        }
        // It still waits for resources or for a worker.
        let request = self
            .actor_requests
            .iter()
            .find(|(_, (spec, _))| spec.actor == actor)
            .map(|(id, _)| *id);
        if let Some(id) = request {
            self.actor_requests.remove(&id);
            self.queue.cancel(WorkerId::default(), id);
        }
        let waits = |granted: &Granted| matches!(&granted.wanted, For::Actor { spec, .. } if spec.actor == actor);
        if let Some(place) = self.granted.iter().position(waits)
            && let Some(granted) = self.granted.remove(place)
        {
            self.resources.release(granted.allocation);
        }
        let cause = DeathCause::Intended {};
        out.push(Effect::ToGcs(Frame::WorkerEnded {
            worker: WorkerId::default(),
            actor: Some(actor),
            cause,
        }));
    }

    fn lease_returned(&mut self, lease: u64, reusable: bool, now: Duration, out: &mut Effects) {
        let Some(lease) = self.leases.remove(&lease) else {
            return;
        };
        self.resources.release(lease.allocation);
        // One that is being killed serves nobody any more.
        let leased = self
            .workers
            .get(&lease.worker)
            .is_some_and(|process| matches!(process.role, Role::Leased(_)) && process.ended_for.is_none());
        if leased {
            if reusable {
                self.workers.set_idle(lease.worker, now);
            } else {
                self.retire(lease.worker, out);
            }
        }
        self.schedule(now, out);
    }

    /// Asks an idle worker to end. One that has begun to lend does so when it has ceased to (RL-4).
    fn retire(&mut self, worker: WorkerId, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.role = Role::Ending;
            process.ended_for = Some(DeathCause::Intended {});
            out.push(Effect::Send {
                to: worker,
                frame: Frame::Exit {},
            });
        }
    }

    pub(super) fn kill(&mut self, worker: WorkerId, cause: DeathCause, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker)
            && process.role != Role::Driver
        {
            process.ended_for.get_or_insert(cause);
            out.push(Effect::Kill { worker });
        }
    }

    fn blocked(&mut self, worker: WorkerId, number: u64, blocked: bool, now: Duration, out: &mut Effects) {
        let served = self.leases.iter_mut().filter(|(_, lease)| lease.worker == worker);
        for (_, lease) in served.filter(|(id, _)| number == 0 || **id == number) {
            if blocked {
                self.resources.release_cpu(&mut lease.allocation);
            } else {
                self.resources.reacquire_cpu_oversubscribed(&mut lease.allocation);
            }
        }
        if let Some(Role::Actor(actor)) = self.workers.get(&worker).map(|process| process.role.clone())
            && let Some(allocation) = self.actors.get_mut(&actor).and_then(|place| place.allocation.as_mut())
        {
            if blocked {
                self.resources.release_cpu(allocation);
            } else {
                self.resources.reacquire_cpu_oversubscribed(allocation);
            }
        }
        if blocked {
            self.schedule(now, out);
        }
    }

    fn link(&mut self, a: WorkerId, b: WorkerId, out: &mut Effects) {
        if self.workers.link(a, b) {
            out.push(Effect::Link { a, b });
        }
    }

    /// A process of this node has ended, or could not be started.
    pub(super) fn process_ended(&mut self, worker: WorkerId, seen: DeathCause, now: Duration, out: &mut Effects) {
        let intended = self
            .workers
            .get_mut(&worker)
            .and_then(|process| process.ended_for.take());
        let cause = intended.unwrap_or(seen);
        self.censuses.died(&worker);
        self.end_censuses(now, out);
        if self.victim == Some(worker) {
            self.victim = None;
        }
        self.last_saves.died(worker);
        let Some((process, peers)) = self.workers.remove(worker, &cause) else {
            return;
        };
        // RL-3.
        for to in peers {
            let frame = Frame::PeerGone {
                worker,
                cause: cause.clone(),
            };
            out.push(Effect::Send { to, frame });
        }
        // RL-1.
        let ended: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.worker == worker || lease.requester == worker)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(lease) = self.leases.remove(&id) else { continue };
            self.resources.release(lease.allocation);
            if lease.requester == worker && lease.worker != worker {
                // It may still run a task that nobody waits for.
                self.kill(
                    lease.worker,
                    DeathCause::Killed {
                        why: "the owner of its task has ended".into(),
                    },
                    out,
                );
            }
        }
        self.queue.requester_died(worker);
        self.requests.retain(|(requester, _), _| *requester != worker);
        let actor = match process.role {
            Role::Actor(actor) => Some(actor),
            _ => None,
        };
        if let Some(place) = actor.and_then(|actor| self.actors.remove(&actor))
            && let Some(allocation) = place.allocation
        {
            self.resources.release(allocation);
        }
        // SIGKILL comes from outside and says nothing of the program.
        let by_itself = !matches!(cause, DeathCause::Signalled { signal } if signal == libc::SIGKILL);
        if process.role == Role::Starting && by_itself {
            self.stillborn += 1;
        }
        let hopeless = matches!(cause, DeathCause::NotStarted { .. }) || (by_itself && self.stillborn >= STILLBORN);
        if process.role == Role::Starting && hopeless {
            self.grant_failed(&process.gpus, &cause, out);
        }
        self.hosted_actors_lost(worker, &cause, out);
        out.push(Effect::ForgetInStore { worker });
        out.push(Effect::ToGcs(Frame::WorkerEnded { worker, actor, cause }));
        if process.role == Role::Driver {
            out.push(Effect::ToGcs(Frame::JobEnded {
                job: crate::ids::JobId::new(1),
            }));
        }
        self.schedule(now, out);
    }

    /// No process could be started for the grant that has waited longest: trying for ever would not help.
    fn grant_failed(&mut self, gpus: &[u32], cause: &DeathCause, out: &mut Effects) {
        let Some(place) = self.granted.iter().position(|granted| granted.gpus == gpus) else {
            return;
        };
        let Some(granted) = self.granted.remove(place) else {
            return;
        };
        self.resources.release(granted.allocation);
        let error = RayError::RuntimeEnv { why: cause.to_string() };
        refuse(granted.wanted, error, out);
    }

    /// Comes a few times a second while something can be due.
    pub(super) fn tick(&mut self, now: Duration, out: &mut Effects) {
        let superfluous = now
            .checked_sub(self.idle_time)
            .map(|before| self.workers.superfluous(self.keep_idle, before));
        for worker in superfluous.unwrap_or_default() {
            self.retire(worker, out);
        }
        self.end_unanswered(now, out);
        self.end_censuses(now, out);
        self.end_last_saves(now, out);
        self.schedule(now, out);
        self.report_resources(out);
    }

    /// When the next tick is due, if one could change anything; the last was at `ticked`.
    pub(super) fn tick_due(&self, ticked: Duration) -> Option<Duration> {
        let regular = self.needs_ticks().then(|| ticked + TICK);
        regular.into_iter().chain(self.crowd.due(ticked)).min()
    }

    fn needs_ticks(&self) -> bool {
        !self.queue.is_empty()
            || !self.censuses.is_empty()
            || self.unreported
            || !self.last_saves.is_empty()
            || self.workers.spare_count() > self.keep_idle
            || self.has_unanswered()
    }

    pub(super) fn report(&self) -> NodeReport {
        let state = |role: &Role| match role {
            Role::Driver => "driver",
            Role::Starting => "starting",
            Role::Idle(_) => "idle",
            Role::Leased(_) => "leased",
            Role::Actor(_) => "actor",
            Role::Ending => "exiting",
        };
        let workers = self.workers.iter().map(|(worker, process)| WorkerReport {
            worker: *worker,
            pid: process.pid,
            state: state(&process.role).to_owned(),
            serves: process.serves.clone(),
        });
        NodeReport {
            node: self.node,
            total: to_numbers(&self.resources.total()),
            available: to_numbers(&self.resources.available()),
            workers: workers.collect(),
            pending_leases: (self.queue.len() + self.granted.len()) as u64,
        }
    }
}
