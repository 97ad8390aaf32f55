//! The worker processes of a node: who is idle, who serves what, who is linked with whom.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::ids::{ActorId, IdHasher, JobId, NodeId, WorkerId};
use crate::wire::DeathCause;

/// Dead workers that are remembered, so that a late question about one is answered.
const DEAD_KEPT: usize = 100_000;

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// A driver: it runs the user's `main`.
    Driver,
    /// It only asks how the node stands.
    Observer,
    /// It is of this other node.
    Guest(NodeId),
    /// It was spawned and has not said hello.
    Starting,
    /// It waits for a lease since then.
    Idle(Duration),
    /// It serves a lease.
    Leased(u64),
    /// It is an actor.
    Actor(ActorId),
    /// It was asked to end.
    Ending,
}

#[derive(Debug)]
pub(super) struct Process {
    /// The job that it serves, for life.
    pub(super) job: JobId,
    pub(super) pid: u32,
    pub(super) role: Role,
    /// When its lease or its actor began.
    pub(super) since: Duration,
    /// The GPUs it sees, for life.
    pub(super) gpus: Vec<u32>,
    /// What it serves, for reports.
    pub(super) serves: String,
    /// Why it was ended, if the raylet did.
    pub(super) ended_for: Option<DeathCause>,
    /// Others hold its objects, or run its tasks: these would end with it.
    pub(super) lends: bool,
    peers: HashSet<WorkerId, IdHasher>,
}

/// All processes of the node.
#[derive(Debug, Default)]
pub(super) struct Workers {
    processes: HashMap<WorkerId, Process, IdHasher>,
    /// Idle ones, the one that became idle last at the end: it is the warmest.
    idle: Vec<WorkerId>,
    dead: HashMap<WorkerId, DeathCause, IdHasher>,
    dead_order: VecDeque<WorkerId>,
}

impl Workers {
    pub(super) fn add(&mut self, worker: WorkerId, job: JobId, pid: u32, role: Role, gpus: Vec<u32>) {
        let process = Process {
            job,
            pid,
            role,
            since: Duration::ZERO,
            gpus,
            serves: String::new(),
            ended_for: None,
            lends: false,
            peers: HashSet::default(),
        };
        self.processes.insert(worker, process);
    }

    pub(super) fn get(&self, worker: &WorkerId) -> Option<&Process> {
        self.processes.get(worker)
    }

    pub(super) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Process> {
        self.processes.get_mut(worker)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Process)> {
        self.processes.iter()
    }

    pub(super) fn set_idle(&mut self, worker: WorkerId, now: Duration) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.role = Role::Idle(now);
            process.serves.clear();
            self.idle.push(worker);
        }
    }

    /// Takes an idle worker of a job that sees exactly these GPUs, for a lease or `for_life`: one that lends serves leases
    /// only.
    pub(super) fn take_idle(&mut self, job: JobId, gpus: &[u32], for_life: bool) -> Option<WorkerId> {
        let fits = |it: &Process| it.job == job && it.gpus == gpus && !(for_life && it.lends);
        let place = self
            .idle
            .iter()
            .rposition(|id| self.processes.get(id).is_some_and(fits))?;
        Some(self.idle.remove(place))
    }

    /// A worker is about to end: it gets nothing more to do.
    pub(super) fn set_aside(&mut self, worker: WorkerId) {
        self.idle.retain(|id| *id != worker);
    }

    /// Workers that wait for a lease, or will once they are up, whatever their job.
    pub(super) fn ready_count(&self) -> usize {
        let ready = |it: &&Process| matches!(it.role, Role::Idle(_) | Role::Starting) && it.ended_for.is_none();
        self.processes.values().filter(ready).count()
    }

    /// Idle workers that nobody would miss.
    pub(super) fn spare_count(&self) -> usize {
        self.idle.iter().filter(|id| self.is_spare(id)).count()
    }

    fn is_spare(&self, worker: &WorkerId) -> bool {
        self.processes.get(worker).is_some_and(|process| !process.lends)
    }

    /// Idle workers over `keep` that have been idle since before `before`, longest idle first. Those that lend are left
    /// out of account.
    pub(super) fn superfluous(&mut self, keep: usize, before: Duration) -> Vec<WorkerId> {
        let spare = self.spare_count().saturating_sub(keep);
        let since = |id: &WorkerId| match self.processes.get(id).map(|process| &process.role) {
            Some(Role::Idle(since)) => *since,
            _ => Duration::MAX,
        };
        let expired: Vec<WorkerId> = self
            .idle
            .iter()
            .filter(|id| self.is_spare(id) && since(id) <= before)
            .take(spare)
            .copied()
            .collect();
        self.idle.retain(|id| !expired.contains(id));
        expired
    }

    /// Notes a link. Returns whether it is new.
    pub(super) fn link(&mut self, a: WorkerId, b: WorkerId) -> bool {
        let new = self
            .processes
            .get_mut(&a)
            .is_some_and(|process| process.peers.insert(b));
        if let Some(process) = self.processes.get_mut(&b) {
            process.peers.insert(a);
        }
        new
    }

    /// Forgets a process that ended. Returns it, and who was linked with it.
    pub(super) fn remove(&mut self, worker: WorkerId, cause: &DeathCause) -> Option<(Process, Vec<WorkerId>)> {
        let process = self.processes.remove(&worker)?;
        self.idle.retain(|id| *id != worker);
        let peers: Vec<WorkerId> = process.peers.iter().copied().collect();
        for peer in &peers {
            if let Some(peer) = self.processes.get_mut(peer) {
                peer.peers.remove(&worker);
            }
        }
        self.dead.insert(worker, cause.clone());
        self.dead_order.push_back(worker);
        if self.dead_order.len() > DEAD_KEPT
            && let Some(oldest) = self.dead_order.pop_front()
        {
            self.dead.remove(&oldest);
        }
        Some((process, peers))
    }

    /// How a worker that is gone ended.
    pub(super) fn death_of(&self, worker: &WorkerId) -> DeathCause {
        self.dead.get(worker).cloned().unwrap_or(DeathCause::NodeGone {})
    }
}
