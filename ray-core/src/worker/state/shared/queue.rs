//! Who stands in line: work enters a line, leaves it, and is taken out of it to be started.
//!
//! What was started or cancelled out of turn stays where it stands and is passed over: how many do stand there is counted apart.

use std::time::Instant;

use super::super::{Out, State};
use super::{CALL_LINE, Entry, Permit, Started};
use crate::error::RayError;
use crate::ids::TaskId;
use crate::worker::local::Called;
use crate::worker::shape::Shape;
use crate::worker::task::Phase;

impl State {
    /// Puts a task of this process in line.
    pub(in super::super) fn shared_enqueue(&mut self, shape: &Shape, task: TaskId, out: &mut Out) {
        let line = self.shared.line_of(shape);
        self.shared_push(line, Entry::Task(task), out);
    }

    /// A task of another process has arrived. Returns the number under which it will start.
    pub(crate) fn shared_foreign(&mut self, out: &mut Out) -> u64 {
        let number = self.new_number();
        self.shared_push(CALL_LINE, Entry::Foreign(number), out);
        number
    }

    pub(super) fn shared_push(&mut self, line: usize, entry: Entry, out: &mut Out) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        queue.waiting.push_back(entry);
        queue.live += 1;
        self.shared_request_leases(line, out);
        self.shared.summon(line, false, out);
    }

    /// A task that waits in line is not to be started any more.
    pub(in super::super) fn shared_leave(&mut self, shape: &Shape, out: &mut Out) {
        let line = self.shared.line_of(shape);
        if let Some(queue) = self.shared.lines.get_mut(line) {
            queue.live = queue.live.saturating_sub(1);
        }
        self.shared_request_leases(line, out);
        self.shared_tidy(line);
    }

    /// Takes out what was started or cancelled out of turn, where it is most of the line.
    fn shared_tidy(&mut self, line: usize) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        if queue.waiting.len() > 2 * queue.live + 32 {
            let mut waiting = std::mem::take(&mut queue.waiting);
            waiting.retain(|entry| self.is_startable(entry));
            waiting.shrink_to_fit();
            if let Some(queue) = self.shared.lines.get_mut(line) {
                queue.live = waiting.len();
                queue.waiting = waiting;
            }
        }
    }

    fn is_startable(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Task(task) => self
                .tasks
                .get(task)
                .is_some_and(|pending| pending.phase == Phase::Queued),
            Entry::Call(_, _, Called::Own(task)) => {
                self.tasks.get(task).is_some_and(|pending| pending.context.is_none())
            }
            Entry::Foreign(_) | Entry::Call(_, _, Called::Foreign(_)) => true,
        }
    }

    /// The next piece of work of a line that has some.
    pub(super) fn shared_take(&mut self, line: usize, now: Instant, out: &mut Out) -> Option<Started> {
        loop {
            let queue = self.shared.lines.get_mut(line)?;
            if queue.free == 0 {
                return None;
            }
            let entry = queue.waiting.pop_front()?;
            if !self.is_startable(&entry) {
                continue;
            }
            let queue = self.shared.lines.get_mut(line)?;
            queue.live = queue.live.saturating_sub(1);
            queue.inlined = false;
            if let Some(started) = self.shared_start(line, entry, None, now, out) {
                return Some(started);
            }
        }
    }

    /// Takes the very task that the caller is about to wait for, to be run by the caller itself. `loan` is the permit of
    /// the caller, if it is itself a piece of shared work.
    pub(crate) fn shared_take_for(
        &mut self,
        task: TaskId,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        let pending = self.tasks.get(&task)?;
        if let Some(actor) = pending.actor {
            let (call, kind) = self.shared_call_in_line(actor, task)?;
            return self.shared_take_out(CALL_LINE, Entry::Call(actor, kind, Called::Own(call)), None, now, out);
        }
        let shape = &pending.template.shape;
        if !(shape.shared && self.shared.hosts && pending.phase == Phase::Queued && pending.template.runs_on_caller) {
            return None;
        }
        let shape = shape.clone();
        let line = self.shared.line_of(&shape);
        let loan = loan.filter(|loan| loan.line == line && loan.lease != 0);
        self.shared_take_out(line, Entry::Task(task), loan, now, out)
    }

    fn shared_take_out(
        &mut self,
        line: usize,
        entry: Entry,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        let queue = self.shared.lines.get_mut(line)?;
        if queue.free == 0 && loan.is_none() {
            return None;
        }
        let same = |other: Option<&Entry>| match (other, &entry) {
            (Some(Entry::Task(other)), Entry::Task(task)) => other == task,
            (Some(Entry::Call(_, _, Called::Own(other))), Entry::Call(_, _, Called::Own(task))) => other == task,
            _ => false,
        };
        if same(queue.waiting.back()) {
            queue.waiting.pop_back();
        } else if same(queue.waiting.front()) {
            queue.waiting.pop_front();
        }
        // Elsewhere it stays, and is passed over when its turn comes.
        queue.live = queue.live.saturating_sub(1);
        queue.inlined = true;
        let started = self.shared_start(line, entry, loan, now, out);
        self.shared_request_leases(line, out);
        self.shared_tidy(line);
        started
    }

    /// Fails what stands in line for a lease that will not come.
    pub(super) fn shared_fail_line(&mut self, line: usize, error: &RayError, now: Instant, out: &mut Out) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        queue.live = 0;
        if let Some(local) = &queue.local {
            out.refused.push((local.give_up(), error.clone()));
        }
        for entry in std::mem::take(&mut queue.waiting) {
            let Entry::Task(task) = entry else { continue };
            let Some(pending) = self.tasks.get(&task).filter(|pending| pending.phase == Phase::Queued) else {
                continue;
            };
            let error = error.named_for(pending.name());
            self.finish_failed(task, &error, now, out);
        }
    }
}
