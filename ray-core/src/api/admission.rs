//! Submission that waits for room among the pending work.

use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::blocking;
use super::object_ref::RawRef;
use super::submit::{Prepared, counted, failed};
use crate::error::RayError;
use crate::worker::context::Awaiting;
use crate::worker::state::{NewTask, Ticket};
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, context};

/// A task that waits for room. Dropped before it has any, it is never submitted.
#[derive(Debug)]
pub struct Admission(Step);

#[derive(Debug)]
enum Step {
    Waiting(Box<Waiting>),
    Over(Vec<RawRef>),
}

#[derive(Debug)]
struct Waiting {
    session: Weak<Worker>,
    task: Option<(NewTask, Prepared)>,
    /// The place in line, and what is done when there is room; `None` if there was at once.
    place: Option<(Ticket, Arc<Waiter>)>,
    returns: u32,
    /// In a task: one of its futures waits.
    awaiting: Option<Awaiting>,
    site: &'static Location<'static>,
}

impl Admission {
    pub(super) fn new(worker: &Arc<Worker>, new: NewTask, held: Prepared, site: &'static Location<'static>) -> Self {
        let bytes = new.bytes();
        Self(Step::Waiting(Box::new(Waiting {
            session: Arc::downgrade(worker),
            returns: new.returns,
            task: Some((new, held)),
            place: worker.with(|state, _, out| {
                let place = state.wait_for_room(bytes);
                if place.is_some() {
                    state.shared_waits(out);
                }
                place
            }),
            awaiting: None,
            site,
        })))
    }

    pub(super) fn over(references: Vec<RawRef>) -> Self {
        Self(Step::Over(references))
    }

    /// Waits on this thread.
    pub fn wait(self) -> Vec<RawRef> {
        let mut waiting = match self.0 {
            Step::Over(references) => return references,
            Step::Waiting(waiting) => waiting,
        };
        if let Some((_, waiter)) = waiting.place.as_ref().filter(|(_, waiter)| !waiter.is_done())
            && let Some(worker) = waiting.session.upgrade()
        {
            let block = || {
                // In a task, its CPU serves others meanwhile: what it waits for may need it.
                let _released = worker.release_cpu();
                worker.rings.wait_for(&worker, waiter, None)
            };
            if let Err(error) = blocking::allow("Submission::blocking()", "`.await` the submission", block) {
                return failed(&error, waiting.returns);
            }
        }
        waiting.submit()
    }
}

impl Waiting {
    /// There is room now.
    fn submit(&mut self) -> Vec<RawRef> {
        let (Some(worker), Some((new, mut held))) = (self.session.upgrade(), self.task.take()) else {
            return failed(&RayError::SessionEnded {}, self.returns);
        };
        worker.rings.submitting(&worker);
        let place = self.place.take();
        let results = worker.with(|state, now, out| {
            if let Some((ticket, _)) = place {
                state.use_room(ticket);
            }
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            let results = state.submit(new, now, out).results;
            held.let_go(&worker, state, out);
            Ok(results)
        });
        drop(held);
        let results = match results {
            Ok(results) => results,
            Err(error) => return failed(&error, self.returns),
        };
        let references = counted(&worker, results);
        worker.note_site(references.iter().map(RawRef::id), self.site);
        references
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((ticket, _)) = self.place.take()
            && let Some(worker) = self.session.upgrade()
        {
            worker.with(|state, _, out| state.leave_line(ticket, out));
        }
    }
}

impl Future for Admission {
    type Output = Vec<RawRef>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<RawRef>> {
        let references = match &mut self.0 {
            Step::Over(references) => std::mem::take(references),
            Step::Waiting(waiting) => {
                if let Some((_, waiter)) = &waiting.place
                    && !waiter.register(cx.waker())
                {
                    if waiting.awaiting.is_none() {
                        waiting.awaiting = context::await_others();
                    }
                    return Poll::Pending;
                }
                waiting.awaiting = None;
                waiting.submit()
            }
        };
        self.0 = Step::Over(Vec::new());
        Poll::Ready(references)
    }
}
