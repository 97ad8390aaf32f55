//! The bound on pending work, in bytes, and the line of those who wait for room.
//!
//! - AD-1: pending work stays under the bound, but for one task, which is always taken.
//! - AD-2: who waits is served in order; room that was granted is used or given back, once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Out, State};
use crate::error::RayError;
use crate::worker::waiter::Waiter;

/// How much work is pending, in bytes, and how much may be. What is added and removed is exact; who adds without the
/// state's lock may find room that another one takes at the same time, and then gives it back.
#[derive(Debug)]
pub(crate) struct Pending {
    bytes: AtomicU64,
    limit: u64,
}

impl Pending {
    pub(super) fn new(limit: u64) -> Self {
        let bytes = AtomicU64::new(0);
        Self { bytes, limit }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn fits(&self, bytes: u64) -> bool {
        let pending = self.bytes();
        pending == 0 || pending.saturating_add(bytes) <= self.limit
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, bytes: u64) {
        let less = |pending: u64| Some(pending.saturating_sub(bytes));
        // The closure always has a value.
        let _before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Takes room for work of this size, if it is there.
    pub(crate) fn try_add(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.remove(bytes);
        }
        fits
    }
}

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
        self.common.pending.fits(bytes)
    }

    /// Whether work of this size is taken now.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), RayError> {
        if self.fits(bytes) {
            return Ok(());
        }
        Err(RayError::PendingTasksLimit {
            pending_bytes: self.common.pending.bytes(),
            limit_bytes: self.common.pending.limit,
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
            self.common.pending.remove(bytes);
        }
        self.grant_room(out);
    }

    /// Takes the room that was granted, for the work that follows.
    pub(crate) fn use_room(&mut self, ticket: Ticket) {
        if let Some(bytes) = self.admissions.granted.remove(&ticket) {
            self.common.pending.remove(bytes);
        }
    }

    /// Work of this size has ended.
    pub(super) fn room_freed(&mut self, bytes: u64, out: &mut Out) {
        self.common.pending.remove(bytes);
        self.grant_room(out);
    }

    fn grant_room(&mut self, out: &mut Out) {
        while let Some((_, bytes, _)) = self.admissions.line.front()
            && self.fits(*bytes)
            && let Some((ticket, bytes, waiter)) = self.admissions.line.pop_front()
        {
            self.common.pending.add(bytes);
            self.admissions.granted.insert(ticket, bytes);
            out.wakes.push(waiter);
        }
    }

    /// The session ends: nobody waits any more.
    pub(super) fn dissolve_line(&mut self, out: &mut Out) {
        let line = std::mem::take(&mut self.admissions.line);
        out.wakes.extend(line.into_iter().map(|(.., waiter)| waiter));
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
        let state = state(100);
        assert!(state.admit(1000).is_ok());
        state.common.pending.add(60);
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
        state.common.pending.add(100);
        let (large, _) = state.wait_for_room(80).unwrap();
        let (small, _) = state.wait_for_room(10).unwrap();
        state.room_freed(50, &mut out);
        assert!(out.wakes.is_empty(), "the small one does not overtake the large one");
        state.room_freed(30, &mut out);
        assert_eq!((out.wakes.len(), state.common.pending.bytes()), (1, 100));
        // The large one has left without using its room.
        state.leave_line(large, &mut out);
        assert_eq!((out.wakes.len(), state.common.pending.bytes()), (2, 30));
        state.use_room(small);
        state.leave_line(small, &mut out);
        assert_eq!(state.common.pending.bytes(), 20);
    }
}
