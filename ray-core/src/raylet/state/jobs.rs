//! The jobs that have processes on this node. A driver that comes begins a job: the GCS gives it its number.
//!
//! - RJ-1: a worker serves one job for life: it runs that job's executable, and sees that job's objects only.
//! - RJ-2: when the driver is gone, all workers of its job end but those that are actors: which of these end too, the GCS
//!   says.

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

    /// The host of a job's shared work: on the driver's node it is the driver, and there is one as long as its job is.
    pub(super) fn host(&self, job: JobId) -> Option<WorkerId> {
        self.jobs.drivers.get(&job).copied()
    }

    /// The job of a process of this node.
    pub(super) fn job_of(&self, worker: WorkerId) -> Option<JobId> {
        self.workers.get(&worker).map(|process| process.job)
    }

    /// RJ-2.
    pub(super) fn driver_ended(&mut self, job: JobId, out: &mut Effects) {
        self.jobs.drivers.remove(&job);
        self.take_back(|granted| granted.job == job && !granted.asked.is_for_an_actor());
        let left = |role: &Role| !matches!(role, Role::Actor(_) | Role::Driver);
        let workers: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, process)| process.job == job && left(&process.role))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in workers {
            let why = "its job has ended".into();
            self.kill(worker, DeathCause::Killed { why }, out);
        }
        out.push(Effect::ToGcs(Frame::JobEnded { job }));
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
        node.take();
        node.state.spawned(born.unwrap(), 7, &mut node.out);
        assert_eq!(node.kills(), [born.unwrap()]);
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
