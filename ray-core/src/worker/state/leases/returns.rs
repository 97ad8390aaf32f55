//! The way of leases back to the raylet (LE-2).

use std::time::{Duration, Instant};

use super::super::{Dest, Out, State};
use super::Lease;
use crate::ids::WorkerId;
use crate::wire::Frame;
use crate::worker::shape::Shape;

/// So long others are taken to wait after the raylet has said so; while they do, it says so twice in this time.
const CROWD_LASTS: Duration = Duration::from_millis(200);

impl State {
    /// Other processes wait for leases, or none of them does as far as the raylet knows.
    pub(crate) fn note_crowd(&mut self, crowded: bool, now: Instant) {
        if crowded {
            self.crowded_until = now.checked_add(CROWD_LASTS);
        }
    }

    /// Returns the leases of a shape that have nothing to do.
    pub(super) fn return_workless(&mut self, shape: &Shape, now: Instant, out: &mut Out) {
        let Some(queue) = self.shapes.get(shape).filter(|queue| queue.waiting.is_empty()) else {
            return;
        };
        let is_idle = |id: &&u64| self.leases.get(id).is_some_and(Lease::is_idle);
        let idle: Vec<u64> = queue.leases.iter().filter(is_idle).copied().collect();
        idle.into_iter().for_each(|id| self.return_lease(id, true, now, out));
    }

    /// Others wait for resources.
    pub(crate) fn reclaim_idle(&mut self, now: Instant, out: &mut Out) {
        self.shared_reclaim(out);
        let (idle, busy): (Vec<u64>, Vec<u64>) = self
            .leases
            .keys()
            .partition(|id| self.leases.get(id).is_some_and(Lease::is_idle));
        for id in busy {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.yielding = true;
            }
        }
        idle.into_iter().for_each(|id| self.return_lease(id, true, now, out));
    }

    /// Returns leases that have been idle for long.
    pub(crate) fn check_idle_leases(&mut self, now: Instant, out: &mut Out) {
        self.idle_check_set = false;
        let linger = self.lease_linger;
        let expired = |lease: &Lease| lease.is_idle() && now.duration_since(lease.idle_since) >= linger;
        self.leases_where(expired)
            .into_iter()
            .for_each(|id| self.return_lease(id, true, now, out));
        let shared_left = self.shared_check_idle(now, out);
        if !self.leases.is_empty() || shared_left {
            self.set_idle_check(out);
        }
    }

    /// The worker is about to be killed: nothing more is pushed to it.
    pub(in super::super) fn use_no_more(&mut self, worker: WorkerId) {
        for lease in self.leases.values_mut().filter(|lease| lease.worker == worker) {
            lease.yielding = true;
        }
    }

    pub(super) fn return_lease(&mut self, id: u64, reusable: bool, now: Instant, out: &mut Out) {
        let Some(lease) = self.leases.remove(&id) else { return };
        if let Some(queue) = self.shapes.get_mut(&lease.shape) {
            queue.leases.retain(|other| *other != id);
        }
        if !lease.is_idle() {
            // A worker that ends gives back what it has not begun.
            out.take_back.push((lease.worker, None));
        }
        out.send(Dest::Raylet, Frame::ReturnLease { lease: id, reusable });
        self.drive(&lease.shape, now, out);
    }
}
