//! The bound on pending work, in bytes, and the line of those who wait for room.
//!
//! - AD-1: pending work stays under the bound, but for one task, which is always taken.
//! - AD-2: who waits is served in order; room that was granted is used or given back, once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Out, State};
use crate::error::RayError;
use crate::worker::waiter::Waiter;

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// Who waits for room.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    line: VecDeque<(Ticket, u64, Arc<Waiter>)>,
    granted: HashMap<Ticket, u64>,
    next: u64,
}

impl State {
    fn fits(&self, bytes: u64) -> bool {
        self.pending_bytes == 0 || self.pending_bytes.saturating_add(bytes) <= self.max_pending_bytes
    }

    /// Whether work of this size is taken now.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), RayError> {
        if self.fits(bytes) {
            return Ok(());
        }
        Err(RayError::PendingTasksLimit {
            pending_bytes: self.pending_bytes,
            limit_bytes: self.max_pending_bytes,
        })
    }

    /// Stands in line for room; `None` if there is room at once.
    pub(crate) fn wait_for_room(&mut self, bytes: u64) -> Option<(Ticket, Arc<Waiter>)> {
        if self.ended.is_some() || (self.admissions.line.is_empty() && self.fits(bytes)) {
            return None;
        }
        self.admissions.next += 1;
        let (ticket, waiter) = (Ticket(self.admissions.next), Arc::new(Waiter::new(1)));
        self.admissions.line.push_back((ticket, bytes, waiter.clone()));
        Some((ticket, waiter))
    }

    /// Gives up a place in line, or the room that was granted: to be used at once, or by others.
    pub(crate) fn leave_line(&mut self, ticket: Ticket, out: &mut Out) {
        self.admissions.line.retain(|(other, ..)| *other != ticket);
        if let Some(bytes) = self.admissions.granted.remove(&ticket) {
            self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        }
        self.grant_room(out);
    }

    /// Takes the room that was granted, for the work that follows.
    pub(crate) fn use_room(&mut self, ticket: Ticket) {
        if let Some(bytes) = self.admissions.granted.remove(&ticket) {
            self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        }
    }

    /// Work of this size has ended.
    pub(super) fn room_freed(&mut self, bytes: u64, out: &mut Out) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.grant_room(out);
    }

    fn grant_room(&mut self, out: &mut Out) {
        while let Some((_, bytes, _)) = self.admissions.line.front()
            && self.fits(*bytes)
            && let Some((ticket, bytes, waiter)) = self.admissions.line.pop_front()
        {
            self.pending_bytes += bytes;
            self.admissions.granted.insert(ticket, bytes);
            out.wakes.push(waiter);
        }
    }

    /// The session ends: nobody waits any more.
    pub(super) fn dissolve_line(&mut self, out: &mut Out) {
        let line = std::mem::take(&mut self.admissions.line);
        out.wakes.extend(line.into_iter().map(|(.., waiter)| waiter));
        self.pending_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Cluster;
    use crate::ids::WorkerId;

    fn state(bound: u64) -> State {
        let config = Cluster {
            max_pending_task_bytes: Some(bound),
            ..Cluster::default()
        };
        State::new(WorkerId::random(), &config)
    }

    #[test]
    fn ad_1_one_task_is_always_taken_and_no_more_than_the_bound() {
        let mut state = state(100);
        assert!(state.admit(1000).is_ok());
        state.pending_bytes = 60;
        assert!(state.admit(40).is_ok());
        let error = state.admit(41).unwrap_err();
        assert!(
            matches!(
                error,
                RayError::PendingTasksLimit {
                    pending_bytes: 60,
                    limit_bytes: 100
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn ad_2_room_goes_to_those_who_wait_in_order_and_comes_back_from_those_who_left() {
        let mut state = state(100);
        let mut out = Out::new(Instant::now());
        state.pending_bytes = 100;
        let (large, _) = state.wait_for_room(80).unwrap();
        let (small, _) = state.wait_for_room(10).unwrap();
        state.room_freed(50, &mut out);
        assert!(out.wakes.is_empty(), "the small one does not overtake the large one");
        state.room_freed(30, &mut out);
        assert_eq!((out.wakes.len(), state.pending_bytes), (1, 100));
        // The large one has left without using its room.
        state.leave_line(large, &mut out);
        assert_eq!((out.wakes.len(), state.pending_bytes), (2, 30));
        state.use_room(small);
        state.leave_line(small, &mut out);
        assert_eq!(state.pending_bytes, 20);
    }
}
