//! Workers that lend, and actors that were given to a worker which had begun to (RL-4).
//!
//! What a worker says of itself may be on its way while its owner's word that it is free is here already: so a worker is
//! asked whether it takes an actor, and until it has answered nothing ends it for the sake of that actor.

use std::time::Duration;

use super::grants::Granted;
use super::requests::For;
use super::{Effect, Effects, State};
use crate::ids::{ActorId, WorkerId};
use crate::wire::{ActorSpec, DeathCause, Frame};

/// A worker that does not answer for this long is stuck: who ends its actor ends it then, whatever it may lend.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A worker was asked to become an actor and has not answered.
#[derive(Debug)]
pub(super) struct Taking {
    at: Duration,
    end: Option<End>,
}

/// How the actor is to end.
#[derive(Debug)]
enum End {
    Kill(DeathCause),
    Exit,
}

impl Taking {
    pub(super) fn asked_at(now: Duration) -> Self {
        Self { at: now, end: None }
    }

    /// Why the actor is to be killed.
    fn kill(&self) -> Option<&DeathCause> {
        match &self.end {
            Some(End::Kill(cause)) => Some(cause),
            Some(End::Exit) | None => None,
        }
    }
}

impl State {
    /// A worker begins to lend, or ceases to.
    pub(super) fn lending(&mut self, worker: WorkerId, lends: bool, now: Duration, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.lends = lends;
        }
        if !lends {
            // An actor may wait for it.
            self.schedule(now, out);
        }
    }

    /// Ends an actor that was given to a worker: for this cause, or by asking. Not before the worker has said that it
    /// is that actor.
    pub(super) fn end_placed(&mut self, actor: ActorId, kill: Option<DeathCause>, out: &mut Effects) {
        let Some(place) = self.actors.get_mut(&actor) else {
            return;
        };
        let end = kill.map_or(End::Exit, End::Kill);
        match &mut place.taking {
            Some(asked) if asked.kill().is_some() => {}
            Some(asked) => asked.end = Some(end),
            None => {
                let worker = place.worker;
                self.end_actor_in(worker, end, out);
            }
        }
    }

    fn end_actor_in(&mut self, worker: WorkerId, end: End, out: &mut Effects) {
        match end {
            End::Kill(cause) => self.kill(worker, cause, out),
            End::Exit => out.push(Effect::Send {
                to: worker,
                frame: Frame::Exit {},
            }),
        }
    }

    /// The worker is the actor from now on.
    pub(super) fn actor_taken(&mut self, from: WorkerId, actor: ActorId, out: &mut Effects) {
        let place = self.actors.get_mut(&actor).filter(|place| place.worker == from);
        if let Some(end) = place.and_then(|place| place.taking.take()?.end) {
            self.end_actor_in(from, end, out);
        }
    }

    /// The worker has begun to lend: the actor gets another one.
    pub(super) fn actor_declined(
        &mut self,
        from: WorkerId,
        spec: Box<ActorSpec>,
        restarts: u32,
        now: Duration,
        out: &mut Effects,
    ) {
        let actor = spec.actor;
        let fits = self.actors.get(&actor).is_some_and(|place| place.worker == from);
        let Some(mut place) = fits.then(|| self.actors.remove(&actor)).flatten() else {
            return;
        };
        if let Some(process) = self.workers.get_mut(&from) {
            process.lends = true;
            let gpus = process.gpus.clone();
            // One that is being killed serves nobody any more.
            if process.ended_for.is_none() {
                self.workers.set_idle(from, now);
            }
            match (place.taking.take().and_then(|asked| asked.end), place.allocation.take()) {
                (None, Some(allocation)) => {
                    let job = spec.job;
                    let asked = For::Actor { spec, restarts };
                    self.granted.push_front(Granted {
                        asked,
                        job,
                        allocation,
                        gpus,
                    });
                }
                (end, allocation) => {
                    if let Some(allocation) = allocation {
                        self.resources.release(allocation);
                    }
                    let cause = match end {
                        Some(End::Kill(cause)) => cause,
                        Some(End::Exit) | None => DeathCause::Intended {},
                    };
                    // No process was this actor yet.
                    out.push(Effect::ToGcs(Frame::WorkerEnded {
                        worker: WorkerId::default(),
                        actor: Some(actor),
                        cause,
                    }));
                }
            }
        }
        self.schedule(now, out);
    }

    /// Whether an actor is to be killed whose worker has not answered.
    pub(super) fn has_unanswered(&self) -> bool {
        let mut asked = self.actors.values().filter_map(|place| place.taking.as_ref());
        asked.any(|asked| asked.kill().is_some())
    }

    /// Kills workers that do not answer.
    pub(super) fn end_unanswered(&mut self, now: Duration, out: &mut Effects) {
        let overdue = self.actors.values().filter_map(|place| {
            let asked = place.taking.as_ref().filter(|asked| now >= asked.at + ANSWER_WITHIN)?;
            Some((place.worker, asked.kill()?.clone()))
        });
        let overdue: Vec<(WorkerId, DeathCause)> = overdue.collect();
        for (worker, cause) in overdue {
            self.kill(worker, cause, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raylet::state::testing::{IDLE_TIME, Node};

    /// A worker that has served a lease and is idle.
    fn idle(node: &mut Node) -> WorkerId {
        node.request(node.driver, 1);
        let worker = node.join()[0];
        let (lease, _) = node.grants()[0];
        node.give_back(node.driver, lease);
        node.take();
        worker
    }

    fn start(node: &mut Node) -> ActorId {
        node.start(ActorSpec {
            owner: node.driver,
            placement: BTreeMap::from([("CPU".to_owned(), 10_000)]),
            ..ActorSpec::sample()
        })
    }

    /// Who is asked to become an actor, and what goes with the question.
    fn asked(node: &mut Node) -> Option<(WorkerId, Box<ActorSpec>)> {
        let asks = |effect: &mut Effect| {
            matches!(
                effect,
                Effect::Send {
                    frame: Frame::ConstructActor { .. },
                    ..
                }
            )
        };
        match node.out.extract_if(.., asks).next()? {
            Effect::Send {
                to,
                frame: Frame::ConstructActor { spec, .. },
            } => Some((to, spec)),
            _ => None,
        }
    }

    fn free_cpus(node: &Node) -> f64 {
        node.state.report().available["CPU"]
    }

    #[test]
    fn rl_4_a_worker_that_lends_is_neither_reaped_nor_made_an_actor_until_it_has_ceased_to() {
        let mut node = Node::new(1.0, 0);
        let lender = idle(&mut node);
        node.frame(lender, Frame::Lending { lends: true });
        node.at(10 * IDLE_TIME).tick();
        assert!(node.exits().is_empty() && !node.state.needs_ticks());
        let actor = start(&mut node);
        assert!(asked(&mut node).is_none());
        let other = node.join()[0];
        assert_eq!(asked(&mut node).unwrap().0, other);
        node.frame(other, Frame::ActorTaken { actor });
        node.stop(actor, false);
        assert_eq!(node.kills(), [other]);
        node.die(other);

        node.frame(lender, Frame::Lending { lends: false });
        assert!(node.state.needs_ticks());
        start(&mut node);
        assert_eq!(asked(&mut node).unwrap().0, lender);
    }

    #[test]
    fn an_idle_worker_that_has_ceased_to_lend_is_reaped() {
        let mut node = Node::new(1.0, 0);
        let lender = idle(&mut node);
        node.frame(lender, Frame::Lending { lends: true });
        node.frame(lender, Frame::Lending { lends: false });
        node.at(10 * IDLE_TIME).tick();
        assert_eq!(node.exits(), [lender]);
    }

    #[test]
    fn an_actor_that_is_declined_gets_another_worker_and_what_it_holds_is_taken_once() {
        let mut node = Node::new(1.0, 0);
        let lender = idle(&mut node);
        let actor = start(&mut node);
        let (taker, spec) = asked(&mut node).unwrap();
        assert_eq!(taker, lender);
        node.frame(lender, Frame::ActorDeclined { spec, restarts: 0 });
        let other = node.join()[0];
        assert_eq!(asked(&mut node).unwrap().0, other);
        assert_eq!(free_cpus(&node), 1.0);
        let report = node.state.report();
        let state = |id| &report.workers.iter().find(|worker| worker.worker == id).unwrap().state;
        assert_eq!((state(lender).as_str(), state(other).as_str()), ("idle", "actor"));
        node.frame(other, Frame::ActorTaken { actor });
        assert!(node.kills().is_empty());
    }

    #[test]
    fn a_worker_is_not_killed_for_an_actor_that_it_then_declines() {
        let mut node = Node::new(1.0, 0);
        let lender = idle(&mut node);
        let actor = start(&mut node);
        let (_, spec) = asked(&mut node).unwrap();
        node.stop(actor, false);
        assert!(node.kills().is_empty());
        node.take();
        node.frame(lender, Frame::ActorDeclined { spec, restarts: 0 });
        let ended = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::WorkerEnded { actor: Some(ended), .. }) if *ended == actor);
        assert!(node.kills().is_empty() && node.out.iter().any(ended));
        assert!(asked(&mut node).is_none() && !node.state.needs_ticks());
        assert_eq!(free_cpus(&node), 1.0);
    }

    #[test]
    fn a_worker_that_answers_late_or_never_is_killed_for_its_actor() {
        for answers in [true, false] {
            let mut node = Node::new(1.0, 0);
            let worker = idle(&mut node);
            let actor = start(&mut node);
            asked(&mut node).unwrap();
            node.stop(actor, false);
            assert!(node.kills().is_empty() && node.state.needs_ticks());
            if answers {
                node.frame(worker, Frame::ActorTaken { actor });
            } else {
                node.at(ANSWER_WITHIN).tick();
            }
            assert_eq!(node.kills(), [worker]);
        }
    }
}
