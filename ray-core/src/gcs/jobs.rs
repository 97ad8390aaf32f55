//! The jobs of the cluster: their numbers, and when nothing of one is left.
//!
//! - GJ-1: a job is over when its driver is gone and none of its actors lives or will: then all nodes hear of it once, and
//!   let go of its program.

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

    /// A driver is gone.
    pub(super) fn driver_gone(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.driver_gone = true;
            self.looked = None;
        }
    }

    /// The jobs whose drivers were on a node that is lost.
    pub(super) fn of_node(&self, node: NodeId) -> Vec<JobId> {
        let there = self.jobs.iter().filter(|(_, job)| job.node == node && !job.driver_gone);
        there.map(|(id, _)| *id).collect()
    }

    /// GJ-1.
    pub(super) fn end_over(&mut self, actors: &Actors, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let deaths = Some(actors.deaths());
        if self.looked == deaths {
            return;
        }
        self.looked = deaths;
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
    use crate::wire::{ActorSpec, DeathCause, GcsRequest};

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
            let resources = BTreeMap::from([("CPU".to_owned(), 4.0)]);
            let node = cluster.node;
            cluster.send(Frame::RegisterNode { node, resources });
            cluster
        }

        fn send(&mut self, frame: Frame) -> Vec<Frame> {
            let effects = self.gcs.handle(self.node, frame);
            effects.into_iter().map(|Effect::Send { frame, .. }| frame).collect()
        }

        fn begin(&mut self) -> JobId {
            let driver = WorkerId::random();
            let namespace = "tests".to_owned();
            match &self.send(Frame::AddJob { driver, namespace })[..] {
                [Frame::JobAdded { driver: told, job }] if *told == driver => *job,
                other => panic!("{other:?}"),
            }
        }
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
        let spec = ActorSpec {
            job,
            detached: true,
            ..ActorSpec::sample()
        };
        let actor = spec.actor;
        let get_if_exists = false;
        let body = Box::new(GcsRequest::CreateActor { spec, get_if_exists });
        let from = WorkerId::random();
        cluster.send(Frame::GcsRequest { request: 1, from, body });
        assert_eq!(over(&cluster.send(Frame::JobEnded { job })), []);
        let worker = WorkerId::random();
        let frames = cluster.send(Frame::WorkerEnded {
            worker,
            actor: Some(actor),
            cause: DeathCause::Intended {},
        });
        assert_eq!(over(&frames), [job]);
    }

    #[test]
    fn a_node_that_is_lost_takes_the_jobs_of_its_drivers_along() {
        let mut cluster = Cluster::new();
        let job = cluster.begin();
        let (other, resources) = (NodeId::random(), BTreeMap::new());
        cluster
            .gcs
            .handle(other, Frame::RegisterNode { node: other, resources });
        let told = cluster.gcs.node_lost(cluster.node);
        let told: Vec<_> = told
            .into_iter()
            .map(|Effect::Send { node, frame }| (node, frame))
            .collect();
        assert!(
            matches!(&told[..], [(node, Frame::JobOver { job: over })] if *node == other && *over == job),
            "{told:?}"
        );
    }
}
