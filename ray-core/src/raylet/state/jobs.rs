//! The jobs that have processes on this node. A driver that comes begins a job: the GCS gives it its number.
//!
//! - RJ-1: a worker serves one job for life: it runs that job's executable, and sees that job's objects only.
//! - RJ-2: what a driver has leased ends with it (RL-1), and so on downwards. What is left of its job serves the actors that
//!   outlive it, and ends when the GCS says that the job is over.

use std::collections::HashMap;

use super::{Effect, Effects, State};
use crate::ids::{JobId, WorkerId};
use crate::raylet::workers::Role;
use crate::wire::{DeathCause, Frame};

/// The jobs whose drivers are on this node.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    drivers: HashMap<JobId, WorkerId>,
}

impl State {
    /// A driver is welcome; its job has this number.
    pub(in crate::raylet) fn driver_joined(&mut self, worker: WorkerId, job: JobId, pid: u32, out: &mut Effects) {
        self.workers.add(worker, job, pid, Role::Driver, Vec::new());
        self.jobs.drivers.insert(job, worker);
        self.prestart(job, out);
    }

    /// Somebody wants to know how the node stands.
    pub(in crate::raylet) fn observer_joined(&mut self, worker: WorkerId, pid: u32) {
        self.workers.add(worker, JobId::new(0), pid, Role::Observer, Vec::new());
    }

    pub(in crate::raylet) fn is_observer(&self, worker: WorkerId) -> bool {
        let process = self.workers.get(&worker);
        process.is_some_and(|process| process.role == Role::Observer)
    }

    /// The host of a job's shared work: on the driver's node it is the driver, and there is one as long as its job is.
    pub(super) fn host(&self, job: JobId) -> Option<WorkerId> {
        self.jobs.drivers.get(&job).copied()
    }

    /// The job of a process of this node.
    pub(super) fn job_of(&self, worker: WorkerId) -> Option<JobId> {
        self.workers.get(&worker).map(|process| process.job)
    }

    /// The GCS says which of the job's actors end with it.
    pub(super) fn driver_ended(&mut self, job: JobId, out: &mut Effects) {
        self.jobs.drivers.remove(&job);
        out.push(Effect::ToGcs(Frame::JobEnded { job }));
    }

