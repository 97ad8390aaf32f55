//! Actors whose state is saved once more before they end: their job, their creator or the session has ended.

use std::collections::HashMap;
use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{ActorId, IdHasher, WorkerId};
use crate::wire::{DeathCause, Frame};

/// Workers that save and end.
#[derive(Debug)]
pub(super) struct LastSaves {
    /// How long each gets.
    within: Duration,
    /// When each is killed.
    until: HashMap<WorkerId, Duration, IdHasher>,
}

impl LastSaves {
    pub(super) fn new(within: Duration) -> Self {
        Self {
            within,
            until: HashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(super) fn died(&mut self, worker: WorkerId) {
        self.until.remove(&worker);
    }
}

impl State {
    /// Has an actor saved and ended. `false`: there is nothing that it could save.
    pub(super) fn save_and_end(&mut self, actor: ActorId, why: &str, now: Duration, out: &mut Effects) -> bool {
        let Some(place) = self.actors.get(&actor).filter(|place| place.saved && place.constructed) else {
            return false;
        };
        let worker = place.worker;
        if let Some(process) = self.workers.get_mut(&worker)
            && !self.last_saves.until.contains_key(&worker)
        {
            process
                .ended_for
                .get_or_insert(DeathCause::Killed { why: why.to_owned() });
            self.last_saves.until.insert(worker, now + self.last_saves.within);
            out.push(Effect::Send {
                to: worker,
                frame: Frame::SaveAndExit {},
            });
        }
        true
    }

    /// The session ends: all actors that can are to save. Returns who has not ended, with what it is, and when the last of
    /// them is to be killed.
    pub(in crate::raylet) fn save_all(
        &mut self,
        now: Duration,
        out: &mut Effects,
    ) -> (HashMap<WorkerId, String>, Duration) {
        let actors: Vec<ActorId> = self.actors.keys().copied().collect();
        for actor in actors {
            self.save_and_end(actor, "its session has ended", now, out);
        }
        let named = self.last_saves.until.keys().map(|worker| {
            let serves = self.workers.get(worker).map(|process| process.serves.clone());
            (*worker, serves.unwrap_or_default())
        });
        let until = self.last_saves.until.values().max().copied();
        (named.collect(), until.unwrap_or(now))
    }

    /// Kills those whose time is over.
    pub(super) fn end_last_saves(&mut self, now: Duration, out: &mut Effects) {
        let late = self.last_saves.until.iter().filter(|(_, until)| now >= **until);
        let late: Vec<WorkerId> = late.map(|(worker, _)| *worker).collect();
        for worker in late {
            self.last_saves.died(worker);
            let serves = self.workers.get(&worker).map(|process| process.serves.clone());
            warn_unsaved(&serves.unwrap_or_default(), self.last_saves.within);
            out.push(Effect::Kill { worker });
        }
    }
}

/// Tells that the last state of an actor is lost.
pub(in crate::raylet) fn warn_unsaved(actor: &str, within: Duration) {
    tracing::warn!(target: "ray_core::raylet", "the actor `{actor}` was ended before its last state was saved: a call ran, or the save took, longer than {within:?}; `checkpoint_at_end_ms` sets the time");
}

#[cfg(test)]
mod tests {
    use super::super::actors::ActorPlace;
    use super::*;
    use crate::raylet::state::testing::{Node, SAVES_WITHIN};
    use crate::raylet::workers::Role;

    fn add_actor(state: &mut State, saved: bool, constructed: bool) -> (ActorId, WorkerId) {
        let (actor, worker) = (ActorId::random(), WorkerId::random());
        state
            .workers
            .add(worker, crate::ids::JobId::new(1), 7, Role::Actor(actor), Vec::new());
        let place = ActorPlace {
            restartable: true,
            saved,
            constructed,
            worker,
            allocation: None,
            pid: 7,
            hosted: false,
            taking: None,
            ended_for: None,
        };
        state.actors.insert(actor, place);
        (actor, worker)
    }

    fn is_save(effect: &Effect, worker: WorkerId) -> bool {
        matches!(effect, Effect::Send { to, frame: Frame::SaveAndExit {} } if *to == worker)
    }

    #[test]
    fn an_actor_that_is_saved_gets_its_time_once_and_is_killed_then() {
        let mut node = Node::new(1.0, 0);
        let (actor, worker) = add_actor(&mut node.state, true, true);
        node.stop(actor, true);
        let out = node.take();
        assert!(matches!(&out[..], [effect] if is_save(effect, worker)), "{out:?}");
        node.stop(actor, true);
        assert!(node.out.is_empty() && node.state.needs_ticks());
        node.at(SAVES_WITHIN / 2).tick();
        assert!(node.kills().is_empty());
        node.at(SAVES_WITHIN).tick();
        assert_eq!(node.kills(), [worker]);
        assert!(node.state.last_saves.is_empty());
    }

    #[test]
    fn one_that_has_nothing_to_save_or_is_killed_ends_at_once() {
        let mut node = Node::new(1.0, 0);
        for (saved, constructed, saves) in [(false, true, true), (true, false, true), (true, true, false)] {
            let (actor, worker) = add_actor(&mut node.state, saved, constructed);
            node.stop(actor, saves);
            let out = node.take();
            assert!(
                matches!(out[..], [Effect::Kill { worker: killed }] if killed == worker),
                "{out:?}"
            );
        }
    }

    #[test]
    fn at_the_end_of_the_session_those_that_save_are_waited_for_by_name_until_they_have_died() {
        let mut node = Node::new(1.0, 0);
        add_actor(&mut node.state, false, true);
        let (_, first) = add_actor(&mut node.state, true, true);
        let (_, second) = add_actor(&mut node.state, true, true);
        let (named, until) = node.state.save_all(node.now, &mut node.out);
        assert!(named.len() == 2 && named.contains_key(&first) && named.contains_key(&second));
        assert_eq!((until, node.take().len()), (SAVES_WITHIN, 2));
        node.die(first);
        node.take();
        let (named, _) = node.state.save_all(node.now, &mut node.out);
        assert!(named.len() == 1 && named.contains_key(&second) && node.out.is_empty());
    }
}
