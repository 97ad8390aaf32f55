//! What a thread of the pool does next, and when one is called: lines take turns (SH-4), and no work stays unseen (SH-3).

use std::time::Instant;

use super::super::{Dest, Out, State};
use super::{CALL_LINE, Line, Look, Next, Permit, Shared};
use crate::wire::Frame;

impl State {
    /// The next piece of work for a thread of the pool, or how long it rests. `worked`: it comes from one.
    pub(crate) fn shared_next(&mut self, look: &mut Look, worked: bool, now: Instant, out: &mut Out) -> Next {
        let mut timed_out = self.shared.threads.arrive(look, worked);
        let mut worked = worked;
        if self.ended.is_some() {
            self.shared.threads.leave();
            return Next::End;
        }
        loop {
            if let Some(next) = self.shared_look(look, worked, now, out) {
                return next;
            }
            let next = self.shared.threads.rest(look, timed_out, now);
            if !self.shared.must_look_again() {
                return next;
            }
            self.shared.threads.stay(look, &next);
            (timed_out, worked) = (false, false);
        }
    }

    /// Work for a thread of the pool, if there is some that it should do.
    fn shared_look(&mut self, look: &mut Look, worked: bool, now: Instant, out: &mut Out) -> Option<Next> {
        let moving = self.shared.threads.has_moved_since(look);
        for step in 0..self.shared.lines.len() {
            let line = (self.shared.turn + step) % self.shared.lines.len();
            let Some(queue) = self.shared.lines.get(line) else {
                continue;
            };
            if queue.in_line() > 0 && queue.free == 0 && !moving && !worked {
                self.shared_request_more(line, out);
                continue;
            }
            // SH-3: a thread that has just come leaves short work to the one that runs, as long as that moves on.
            let left_to_others = !worked && moving && queue.is_short() && self.shared.threads.runs_any();
            if !queue.has_work() || left_to_others {
                continue;
            }
            let next = match self.shared_serve(line, now) {
                Some(service) => Some(Next::Serve(service)),
                None => self.shared_take(line, now, out).map(Next::Run),
            };
            if let Some(next) = next {
                self.shared.turn = line + 1;
                self.shared.threads.begins(look);
                return Some(next);
            }
        }
        None
    }

    /// The thread of a piece of work waits for an object.
    pub(crate) fn shared_blocked(&mut self, permit: Permit, in_pool: bool, out: &mut Out) {
        if permit.lease != 0 {
            out.send(Dest::Raylet, Frame::Blocked { lease: permit.lease });
        } else if let Some(line) = self.shared.lines.get_mut(permit.line)
            && permit.line == CALL_LINE
        {
            line.free += 1;
        }
        if in_pool {
            self.shared.threads.blocks(true);
        }
        self.shared_waits(out);
    }

    /// It goes on.
    pub(crate) fn shared_unblocked(&mut self, permit: Permit, in_pool: bool, out: &mut Out) {
        if permit.lease != 0 {
            out.send(Dest::Raylet, Frame::Unblocked { lease: permit.lease });
        } else if let Some(line) = self.shared.lines.get_mut(permit.line)
            && permit.line == CALL_LINE
        {
            line.free = line.free.saturating_sub(1);
        }
        if in_pool {
            self.shared.threads.blocks(false);
        }
    }

    /// Somebody is about to wait: what was left for its caller to run must go its way without it.
    pub(crate) fn shared_waits(&mut self, out: &mut Out) {
        for line in 0..self.shared.lines.len() {
            if self.shared.lines.get(line).is_some_and(Line::has_work) {
                self.shared.summon(line, true, out);
            }
        }
    }
}

impl Shared {
    /// Calls a thread for a line that has got work or a permit, where that helps. `now_waited_for`: no caller will come.
    pub(super) fn summon(&mut self, line: usize, now_waited_for: bool, out: &mut Out) {
        let Some(queue) = self.lines.get(line) else { return };
        let in_line = queue.in_line();
        if in_line == 0 {
            return;
        }
        if self.threads.runs_any() && queue.is_short() {
            self.threads.ensure_watch(out);
            return;
        }
        if queue.free == 0 {
            return;
        }
        // What is short is left, also in numbers, until somebody waits for it or the dozing thread looks.
        let can_wait = (in_line == 1 && queue.inlined) || queue.is_short();
        if can_wait && !now_waited_for && self.threads.is_watched() {
            return;
        }
        self.threads.call(in_line.min(queue.free), out);
    }
}
