//! The life of actors: registered, placed, alive, restarted, dead.
//!
//! - GA-1: an actor has at most one worker: it is placed again only after its worker is known to have ended.
//! - GA-2: a constructor that fails makes the actor dead; it is not restarted.
//! - GA-3: a name belongs to at most one actor that is not dead.
//! - GA-4: an actor that was told to end (killed for good, out of scope, owner gone) is never restarted.
//! - GA-5: an actor that goes on from a saved state begins when those before it that save there are dead.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::error::RayError;
use crate::gcs::heirs::Heirs;
use crate::gcs::state::{Asker, Node, Outbox, refuse};
use crate::ids::{ActorId, JobId, NodeId, WorkerId};
use crate::wire::{
    ActorInfo, ActorSpec, ActorState, DeathCause, Frame, GcsEvent, GcsReply, SaveState, SchedulingStrategy,
};

/// Dead actors that are remembered, so that late questions get the reason.
const DEAD_KEPT: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Actors {
    actors: HashMap<ActorId, Actor>,
    names: HashMap<(String, String), ActorId>,
    dead: VecDeque<ActorId>,
    heirs: Heirs,
}

#[derive(Debug)]
struct Actor {
    spec: ActorSpec,
    state: ActorState,
    restarts: u32,
    /// The node that was asked to start it.
    node: Option<NodeId>,
    /// It was told to end, for this reason.
    ending: Option<String>,
    watchers: HashSet<Asker>,
    /// How its saves stand, if its state is saved.
    saves: Option<Box<SaveState>>,
}

impl Actor {
    fn info(&self) -> ActorInfo {
        let spec = &self.spec;
        ActorInfo {
            actor: spec.actor,
            item: spec.item,
            type_name: spec.type_name.clone(),
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            detached: spec.detached,
            owner: spec.owner,
            handle: spec.handle,
            state: self.state.clone(),
            restarts: self.restarts,
            max_task_retries: spec.max_task_retries,
            max_pending_calls: spec.max_pending_calls,
            saves: self.saves.clone(),
            calls_ahead: spec.calls_ahead,
            shared: spec.shared,
        }
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, ActorState::Dead { .. })
    }

    fn shown_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| self.spec.type_name.clone())
    }

    fn publish(&self, out: &mut Outbox) {
        for watcher in &self.watchers {
            out.tell(*watcher, GcsEvent::Actor { info: self.info() });
        }
    }

    /// Asks a node to start it, if there is one that can.
    fn place(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let wanted = match &self.spec.strategy {
            SchedulingStrategy::NodeAffinity { node, .. } if nodes.contains_key(node) => Some(*node),
            _ => nodes
                .iter()
                .max_by(|a, b| free_share(a.1).total_cmp(&free_share(b.1)))
                .map(|(id, _)| *id),
        };
        self.node = wanted;
        if let Some(node) = wanted {
            let spec = Box::new(self.spec.clone());
            out.send(
                node,
                Frame::StartActor {
                    spec,
                    restarts: self.restarts,
                },
            );
        }
    }

    fn may_restart(&self) -> bool {
        self.ending.is_none() && (self.spec.max_restarts < 0 || i64::from(self.restarts) < self.spec.max_restarts)
    }
}

fn free_share(node: &Node) -> f64 {
    let amount = |resources: &BTreeMap<String, f64>| resources.get("CPU").copied().unwrap_or(0.0);
    amount(&node.available) / amount(&node.total).max(1.0)
}

impl Actors {
    pub(super) fn create(
        &mut self,
        asker: Asker,
        spec: ActorSpec,
        get_if_exists: bool,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) -> GcsReply {
        if let Some(existing) = self.actors.get(&spec.actor) {
            // The same request again, after a lost connection.
            return GcsReply::Actor { info: existing.info() };
        }
        if let Some(name) = &spec.name {
            let key = (spec.namespace.clone(), name.clone());
            if let Some(holder) = self.names.get(&key).and_then(|id| self.actors.get_mut(id)) {
                if get_if_exists {
                    holder.watchers.insert(asker);
                    return GcsReply::Actor { info: holder.info() };
                }
                return refuse(RayError::ActorNameTaken {
                    name: name.clone(),
                    namespace: spec.namespace,
                });
            }
            self.names.insert(key, spec.actor);
        }
        let id = spec.actor;
        let saves = spec.checkpoint.as_ref().map(|checkpoint| {
            Box::new(SaveState {
                every_calls: checkpoint.every_calls,
                every: checkpoint.every,
                saves: 0,
                unsaved: 0,
                error: None,
            })
        });
        let mut actor = Actor {
            spec,
            saves,
            state: ActorState::Pending {},
            restarts: 0,
            node: None,
            ending: None,
            watchers: HashSet::from([asker]),
        };
        if self.heirs.created(&actor.spec) {
            actor.place(nodes, out);
        }
        let info = actor.info();
        self.actors.insert(id, actor);
        GcsReply::Actor { info }
    }

