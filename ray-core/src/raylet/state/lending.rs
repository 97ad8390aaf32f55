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
        match &mut place.asked {
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
        if let Some(end) = place.and_then(|place| place.asked.take()?.end) {
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
            match (place.asked.take().and_then(|asked| asked.end), place.allocation.take()) {
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
        let mut asked = self.actors.values().filter_map(|place| place.asked.as_ref());
        asked.any(|asked| asked.kill().is_some())
    }

    /// Kills workers that do not answer.
    pub(super) fn end_unanswered(&mut self, now: Duration, out: &mut Effects) {
        let overdue = self.actors.values().filter_map(|place| {
            let asked = place.asked.as_ref().filter(|asked| now >= asked.at + ANSWER_WITHIN)?;
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

    use crate::raylet::state::Effect;

    use crate::wire::LeaseShape;

    const SECOND: Duration = Duration::from_secs(1);

    struct Node {
        state: State,
        driver: WorkerId,
        out: Effects,
    }

    impl Node {
        /// One CPU, no worker is kept, and each that is idle for a second ends.
        fn new() -> Self {
            let mut node = Self {
                state: State::of_cpus(1.0, 0, SECOND, Duration::ZERO),
                driver: WorkerId::random(),
                out: Effects::new(),
            };
            node.state.driver_joined(node.driver, crate::ids::JobId::new(1), 1, &mut Effects::new());
            node
        }

        fn frame(&mut self, from: WorkerId, frame: Frame) {
            self.state.frame(from, frame, Duration::ZERO, &mut self.out);
        }

        fn tick(&mut self, now: Duration) {
            self.state.tick(now, &mut self.out);
        }

        /// The worker that is to be spawned, which joins.
        fn join(&mut self) -> WorkerId {
            let spawn = |effect: &Effect| match effect {
                Effect::Spawn { worker, .. } => Some(*worker),
                _ => None,
            };
            let worker = self.out.iter().find_map(spawn).expect("a worker is spawned");
            self.out.clear();
            self.state.worker_joined(worker, Duration::ZERO, &mut self.out);
            worker
        }

        /// A worker that has served a lease and is idle.
        fn idle(&mut self) -> WorkerId {
            let shape = LeaseShape::one_cpu();
            self.frame(self.driver, Frame::RequestLease { request: 1, shape });
            let worker = self.join();
            let granted = |effect: &Effect| match effect {
                Effect::Send {
                    frame: Frame::LeaseGranted { lease, .. },
                    ..
                } => Some(*lease),
                _ => None,
            };
            let lease = self.out.iter().find_map(granted).expect("the lease is granted");
            self.frame(self.driver, Frame::ReturnLease { lease, reusable: true });
            self.out.clear();
            worker
        }

        fn start(&mut self) -> ActorId {
            let actor = ActorId::random();
            let spec = Box::new(ActorSpec {
                actor,
                owner: self.driver,
                placement: BTreeMap::from([("CPU".to_owned(), 10_000)]),
                ..ActorSpec::sample()
            });
            let frame = Frame::StartActor { spec, restarts: 0 };
            self.state.gcs_frame(frame, Duration::ZERO, &mut self.out);
            actor
        }

        fn stop(&mut self, actor: ActorId) {
            let why = "it was killed".to_owned();
            let frame = Frame::StopActor {
                actor,
                force: true,
                saves: false,
                why,
            };
            self.state.gcs_frame(frame, Duration::ZERO, &mut self.out);
        }

        /// Who is asked to become an actor, and what goes with the question.
        fn asked(&mut self) -> Option<(WorkerId, Box<ActorSpec>)> {
            let asks = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::Send {
                        frame: Frame::ConstructActor { .. },
                        ..
                    }
                )
            };
            let place = self.out.iter().position(asks)?;
            match self.out.remove(place) {
                Effect::Send {
                    to,
                    frame: Frame::ConstructActor { spec, .. },
                } => Some((to, spec)),
                _ => None,
            }
        }

        fn kills(&self) -> Vec<WorkerId> {
            let kill = |effect: &Effect| match effect {
                Effect::Kill { worker } => Some(*worker),
                _ => None,
            };
            self.out.iter().filter_map(kill).collect()
        }

        fn exits(&self) -> Vec<WorkerId> {
            let exit = |effect: &Effect| match effect {
                Effect::Send {
                    to,
                    frame: Frame::Exit {},
                } => Some(*to),
                _ => None,
            };
            self.out.iter().filter_map(exit).collect()
        }

        fn free_cpus(&self) -> f64 {
            self.state.report().available["CPU"]
        }
    }

    #[test]
    fn rl_4_a_worker_that_lends_is_neither_reaped_nor_made_an_actor_until_it_has_ceased_to() {
        let mut node = Node::new();
        let lender = node.idle();
        node.frame(lender, Frame::Lending { lends: true });
        node.tick(10 * SECOND);
        assert!(node.exits().is_empty() && !node.state.needs_ticks());
        let actor = node.start();
        assert!(node.asked().is_none());
        let other = node.join();
        assert_eq!(node.asked().unwrap().0, other);
        node.frame(other, Frame::ActorTaken { actor });
        node.stop(actor);
        assert_eq!(node.kills(), [other]);
        let killed = DeathCause::Signalled { signal: 9 };
        node.state.process_ended(other, killed, Duration::ZERO, &mut node.out);

        node.frame(lender, Frame::Lending { lends: false });
        assert!(node.state.needs_ticks());
        node.start();
        assert_eq!(node.asked().unwrap().0, lender);
    }

    #[test]
    fn an_idle_worker_that_has_ceased_to_lend_is_reaped() {
        let mut node = Node::new();
        let lender = node.idle();
        node.frame(lender, Frame::Lending { lends: true });
        node.frame(lender, Frame::Lending { lends: false });
        node.tick(10 * SECOND);
        assert_eq!(node.exits(), [lender]);
    }

    #[test]
    fn an_actor_that_is_declined_gets_another_worker_and_what_it_holds_is_taken_once() {
        let mut node = Node::new();
        let lender = node.idle();
        let actor = node.start();
        let (asked, spec) = node.asked().unwrap();
        assert_eq!(asked, lender);
        node.frame(lender, Frame::ActorDeclined { spec, restarts: 0 });
        let other = node.join();
        assert_eq!(node.asked().unwrap().0, other);
        assert_eq!(node.free_cpus(), 1.0);
        let report = node.state.report();
        let state = |id| &report.workers.iter().find(|worker| worker.worker == id).unwrap().state;
        assert_eq!((state(lender).as_str(), state(other).as_str()), ("idle", "actor"));
        node.frame(other, Frame::ActorTaken { actor });
        assert!(node.kills().is_empty());
    }

    #[test]
    fn a_worker_is_not_killed_for_an_actor_that_it_then_declines() {
        let mut node = Node::new();
        let lender = node.idle();
        let actor = node.start();
        let (_, spec) = node.asked().unwrap();
        node.stop(actor);
        assert!(node.kills().is_empty());
        node.out.clear();
        node.frame(lender, Frame::ActorDeclined { spec, restarts: 0 });
        let ended = |effect: &Effect| matches!(effect, Effect::ToGcs(Frame::WorkerEnded { actor: Some(ended), .. }) if *ended == actor);
        assert!(node.kills().is_empty() && node.out.iter().any(ended));
        assert!(node.asked().is_none() && !node.state.needs_ticks());
        assert_eq!(node.free_cpus(), 1.0);
    }

    #[test]
    fn a_worker_that_answers_late_or_never_is_killed_for_its_actor() {
        for answers in [true, false] {
            let mut node = Node::new();
            let worker = node.idle();
            let actor = node.start();
            node.asked().unwrap();
            node.stop(actor);
            assert!(node.kills().is_empty() && node.state.needs_ticks());
            if answers {
                node.frame(worker, Frame::ActorTaken { actor });
            } else {
                node.tick(ANSWER_WITHIN);
            }
            assert_eq!(node.kills(), [worker]);
        }
    }
}