    /// RJ-2: nothing of the job will be started any more.
    pub(in crate::raylet) fn job_over(&mut self, job: JobId, out: &mut Effects) {
        self.take_back(|granted| granted.job == job);
        // Its last actors have been told to end, and are on their way.
        let left = |role: &Role| !matches!(role, Role::Actor(_));
        let workers: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, process)| process.job == job && left(&process.role))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in workers {
            let why = "its job is over".into();
            self.kill(worker, DeathCause::Killed { why }, out);
        }
        self.births.forget(job);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::raylet::state::testing::Node;
    use crate::wire::ActorSpec;

    const OTHER: JobId = JobId::new(2);

    /// A node with two drivers, each with a job of its own; the first has an idle worker.
    fn two_jobs() -> (Node, WorkerId, WorkerId) {
        let mut node = Node::new(2.0, 0);
        let other = WorkerId::random();
        node.driver_joins(other, OTHER);
        node.request(node.driver, 1);
        let worker = node.join()[0];
        let (lease, _) = node.grants()[0];
        node.give_back(node.driver, lease);
        node.take();
        (node, other, worker)
    }

    fn spawned(node: &Node) -> Vec<JobId> {
        let spawned = node.out.iter().filter_map(|effect| match effect {
            Effect::Spawn { job, .. } => Some(*job),
            _ => None,
        });
        spawned.collect()
    }

    #[test]
    fn no_more_workers_are_started_ahead_than_are_kept_however_many_drivers_come() {
        let mut node = Node::new(2.0, 2);
        assert_eq!(spawned(&node).len(), 2);
        node.driver_joins(WorkerId::random(), OTHER);
        assert_eq!(spawned(&node).len(), 2);
        node.join();
        // They have work now, so that there is room for others.
        node.request(node.driver, 1);
        node.request(node.driver, 2);
        node.take();
        node.driver_joins(WorkerId::random(), JobId::new(3));
        assert_eq!(spawned(&node), [JobId::new(3); 2]);
    }

    #[test]
    fn rj_1_a_worker_of_one_job_does_not_serve_another() {
        let (mut node, other, _) = two_jobs();
        node.request(other, 1);
        assert_eq!(spawned(&node), [OTHER]);
        node.take();
        node.start(ActorSpec {
            job: OTHER,
            ..ActorSpec::sample()
        });
        // The worker that comes up for the request would do for neither.
        assert_eq!(spawned(&node), [OTHER]);
        node.take();
        node.request(node.driver, 2);
        assert_eq!((spawned(&node), node.grants().len()), (vec![], 1));
    }

    #[test]
    fn rj_2_the_workers_of_a_job_end_with_its_driver_and_no_other() {
        let (mut node, other, worker) = two_jobs();
        node.request(other, 1);
        let of_other = node.join();
        node.take();
        node.die(other);
        let set = |workers: Vec<WorkerId>| workers.into_iter().collect::<HashSet<_>>();
        assert_eq!(set(node.kills()), set(of_other));
        let told = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::JobEnded { job }) if *job == OTHER);
        assert_eq!(node.out.iter().filter(|effect| told(effect)).count(), 1);
        node.take();
        node.request(node.driver, 2);
        assert_eq!(node.grants().len(), 1);
        assert!(node.state.workers.get(&worker).is_some());
    }

    #[test]
    fn rj_2_what_waits_for_a_worker_is_given_up_with_its_job() {
        let mut node = Node::new(1.0, 0);
        let other = WorkerId::random();
        node.driver_joins(other, OTHER);
        node.request(other, 1);
        node.take();
        node.die(other);
        node.over(OTHER);
        node.take();
        // Its CPU is free again.
        node.request(node.driver, 1);
        let worker = node.join();
        assert_eq!((worker.len(), node.grants().len()), (1, 1));
    }

    #[test]
    fn rj_2_a_worker_that_is_being_born_ends_once_it_is() {
        let mut node = Node::new(1.0, 0);
        let other = WorkerId::random();
        node.driver_joins(other, OTHER);
        node.request(other, 1);
        let born = node.out.iter().find_map(|effect| match effect {
            Effect::Spawn { worker, .. } => Some(*worker),
            _ => None,
        });
        node.die(other);
        node.over(OTHER);
        node.take();
        node.state.spawned(born.unwrap(), 7, &mut node.out);
        assert_eq!(node.kills(), [born.unwrap()]);
    }

    #[test]
    fn rj_2_who_waits_for_work_of_a_job_ends_when_it_is_over_and_is_given_none_before() {
        let (mut node, other, _) = two_jobs();
        node.request(other, 1);
        let idle = node.join();
        let (lease, _) = node.grants()[0];
        node.give_back(other, lease);
        // An actor that outlives the driver stands in line.
        node.request(node.driver, 2);
        node.request(node.driver, 3);
        node.join();
        let actor = node.start(ActorSpec {
            job: OTHER,
            detached: true,
            placement: [("CPU".to_owned(), 10_000)].into(),
            ..ActorSpec::sample()
        });
        node.die(other);
        assert_eq!(node.kills(), []);
        node.stop(actor, false);
        node.over(OTHER);
        assert_eq!(node.kills(), idle);
        node.take();
        node.die(node.driver);
        assert!(!node.out.iter().any(|effect| matches!(
            effect,
            Effect::Send {
                frame: Frame::ConstructActor { .. },
                ..
            }
        )));
    }

    #[test]
    fn actors_that_outlive_their_driver_are_the_gcss_to_end() {
        let (mut node, other, _) = two_jobs();
        let actor = node.start(ActorSpec {
            job: OTHER,
            detached: true,
            ..ActorSpec::sample()
        });
        let worker = node.join();
        node.take();
        node.die(other);
        assert_eq!(node.kills(), []);
        node.frame(worker[0], Frame::ActorTaken { actor });
        node.stop(actor, false);
        assert_eq!(node.kills(), worker);
    }
}
