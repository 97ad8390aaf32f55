use crate::error::RayError;
use crate::gcs::state::{Effect, Gcs};
use crate::ids::{ActorId, NodeId, WorkerId};
use crate::wire::{ActorSpec, ActorState, CheckpointSpec, DeathCause, Frame, GcsReply, GcsRequest, NodeInfo};

struct Cluster {
    gcs: Gcs,
    node: NodeId,
    driver: WorkerId,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            gcs: Gcs::new(),
            node: NodeId::random(),
            driver: WorkerId::random(),
        };
        let info = Box::new(NodeInfo {
            node: cluster.node,
            ..NodeInfo::sample(2.0)
        });
        cluster.send(Frame::RegisterNode { info });
        cluster
    }

    fn send(&mut self, frame: Frame) -> Vec<Frame> {
        let effects = self.gcs.handle(self.node, frame);
        effects.into_iter().map(|Effect::Send { frame, .. }| frame).collect()
    }

    fn ask(&mut self, body: GcsRequest) -> (Vec<Frame>, GcsReply) {
        let mut frames = self.send(Frame::GcsRequest {
            request: 1,
            from: self.driver,
            body: Box::new(body),
        });
        let Some(Frame::GcsReply { body, .. }) = frames.pop() else {
            panic!("no reply")
        };
        (frames, *body)
    }

    fn create(&mut self, name: Option<&str>, max_restarts: i64) -> (ActorId, GcsReply) {
        let (actor, _, reply) = self.create_saved(name, max_restarts, None);
        (actor, reply)
    }

    fn create_saved(
        &mut self,
        name: Option<&str>,
        max_restarts: i64,
        checkpoint: Option<CheckpointSpec>,
    ) -> (ActorId, Vec<Frame>, GcsReply) {
        let actor = ActorId::random();
        let spec = ActorSpec {
            actor,
            owner: self.driver,
            name: name.map(str::to_owned),
            max_restarts,
            checkpoint,
            ..ActorSpec::sample()
        };
        let (frames, reply) = self.ask(GcsRequest::CreateActor {
            spec,
            get_if_exists: false,
        });
        (actor, frames, reply)
    }

    fn alive(&mut self, actor: ActorId) -> Vec<Frame> {
        self.send(Frame::ActorStarted {
            actor,
            worker: WorkerId::random(),
            pid: 1,
            error: None,
        })
    }

    fn crash(&mut self, actor: ActorId) -> Vec<Frame> {
        let cause = DeathCause::Signalled { signal: 9 };
        self.send(Frame::WorkerEnded {
            worker: WorkerId::random(),
            actor: Some(actor),
            cause,
        })
    }

    fn state(&mut self, actor: ActorId) -> ActorState {
        match self.ask(GcsRequest::WatchActor { actor }).1 {
            GcsReply::Actor { info } => info.state,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ga1_an_actor_is_restarted_as_often_as_allowed_and_no_more() {
    let mut cluster = Cluster::new();
    let (actor, _) = cluster.create(None, 1);
    cluster.alive(actor);
    let frames = cluster.crash(actor);
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, Frame::StartActor { restarts: 1, .. }))
    );
    assert!(matches!(cluster.state(actor), ActorState::Restarting { .. }));
    cluster.alive(actor);
    assert!(
        !cluster
            .crash(actor)
            .iter()
            .any(|frame| matches!(frame, Frame::StartActor { .. }))
    );
    assert!(matches!(cluster.state(actor), ActorState::Dead { .. }));
}

#[test]
fn ga2_a_constructor_that_fails_is_not_run_again() {
    let mut cluster = Cluster::new();
    let (actor, _) = cluster.create(None, -1);
    let error = Some(RayError::internal("constructor"));
    let frames = cluster.send(Frame::ActorStarted {
        actor,
        worker: WorkerId::random(),
        pid: 1,
        error,
    });
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::StartActor { .. })));
    assert!(matches!(cluster.state(actor), ActorState::Dead { .. }));
}

#[test]
fn ga3_a_name_is_taken_until_its_actor_is_dead() {
    let mut cluster = Cluster::new();
    let (first, _) = cluster.create(Some("x"), 0);
    let (_, second) = cluster.create(Some("x"), 0);
    assert!(matches!(
        second,
        GcsReply::Failed {
            error: RayError::ActorNameTaken { .. }
        }
    ));
    cluster.alive(first);
    cluster.crash(first);
    assert!(matches!(cluster.create(Some("x"), 0).1, GcsReply::Actor { .. }));
}

#[test]
fn ga4_an_actor_out_of_scope_ends_and_stays_away() {
    let mut cluster = Cluster::new();
    let (actor, _) = cluster.create(None, -1);
    cluster.alive(actor);
    let (frames, _) = cluster.ask(GcsRequest::ActorOutOfScope { actor });
    assert!(matches!(frames[..], [Frame::StopActor { force: false, .. }]));
    assert!(
        !cluster
            .crash(actor)
            .iter()
            .any(|frame| matches!(frame, Frame::StartActor { .. }))
    );
}

#[test]
fn ga5_who_goes_on_from_a_saved_state_begins_after_those_that_still_save_there() {
    let mut cluster = Cluster::new();
    let saved = || {
        Some(CheckpointSpec {
            every_calls: 1,
            every: None,
            place: "s3://bucket".into(),
            key: "n.x".into(),
            lasting: true,
        })
    };
    let starts = |frames: &[Frame], actor: ActorId| {
        let mut frames = frames.iter();
        frames.any(|frame| matches!(frame, Frame::StartActor { spec, .. } if spec.actor == actor))
    };
    let (first, frames, _) = cluster.create_saved(Some("x"), -1, saved());
    assert!(starts(&frames, first));
    cluster.alive(first);
    cluster.ask(GcsRequest::ActorOutOfScope { actor: first });
    let (second, frames, _) = cluster.create_saved(Some("x"), -1, saved());
    assert!(!starts(&frames, second));
    // A third one does not pass the first either.
    cluster.ask(GcsRequest::ActorOutOfScope { actor: second });
    let (third, frames, _) = cluster.create_saved(Some("x"), -1, saved());
    assert!(!starts(&frames, third));
    let info = Box::new(NodeInfo::sample(0.0));
    let frames = cluster.send(Frame::RegisterNode { info });
    assert!(!starts(&frames, third));
    let frames = cluster.crash(first);
    assert!(starts(&frames, third) && !starts(&frames, second));
}

#[test]
fn the_actors_of_a_process_that_ended_end_too() {
    let mut cluster = Cluster::new();
    let (actor, _) = cluster.create(None, -1);
    cluster.alive(actor);
    let cause = DeathCause::Exited { code: 0 };
    let frames = cluster.send(Frame::WorkerEnded {
        worker: cluster.driver,
        actor: None,
        cause,
    });
    assert!(matches!(
        frames[..],
        [Frame::StopActor {
            force: true,
            saves: true,
            ..
        }]
    ));
}
