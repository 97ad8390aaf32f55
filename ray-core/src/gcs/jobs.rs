//! The jobs of the cluster: their numbers, and when nothing of one is left.
//!
//! - GJ-1: a job is over when its driver is gone and none of its actors lives or will: then all nodes hear of it once, and
//!   let go of its program.
//! - GJ-2: an actor that is not detached ends with the process that created it, so that what a detached actor has created
//!   outlives the driver with it. When the driver and all detached actors of a job are gone, whatever is left of it ends.

use std::collections::BTreeMap;

use crate::gcs::actors::Actors;
use crate::gcs::nodes::Node;
use crate::gcs::state::Outbox;
use crate::ids::{JobId, NodeId, WorkerId};
use crate::wire::Frame;

#[derive(Debug, Default)]
pub(super) struct Jobs {
    last: u32,
    /// Those that are not over.
    jobs: BTreeMap<JobId, Job>,
    /// How many actors had died when it was last looked which jobs are over; `None` if a driver has gone since.
    looked: Option<u64>,
}

#[derive(Debug)]
struct Job {
    driver: WorkerId,
    namespace: String,
    node: NodeId,
    driver_gone: bool,
}

impl Jobs {
    /// A driver has come to a node.
    pub(super) fn add(&mut self, node: NodeId, driver: WorkerId, namespace: String, out: &mut Outbox) {
        self.last += 1;
        let job = JobId::new(self.last);
        tracing::debug!(target: "ray_core::gcs", %job, %driver, %namespace, "a job begins");
        let driver_gone = false;
        self.jobs.insert(
            job,
            Job {
                driver,
                namespace,
                node,
                driver_gone,
            },
        );
        out.send(node, Frame::JobAdded { driver, job });
    }

    /// A driver is gone. Returns which process it was.
    pub(super) fn driver_gone(&mut self, job: JobId) -> Option<WorkerId> {
        let job = self.jobs.get_mut(&job)?;
        job.driver_gone = true;
        self.looked = None;
        Some(job.driver)
    }

    /// The jobs whose drivers were on a node that is lost.
    pub(super) fn of_node(&self, node: NodeId) -> Vec<JobId> {
        let there = self.jobs.iter().filter(|(_, job)| job.node == node && !job.driver_gone);
        there.map(|(id, _)| *id).collect()
    }