    pub(super) fn find(&self, name: &str, namespace: &str) -> GcsReply {
        let key = (namespace.to_owned(), name.to_owned());
        match self.names.get(&key).and_then(|id| self.actors.get(id)) {
            Some(actor) => GcsReply::Actor { info: actor.info() },
            None => refuse(RayError::ActorNotFound {
                name: key.1,
                namespace: key.0,
            }),
        }
    }

    pub(super) fn watch(&mut self, asker: Asker, actor: ActorId) -> GcsReply {
        match self.actors.get_mut(&actor) {
            Some(entry) => {
                entry.watchers.insert(asker);
                GcsReply::Actor { info: entry.info() }
            }
            None => refuse(RayError::ActorDied {
                actor,
                name: "unknown".into(),
                cause: "the GCS does not know it: it died long ago, or belongs to another session".into(),
            }),
        }
    }

    pub(super) fn list(&self) -> Vec<ActorInfo> {
        let mut infos: Vec<_> = self.actors.values().map(Actor::info).collect();
        infos.sort_by_key(|info| info.actor);
        infos
    }

    pub(super) fn started(
        &mut self,
        id: ActorId,
        worker: WorkerId,
        pid: u32,
        error: Option<RayError>,
        out: &mut Outbox,
    ) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.is_dead() {
            return;
        }
        match error {
            None => {
                actor.state = ActorState::Alive { worker, pid };
                actor.publish(out);
                if let (Some(why), Some(node)) = (actor.ending.clone(), actor.node) {
                    // It was told to end while it was being constructed.
                    let stop = Frame::StopActor {
                        actor: id,
                        force: false,
                        saves: false,
                        why,
                    };
                    out.send(node, stop);
                }
            }
            Some(error) => self.bury(id, error, out),
        }
    }

    pub(super) fn worker_ended(
        &mut self,
        id: ActorId,
        cause: &DeathCause,
        nodes: &BTreeMap<NodeId, Node>,
        out: &mut Outbox,
    ) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.is_dead() {
            return;
        }
        // In a group that is gone there is no place to restart.
        let intended = matches!(cause, DeathCause::Intended {} | DeathCause::GroupRemoved { .. });
        if !intended && actor.may_restart() {
            actor.restarts += 1;
            if let Some(saves) = &mut actor.saves {
                // Those of the new process.
                (saves.saves, saves.unsaved, saves.error) = (0, 0, None);
            }
            actor.state = ActorState::Restarting {
                cause: cause.to_string(),
            };
            actor.publish(out);
            actor.place(nodes, out);
            return;
        }
        let cause = match &actor.ending {
            Some(reason) => reason.clone(),
            None if actor.restarts > 0 => format!("{cause}, after {} restarts", actor.restarts),
            None => cause.to_string(),
        };
        let error = RayError::ActorDied {
            actor: id,
            name: actor.shown_name(),
            cause,
        };
        self.bury(id, error, out);
    }

    pub(super) fn kill(&mut self, id: ActorId, no_restart: bool, out: &mut Outbox) -> GcsReply {
        let Some(actor) = self.actors.get_mut(&id) else {
            return GcsReply::Changed { changed: false };
        };
        if actor.is_dead() {
            return GcsReply::Changed { changed: false };
        }
        let cause = "it was killed by kill()".to_owned();
        if let Some(node) = actor.node {
            let stop = Frame::StopActor {
                actor: id,
                force: true,
                saves: false,
                why: cause.clone(),
            };
            out.send(node, stop);
        }
        if no_restart {
            actor.ending = Some(cause.clone());
            let error = RayError::ActorDied {
                actor: id,
                name: actor.shown_name(),
                cause,
            };
            self.bury(id, error, out);
        }
        GcsReply::Changed { changed: true }
    }

    /// News of an actor's saves, for whoever asks. Nobody is told.
    pub(super) fn saved(&mut self, id: ActorId, saves: SaveState) -> GcsReply {
        let actor = self.actors.get_mut(&id).filter(|actor| actor.saves.is_some());
        let changed = actor.is_some();
        if let Some(actor) = actor {
            actor.saves = Some(Box::new(saves));
        }
        GcsReply::Changed { changed }
    }

    pub(super) fn out_of_scope(&mut self, id: ActorId, out: &mut Outbox) -> GcsReply {
        let Some(actor) = self.actors.get(&id) else {
            return GcsReply::Changed { changed: false };
        };
        let ends = !actor.spec.detached && !actor.is_dead();
        if ends {
            self.end(id, "its last handle is gone", false, out);
        }
        GcsReply::Changed { changed: ends }
    }

    /// Tells an actor to end, never to come back.
    fn end(&mut self, id: ActorId, reason: &str, force: bool, out: &mut Outbox) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.ending = Some(reason.to_owned());
        if let Some(name) = &actor.spec.name {
            self.names.remove(&(actor.spec.namespace.clone(), name.clone()));
        }
        match actor.node {
            Some(node) => {
                let stop = Frame::StopActor {
                    actor: id,
                    force,
                    saves: true,
                    why: reason.to_owned(),
                };
                out.send(node, stop);
            }
            None => {
                let error = RayError::ActorDied {
                    actor: id,
                    name: actor.shown_name(),
                    cause: reason.to_owned(),
                };
                self.bury(id, error, out);
            }
        }
    }

    pub(super) fn owner_ended(&mut self, owner: WorkerId, out: &mut Outbox) {
        let of_owner = |actor: &Actor| actor.spec.owner == owner && !actor.spec.detached;
        self.end_all(of_owner, "the process that created it has ended", out);
    }

    pub(super) fn job_ended(&mut self, job: JobId, out: &mut Outbox) {
        self.end_all(
            |actor| actor.spec.job == job && !actor.spec.detached,
            "its job has ended",
            out,
        );
    }

    /// Whether an actor of a job lives, or will.
    pub(super) fn are_left_of(&self, job: JobId) -> bool {
        let mut actors = self.actors.values();
        actors.any(|actor| actor.spec.job == job && !actor.is_dead())
    }

    fn end_all(&mut self, which: impl Fn(&Actor) -> bool, reason: &str, out: &mut Outbox) {
        let living = self
            .actors
            .values()
            .filter(|actor| !actor.is_dead() && actor.ending.is_none());
        let ending: Vec<ActorId> = living
            .filter(|actor| which(actor))
            .map(|actor| actor.spec.actor)
            .collect();
        for id in ending {
            self.end(id, reason, true, out);
        }
    }

    pub(super) fn node_lost(&mut self, node: NodeId, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let lost = self
            .actors
            .values()
            .filter(|actor| actor.node == Some(node) && !actor.is_dead());
        let lost: Vec<ActorId> = lost.map(|actor| actor.spec.actor).collect();
        for id in lost {
            self.worker_ended(id, &DeathCause::NodeGone {}, nodes, out);
        }
    }

    pub(super) fn place_waiting(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        let waiting = self
            .actors
            .values_mut()
            .filter(|actor| actor.node.is_none() && !actor.is_dead() && !self.heirs.waits(actor.spec.actor));
        waiting.for_each(|actor| actor.place(nodes, out));
    }

    /// GA-5: after anything that may have ended an actor.
    pub(super) fn place_heirs(&mut self, nodes: &BTreeMap<NodeId, Node>, out: &mut Outbox) {
        for heir in self.heirs.take_ready() {
            if let Some(actor) = self.actors.get_mut(&heir) {
                actor.place(nodes, out);
            }
        }
    }

    pub(super) fn forget_watcher(&mut self, worker: WorkerId) {
        for actor in self.actors.values_mut() {
            actor.watchers.retain(|watcher| watcher.worker != worker);
        }
    }

    fn bury(&mut self, id: ActorId, error: RayError, out: &mut Outbox) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.state = ActorState::Dead { error };
        self.heirs.died(&actor.spec);
        actor.publish(out);
        actor.watchers.clear();
        actor.spec.args.clear();
        if let Some(name) = &actor.spec.name {
            let key = (actor.spec.namespace.clone(), name.clone());
            if self.names.get(&key) == Some(&id) {
                self.names.remove(&key);
            }
        }
        self.dead.push_back(id);
        if self.dead.len() > DEAD_KEPT
            && let Some(oldest) = self.dead.pop_front()
        {
            self.actors.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcs::state::{Effect, Gcs};

    use crate::wire::{CheckpointSpec, GcsRequest};

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
            let resources = BTreeMap::from([("CPU".to_owned(), 2.0)]);
            cluster.send(Frame::RegisterNode {
                node: cluster.node,
                resources,
            });
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
        let resources = BTreeMap::new();
        let frames = cluster.send(Frame::RegisterNode {
            node: NodeId::random(),
            resources,
        });
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
}
