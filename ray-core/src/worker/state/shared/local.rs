//! Lines of local tasks, as far as leases and threads are concerned.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use super::{CALL_LINE, Line, Permit, Receipt, Shared, State};
use crate::worker::local::{LocalLine, LocalTask};
use crate::worker::state::Out;

/// The right to run tasks of a line for a while.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) line: Arc<LocalLine>,
    pub(crate) receipt: Receipt,
    /// Under which the tasks run.
    pub(crate) hosting: Permit,
}

impl State {
    /// Makes a line known.
    pub(crate) fn local_line(&mut self, line: &Arc<LocalLine>) {
        let place = self.shared.place_of(line);
        if let Some(queue) = self.shared.lines.get_mut(place) {
            line.set_short(queue.is_short());
            queue.local = Some(line.clone());
        }
    }

    /// A task stands in this line that no thread may see without being called.
    pub(crate) fn local_pushed(&mut self, line: &Arc<LocalLine>, out: &mut Out) {
        let place = self.shared.place_of(line);
        if let Some(queue) = self.shared.lines.get_mut(place) {
            queue.local.get_or_insert_with(|| line.clone());
        }
        self.shared_request_leases(place, out);
        self.shared.summon(place, false, out);
    }

    /// Calls of actors stand in line whose turn has come.
    pub(super) fn local_calls(&mut self, calls: impl IntoIterator<Item = Arc<LocalTask>>, out: &mut Out) {
        let Some(line) = self.shared.lines.get(CALL_LINE).and_then(|line| line.local.clone()) else {
            return;
        };
        for call in calls {
            if let Err(call) = line.push(call) {
                // The session ends, and with it whoever runs them.
                out.ended.push(call);
            }
        }
        self.local_pushed(&line, out);
    }

    /// A thread of the pool serves the line's local tasks, if there are some and it is their turn.
    pub(super) fn shared_serve(&mut self, line: usize, now: Instant) -> Option<Service> {
        let queue = self.shared.lines.get_mut(line)?;
        let turn = queue.live == 0 || !queue.local_was_last;
        queue.local_was_last = turn && queue.has_local_work();
        if !queue.local_was_last {
            return None;
        }
        queue.inlined = false;
        let line_of_tasks = queue.local.clone()?;
        let permit = self.shared.permit(line)?;
        self.shared.threads.note_start();
        Some(Service::new(line_of_tasks, Some(permit), permit, now))
    }

    /// The caller serves the line itself, for tasks that it waits for. `loan`: its own permit, if it is shared work.
    pub(crate) fn local_service(
        &mut self,
        line: &Arc<LocalLine>,
        loan: Option<Permit>,
        now: Instant,
    ) -> Option<Service> {
        let place = self.shared.place_of(line);
        let loan = loan.filter(|loan| loan.line == place && loan.lease != 0);
        let permit = match loan {
            None => Some(self.shared.permit(place)?),
            Some(_) => None,
        };
        self.shared.threads.note_start();
        if let Some(queue) = self.shared.lines.get_mut(place) {
            queue.inlined = true;
        }
        Some(Service::new(line.clone(), permit, loan.or(permit)?, now))
    }
}

impl Service {
    fn new(line: Arc<LocalLine>, permit: Option<Permit>, hosting: Permit, now: Instant) -> Self {
        let receipt = Receipt {
            call: None,
            permit,
            at: now,
        };
        Self { line, receipt, hosting }
    }
}

impl Shared {
    fn place_of(&mut self, line: &LocalLine) -> usize {
        match &line.shape {
            Some(shape) => self.line_of(shape),
            None => CALL_LINE,
        }
    }

    /// Whether a thread that was about to rest must look once more: a task came that its submitter left to it (LT-4).
    pub(super) fn must_look_again(&self) -> bool {
        fence(Ordering::SeqCst);
        let is_left = |line: &Line| line.has_local_work() || line.lacks_a_lease();
        !self.threads.is_watched() && self.lines.iter().any(is_left)
    }
}
