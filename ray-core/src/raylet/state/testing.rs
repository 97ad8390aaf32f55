//! What tests of the decisions start from: a node with its driver, and the clock that it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{ActorId, JobId, NodeId, WorkerId};
use crate::scheduling::{NodeResources, ResourceSet};
use crate::wire::{ActorSpec, DeathCause, Frame, LeaseShape};

pub(super) const MS: Duration = Duration::from_millis(1);
/// How long an idle worker is kept.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(1);
/// How long an actor gets for its last save.
pub(super) const SAVES_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Node {
    pub(super) state: State,
    pub(super) driver: WorkerId,
    pub(super) now: Duration,
    /// What it wants done, as long as nobody has taken it.
    pub(super) out: Effects,
}

impl Node {
    /// A node of so many CPUs that keeps so many idle workers, with a driver and no worker.
    pub(super) fn new(cpus: f64, keep_idle: usize) -> Self {
        let total = BTreeMap::from([("CPU".to_owned(), cpus)]);
        let resources = NodeResources::new(&ResourceSet::from_numbers(&total).unwrap()).unwrap();
        let mut node = Self {
            state: State::new(NodeId::random(), resources, keep_idle, IDLE_TIME, SAVES_WITHIN),
            driver: WorkerId::random(),
            now: Duration::ZERO,
            out: Effects::new(),
        };
        node.driver_joins(node.driver, JobId::new(1));
        node
    }

    pub(super) fn driver_joins(&mut self, driver: WorkerId, job: JobId) {
        self.state.driver_joined(driver, job, 7, &mut self.out);
    }

    /// The GCS says that a job is over.
    pub(super) fn over(&mut self, job: JobId) {
        self.state.job_over(job, &mut self.out);
    }

    /// The time is this from now on.
    pub(super) fn at(&mut self, now: Duration) -> &mut Self {
        self.now = now;
        self
    }

    pub(super) fn take(&mut self) -> Effects {
        std::mem::take(&mut self.out)
    }

    pub(super) fn frame(&mut self, from: WorkerId, frame: Frame) {
        self.state.frame(from, frame, self.now, &mut self.out);
    }

    pub(super) fn gcs(&mut self, frame: Frame) {
        self.state.gcs_frame(frame, self.now, &mut self.out);
    }

    pub(super) fn tick(&mut self) {
        self.state.tick(self.now, &mut self.out);
    }

    /// Asks for a worker for a task of one CPU.
    pub(super) fn request(&mut self, from: WorkerId, request: u64) {
        let shape = LeaseShape::one_cpu();
        self.frame(from, Frame::RequestLease { request, shape });
    }

    pub(super) fn give_back(&mut self, from: WorkerId, lease: u64) {
        self.frame(from, Frame::ReturnLease { lease, reusable: true });
    }

    pub(super) fn start(&mut self, spec: ActorSpec) -> ActorId {
        let actor = spec.actor;
        let spec = Box::new(spec);
        self.gcs(Frame::StartActor { spec, restarts: 0 });
        actor
    }

    /// Ends an actor by force.
    pub(super) fn stop(&mut self, actor: ActorId, saves: bool) {
        let why = "enough".to_owned();
        let force = true;
        self.gcs(Frame::StopActor {
            actor,
            force,
            saves,
            why,
        });
    }

    /// The workers that it wants spawned come up; what else it wants is forgotten.
    pub(super) fn join(&mut self) -> Vec<WorkerId> {
        let spawned = |effect: Effect| match effect {
            Effect::Spawn { worker, .. } => Some(worker),
            _ => None,
        };
        let spawned: Vec<WorkerId> = self.take().into_iter().filter_map(spawned).collect();
        for worker in &spawned {
            self.state.worker_joined(*worker, self.now, &mut self.out);
        }
        spawned
    }

    pub(super) fn die(&mut self, process: WorkerId) {
        let cause = DeathCause::Signalled { signal: 9 };
        self.state.process_ended(process, cause, self.now, &mut self.out);
    }

    /// The leases that it grants, and whether it tells of a crowd.
    pub(super) fn grants(&self) -> Vec<(u64, bool)> {
        let grant = |effect: &Effect| match effect {
            Effect::Send {
                frame: Frame::LeaseGranted { lease, crowded, .. },
                ..
            } => Some((*lease, *crowded)),
            _ => None,
        };
        self.out.iter().filter_map(grant).collect()
    }

    pub(super) fn kills(&self) -> Vec<WorkerId> {
        let kill = |effect: &Effect| match effect {
            Effect::Kill { worker } => Some(*worker),
            _ => None,
        };
        self.out.iter().filter_map(kill).collect()
    }

    /// Whom it asks to end.
    pub(super) fn exits(&self) -> Vec<WorkerId> {
        let exit = |effect: &Effect| match effect {
            Effect::Send {
                to,
                frame: Frame::Exit {},
            } => Some(*to),
            _ => None,
        };
        self.out.iter().filter_map(exit).collect()
    }
}
