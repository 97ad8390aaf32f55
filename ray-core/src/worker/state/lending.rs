//! What this process has that others use, and telling the raylet of it, which else would take an idle worker for one that
//! nobody would miss.
//!
//! - LD-1: a worker that begins to lend says so before anything leaves that lets others know.
//! - LD-2: that it has ceased to is told once it is seen a while later that it still has: so work that lends and takes back
//!   in turns costs two frames a while, and not two a task.
//! - LD-3: a worker becomes an actor only while it lends nothing. What it lends as an actor ends with the actor.

use std::time::Duration;

use super::{Dest, Out, Outgoing, State, Timer};
use crate::ids::ActorId;
use crate::wire::{ActorSpec, Frame};

/// How long after the end of its lending a worker looks whether that has lasted.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// What the raylet knows.
#[derive(Debug, Default)]
pub(super) struct Lending {
    /// Whether it is told at all: this is a worker that serves tasks.
    tells: bool,
    told: bool,
    /// A look is due.
    look_set: bool,
}

impl State {
    /// From now on the raylet is told: this process is a worker.
    pub(crate) fn tell_of_lending(&mut self) {
        self.lending.tells = true;
    }

    /// Whether others hold objects of this process, or run its tasks: then ending it would lose something.
    pub(crate) fn lends(&self) -> bool {
        self.refs.is_lending() || !self.tasks.is_empty()
    }

    /// After each change: whether there is news for the raylet.
    pub(crate) fn note_lending(&mut self, out: &mut Out) {
        let lending = &self.lending;
        if !lending.tells || lending.told == self.lends() {
            return;
        }
        if lending.told {
            if !lending.look_set {
                self.lending.look_set = true;
                out.timers.push((LOOK_AFTER, Timer::LendsNoMore));
            }
        } else {
            self.lending.told = true;
            // LD-1.
            let frame = Outgoing::Frame(Frame::Lending { lends: true });
            out.sends.insert(0, (Dest::Raylet, frame));
        }
    }

    /// LD-2.
    pub(super) fn lends_no_more(&mut self, out: &mut Out) {
        self.lending.look_set = false;
        if self.lending.tells && self.lending.told && !self.lends() {
            self.lending.told = false;
            out.send(Dest::Raylet, Frame::Lending { lends: false });
        }
    }

    /// LD-3: whether this process becomes the actor. The raylet hears of it.
    pub(crate) fn takes_actor(&mut self, spec: &ActorSpec, restarts: u32, out: &mut Out) -> bool {
        let taken = !self.lends();
        let frame = if taken {
            self.lending.tells = false;
            let actor: ActorId = spec.actor;
            Frame::ActorTaken { actor }
        } else {
            let spec = Box::new(spec.clone());
            Frame::ActorDeclined { spec, restarts }
        };
        out.send(Dest::Raylet, frame);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Cluster;
    use crate::ids::{ObjectId, WorkerId};
    use crate::worker::refs::Hold;

    fn told(out: &mut Out) -> Vec<bool> {
        let lends = |(_, outgoing): (Dest, Outgoing)| match outgoing {
            Outgoing::Frame(Frame::Lending { lends }) => Some(lends),
            _ => None,
        };
        out.sends.drain(..).filter_map(lends).collect()
    }

    fn lend(state: &mut State, to: WorkerId, out: &mut Out) -> ObjectId {
        let object = state.new_put(&[], out);
        state.hand_over(object, to, out);
        state.drop_handle(object, out);
        object
    }

    #[test]
    fn ld_1_2_the_raylet_hears_of_the_first_loan_at_once_and_of_the_end_when_it_lasts() {
        let (me, borrower) = (WorkerId::random(), WorkerId::random());
        let mut state = State::new(me, &Cluster::default());
        state.tell_of_lending();
        let now = Instant::now();
        let out = &mut Out::new(now);
        state.note_lending(out);
        assert!(told(out).is_empty());

        let first = lend(&mut state, borrower, out);
        state.note_lending(out);
        assert!(matches!(
            out.sends.first(),
            Some((Dest::Raylet, Outgoing::Frame(Frame::Lending { lends: true })))
        ));
        out.sends.clear();
        let second = lend(&mut state, borrower, out);
        state.released(first, borrower, 1, out);
        state.note_lending(out);
        assert!(told(out).is_empty() && out.timers.is_empty());

        // It ends, begins again before the look, and ends for good.
        state.released(second, borrower, 1, out);
        state.note_lending(out);
        state.note_lending(out);
        assert_eq!(out.timers.len(), 1);
        let third = lend(&mut state, borrower, out);
        state.timer(Timer::LendsNoMore, now, out);
        state.note_lending(out);
        assert!(told(out).is_empty());
        state.released(third, borrower, 1, out);
        state.note_lending(out);
        assert_eq!(out.timers.len(), 2);
        state.timer(Timer::LendsNoMore, now, out);
        assert_eq!(told(out), [false]);
        state.note_lending(out);
        assert!(told(out).is_empty());
    }

    #[test]
    fn a_driver_tells_nothing() {
        let mut state = State::new(WorkerId::random(), &Cluster::default());
        let out = &mut Out::new(Instant::now());
        let object = state.new_task_id().object(1);
        state.refs.own(object, Hold::Handle);
        state.hand_over(object, WorkerId::random(), out);
        assert!(state.lends());
        state.note_lending(out);
        assert!(out.sends.is_empty() && out.timers.is_empty());
    }
}
