//! Actors that live in a host, beside other work: on the driver's node, in the driver's process. They take nothing that is
//! scheduled, so that none of them stands in line, and the end of one is not the end of its process.

use super::actors::ActorPlace;
use super::{Effect, Effects, State};
use crate::error::RayError;
use crate::ids::{ActorId, WorkerId};
use crate::wire::{ActorSpec, DeathCause, Frame};

impl State {
    pub(super) fn start_hosted_actor(&mut self, spec: Box<ActorSpec>, restarts: u32, out: &mut Effects) {
        let actor = spec.actor;
        let Some(host) = self.host(spec.job) else {
            let error = Some(RayError::Unschedulable {
                name: spec.type_name,
                why: "the driver, which hosts the shared actors of its job, has ended".into(),
            });
            return out.push(Effect::ToGcs(Frame::ActorStarted {
                actor,
                worker: WorkerId::default(),
                pid: 0,
                error,
            }));
        };
        let place = ActorPlace {
            restartable: false,
            saved: false,
            constructed: false,
            worker: host,
            allocation: None,
            pid: self.workers.get(&host).map_or(0, |process| process.pid),
            hosted: true,
            ended_for: None,
            taking: None,
        };
        self.actors.insert(actor, place);
        let frame = Frame::ConstructActor { spec, restarts };
        out.push(Effect::Send { to: host, frame });
    }

    /// Tells the host to end it; the host tells when that is done.
    pub(super) fn stop_hosted_actor(&mut self, actor: ActorId, force: bool, why: String, out: &mut Effects) {
        let Some(place) = self.actors.get_mut(&actor) else {
            return;
        };
        if force {
            place.ended_for = Some(DeathCause::Killed { why: why.clone() });
        }
        let frame = Frame::StopActor {
            actor,
            force,
            saves: false,
            why,
        };
        out.push(Effect::Send {
            to: place.worker,
            frame,
        });
    }

    pub(super) fn is_hosted(&self, actor: ActorId, by: WorkerId) -> bool {
        let place = self.actors.get(&actor);
        place.is_some_and(|place| place.hosted && place.worker == by)
    }

    pub(super) fn hosted_actor_ended(&mut self, actor: ActorId, out: &mut Effects) {
        let Some(place) = self.actors.remove(&actor) else {
            return;
        };
        // No process has ended: nobody is named.
        out.push(Effect::ToGcs(Frame::WorkerEnded {
            worker: WorkerId::default(),
            actor: Some(actor),
            cause: place.ended_for.unwrap_or(DeathCause::Intended {}),
        }));
    }

    /// A process is dead, and the actors that it hosted with it.
    pub(super) fn hosted_actors_lost(&mut self, host: WorkerId, cause: &DeathCause, out: &mut Effects) {
        let hosted = |place: &ActorPlace| place.hosted && place.worker == host;
        for (actor, _) in self.actors.extract_if(|_, place| hosted(place)) {
            out.push(Effect::ToGcs(Frame::WorkerEnded {
                worker: WorkerId::default(),
                actor: Some(actor),
                cause: cause.clone(),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raylet::state::testing::Node;

    /// On a node without any CPU to give.
    fn started() -> (Node, ActorId) {
        let mut node = Node::new(0.0, 0);
        let actor = node.start(spec());
        (node, actor)
    }

    fn spec() -> ActorSpec {
        ActorSpec {
            name: Some("counter".into()),
            detached: true,
            shared: true,
            ..ActorSpec::sample()
        }
    }

    #[test]
    fn the_driver_constructs_it_without_a_process_or_a_cpu_and_tells_its_end() {
        let (mut node, actor) = started();
        let (driver, out) = (node.driver, node.take());
        assert!(
            matches!(&out[..], [Effect::Send { to, frame: Frame::ConstructActor { .. } }] if *to == driver),
            "{out:?}"
        );
        node.frame(driver, Frame::ActorConstructed { actor, error: None });
        let out = node.take();
        assert!(
            matches!(&out[..], [Effect::ToGcs(Frame::ActorStarted { worker, pid: 7, error: None, .. })] if *worker == driver),
            "{out:?}"
        );
        node.stop(actor, true);
        let out = node.take();
        assert!(
            matches!(&out[..], [Effect::Send { to, frame: Frame::StopActor { .. } }] if *to == driver),
            "{out:?}"
        );
        node.frame(driver, Frame::ActorExiting { actor, intended: true });
        let out = node.take();
        let killed = |cause: &DeathCause| matches!(cause, DeathCause::Killed { why } if why == "enough");
        assert!(
            matches!(&out[..], [Effect::ToGcs(Frame::WorkerEnded { worker, actor: Some(ended), cause })]
                if *worker == WorkerId::default() && *ended == actor && killed(cause)),
            "{out:?}"
        );
    }

    #[test]
    fn it_dies_with_its_host_and_has_none_afterwards() {
        let (mut node, actor) = started();
        node.die(node.driver);
        let of_actor = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::WorkerEnded { actor: Some(ended), .. }) if *ended == actor);
        assert_eq!(node.take().iter().filter(|effect| of_actor(effect)).count(), 1);
        node.start(spec());
        let out = node.take();
        assert!(
            matches!(&out[..], [Effect::ToGcs(Frame::ActorStarted { error: Some(_), .. })]),
            "{out:?}"
        );
    }

    #[test]
    fn a_constructor_that_fails_ends_no_process() {
        let (mut node, actor) = started();
        node.take();
        let error = Some(RayError::internal("constructor"));
        node.frame(node.driver, Frame::ActorConstructed { actor, error });
        let out = node.take();
        assert!(
            matches!(&out[..], [Effect::ToGcs(Frame::ActorStarted { error: Some(_), .. })]),
            "{out:?}"
        );
        assert!(!node.state.is_hosted(actor, node.driver));
    }
}