    /// GJ-1, GJ-2.
    pub(super) fn end_over(&mut self, actors: &mut Actors, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        if self.looked == Some(actors.deaths()) {
            return;
        }
        for (id, _) in self.jobs.iter().filter(|(_, job)| job.driver_gone) {
            if !actors.keep(*id) {
                actors.job_ended(*id, out);
            }
        }
        self.looked = Some(actors.deaths());
        let over = |id: &JobId, job: &mut Job| job.driver_gone && !actors.are_left_of(*id);
        for (job, gone) in self.jobs.extract_if(.., over) {
            tracing::debug!(target: "ray_core::gcs", %job, driver = %gone.driver, namespace = %gone.namespace, "a job is over");
            nodes.keys().for_each(|node| out.send(*node, Frame::JobOver { job }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcs::state::{Effect, Gcs};
    use crate::ids::ActorId;
    use crate::wire::{ActorSpec, DeathCause, GcsRequest, NodeInfo};

    struct Cluster {
        gcs: Gcs,
        node: NodeId,
    }

    impl Cluster {
        fn new() -> Self {
            let mut cluster = Self {
                gcs: Gcs::new(),
                node: NodeId::random(),
            };
            let node = cluster.node;
            let info = Box::new(NodeInfo {
                node,
                ..NodeInfo::sample(4.0)
            });
            cluster.send(Frame::RegisterNode { info });
            cluster
        }

        fn send(&mut self, frame: Frame) -> Vec<Frame> {
            let effects = self.gcs.handle(self.node, frame);
            effects.into_iter().map(|Effect::Send { frame, .. }| frame).collect()
        }

        fn begin(&mut self) -> JobId {
            self.begin_by(WorkerId::random())
        }

        fn begin_by(&mut self, driver: WorkerId) -> JobId {
            let namespace = "tests".to_owned();
            match &self.send(Frame::AddJob { driver, namespace })[..] {
                [Frame::JobAdded { driver: told, job }] if *told == driver => *job,
                other => panic!("{other:?}"),
            }
        }

        fn create(&mut self, job: JobId, owner: WorkerId, detached: bool) -> ActorId {
            let spec = ActorSpec {
                job,
                owner,
                detached,
                ..ActorSpec::sample()
            };
            let actor = spec.actor;
            let get_if_exists = false;
            let body = Box::new(GcsRequest::CreateActor { spec, get_if_exists });
            let from = owner;
            self.send(Frame::GcsRequest { request: 1, from, body });
            actor
        }

        /// Returns the actor's process.
        fn alive(&mut self, actor: ActorId) -> WorkerId {
            let worker = WorkerId::random();
            let (pid, error) = (1, None);
            self.send(Frame::ActorStarted {
                actor,
                worker,
                pid,
                error,
            });
            worker
        }

        /// A process ends.
        fn end(&mut self, worker: WorkerId, actor: Option<ActorId>) -> Vec<Frame> {
            let cause = DeathCause::Intended {};
            self.send(Frame::WorkerEnded { worker, actor, cause })
        }
    }

    fn stopped(frames: &[Frame]) -> Vec<ActorId> {
        let stopped = frames.iter().filter_map(|frame| match frame {
            Frame::StopActor { actor, .. } => Some(*actor),
            _ => None,
        });
        stopped.collect()
    }

    fn over(frames: &[Frame]) -> Vec<JobId> {
        let over = frames.iter().filter_map(|frame| match frame {
            Frame::JobOver { job } => Some(*job),
            _ => None,
        });
        over.collect()
    }

    #[test]
    fn each_job_has_a_number_of_its_own_and_is_over_with_its_driver() {
        let mut cluster = Cluster::new();
        let (one, other) = (cluster.begin(), cluster.begin());
        assert_ne!(one, other);
        assert_eq!(over(&cluster.send(Frame::JobEnded { job: one })), [one]);
        assert_eq!(over(&cluster.send(Frame::JobEnded { job: one })), []);
        assert_eq!(over(&cluster.send(Frame::JobEnded { job: other })), [other]);
    }

    #[test]
    fn gj_1_a_detached_actor_keeps_what_its_job_needs_until_it_has_ended() {
        let mut cluster = Cluster::new();
        let job = cluster.begin();
        let actor = cluster.create(job, WorkerId::random(), true);
        assert_eq!(over(&cluster.send(Frame::JobEnded { job })), []);
        assert_eq!(over(&cluster.end(WorkerId::random(), Some(actor))), [job]);
    }

    #[test]
    fn gj_2_what_a_detached_actor_has_created_ends_with_it_and_what_the_driver_has_with_the_driver() {
        let mut cluster = Cluster::new();
        let driver = WorkerId::random();
        let job = cluster.begin_by(driver);
        let detached = cluster.create(job, driver, true);
        let host = cluster.alive(detached);
        let of_driver = cluster.create(job, driver, false);
        let dying = cluster.alive(of_driver);
        let child = cluster.create(job, host, false);
        let of_child = cluster.alive(child);
        // Of a task that ran for one of them in a process that waits for more work.
        let orphan = cluster.create(job, WorkerId::random(), false);
        let waits = cluster.alive(orphan);
        assert_eq!(stopped(&cluster.end(driver, None)), [of_driver]);
        assert_eq!(stopped(&cluster.send(Frame::JobEnded { job })), []);
        cluster.end(dying, Some(of_driver));
        let mut rest = stopped(&cluster.end(host, Some(detached)));
        rest.sort_unstable();
        let mut expected = [child, orphan];
        expected.sort_unstable();
        assert_eq!(rest, expected);
        assert_eq!(over(&cluster.end(of_child, Some(child))), []);
        assert_eq!(over(&cluster.end(waits, Some(orphan))), [job]);
    }

    #[test]
    fn a_node_that_is_lost_takes_the_jobs_of_its_drivers_along() {
        let mut cluster = Cluster::new();
        let job = cluster.begin();
        let info = Box::new(NodeInfo::sample(1.0));
        let other = info.node;
        cluster.gcs.handle(other, Frame::RegisterNode { info });
        let told = cluster.gcs.node_lost(cluster.node, "it was cut off");
        let told = told.into_iter().map(|Effect::Send { node, frame }| (node, frame));
        let (nodes, frames): (Vec<_>, Vec<_>) = told.unzip();
        assert!(nodes.iter().all(|node| *node == other));
        assert_eq!(over(&frames), [job]);
    }
}
