//! Leases of the raylet under which this process runs shared tasks itself.

use std::time::Instant;

use super::super::{Dest, Out, State};
use super::{CALL_LINE, Line, Permit};
use crate::error::RayError;
use crate::wire::{Frame, HostLease};
use crate::worker::state::leases::MAX_REQUESTS;

/// Leases of one shape, at most: shapes that take no resources would get any number.
pub(super) const MAX_LEASES: usize = 64;

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: u64,
    /// By the node's index.
    pub(super) gpus: Vec<u32>,
    pub(super) busy: bool,
    /// Others wait: it goes back after the running task.
    yielding: bool,
    idle_since: Instant,
}

impl Lease {
    pub(super) fn is_free(&self) -> bool {
        !self.busy && !self.yielding
    }
}

impl State {
    /// Asks for as many leases as help, and takes back what is asked in vain.
    pub(super) fn shared_request_leases(&mut self, line: usize, out: &mut Out) {
        let runs = self.shared.threads.runs_any();
        let Some(queue) = self.shared.lines.get(line) else {
            return;
        };
        let enough = queue.is_short() && !queue.leases.is_empty() && runs;
        let wanted = if enough {
            0
        } else {
            queue.in_line().saturating_sub(queue.free)
        };
        self.shared_request(line, wanted, out);
    }

    /// Short work does not move on: it was not short after all.
    pub(super) fn shared_request_more(&mut self, line: usize, out: &mut Out) {
        let wanted = self.shared.lines.get(line).map_or(0, |queue| queue.in_line());
        self.shared_request(line, wanted, out);
    }

    fn shared_request(&mut self, line: usize, wanted: usize, out: &mut Out) {
        if line == CALL_LINE {
            return;
        }
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        let Some(shape) = &queue.shape else { return };
        let room = MAX_LEASES.saturating_sub(queue.leases.len());
        let wanted = wanted.min(MAX_REQUESTS).min(room);
        while queue.requests.len() > wanted {
            if let Some(request) = queue.requests.pop() {
                self.shared.requests.remove(&request);
                out.send(Dest::Raylet, Frame::CancelLeaseRequest { request });
            }
        }
        while queue.requests.len() < wanted {
            self.next_number += 1;
            let request = self.next_number;
            queue.requests.push(request);
            self.shared.requests.insert(request, line);
            let shape = (**shape).clone();
            out.send(Dest::Raylet, Frame::RequestLease { request, shape });
        }
    }

    /// The raylet has granted a lease of this process itself. Returns whether it was asked for as one.
    pub(in super::super) fn shared_granted(
        &mut self,
        request: u64,
        lease: &HostLease,
        now: Instant,
        out: &mut Out,
    ) -> bool {
        let Some(line) = self.shared.requests.remove(&request) else {
            return false;
        };
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return false;
        };
        queue.requests.retain(|open| *open != request);
        queue.leases.push(Lease {
            id: lease.id,
            gpus: lease.gpus.clone(),
            busy: false,
            yielding: false,
            idle_since: now,
        });
        queue.free += 1;
        self.shared_request_leases(line, out);
        self.shared.summon(line, false, out);
        self.set_idle_check(out);
        true
    }

    /// Returns whether the request was one for shared tasks.
    pub(in super::super) fn shared_refused(
        &mut self,
        request: u64,
        error: &RayError,
        now: Instant,
        out: &mut Out,
    ) -> bool {
        let Some(line) = self.shared.requests.remove(&request) else {
            return false;
        };
        if let Some(queue) = self.shared.lines.get_mut(line) {
            queue.requests.retain(|open| *open != request);
        }
        self.shared_fail_line(line, error, now, out);
        self.shared_request_leases(line, out);
        self.shared_drop_unused(line);
        true
    }

    /// A piece of work gives its permit back.
    pub(super) fn shared_permit_back(&mut self, permit: Permit, now: Instant, out: &mut Out) {
        let Permit { line, lease: id } = permit;
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        if line == CALL_LINE {
            queue.free += 1;
        } else if let Some(lease) = queue.leases.iter_mut().find(|lease| lease.id == id) {
            lease.busy = false;
            lease.idle_since = now;
            if lease.yielding {
                self.shared_return_lease(line, id, out);
            } else {
                queue.free += 1;
            }
        }
        self.shared.summon(line, false, out);
    }

    fn shared_return_lease(&mut self, line: usize, id: u64, out: &mut Out) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        if let Some(place) = queue.leases.iter().position(|lease| lease.id == id)
            && queue.leases.swap_remove(place).is_free()
        {
            queue.free = queue.free.saturating_sub(1);
        }
        out.send(
            Dest::Raylet,
            Frame::ReturnLease {
                lease: id,
                reusable: true,
            },
        );
        self.shared_request_leases(line, out);
        self.shared_drop_unused(line);
    }

    /// Others wait for resources: idle leases go back now, the others after their task.
    pub(in super::super) fn shared_reclaim(&mut self, out: &mut Out) {
        self.shared_return_where(|_| true, out);
        for lease in self.shared.lines.iter_mut().flat_map(|line| &mut line.leases) {
            lease.yielding = true;
        }
    }

    /// Leases that have been idle for long go back. Returns whether any is left.
    pub(in super::super) fn shared_check_idle(&mut self, now: Instant, out: &mut Out) -> bool {
        let linger = self.lease_linger;
        self.shared_return_where(|lease| now.duration_since(lease.idle_since) >= linger, out);
        self.shared.lines.iter().any(|line| !line.leases.is_empty())
    }

    fn shared_return_where(&mut self, which: impl Fn(&Lease) -> bool, out: &mut Out) {
        let leases = self.shared.lines.iter().enumerate().flat_map(|(line, queue)| {
            let free = queue.leases.iter().filter(|lease| lease.is_free());
            free.map(move |lease| (line, lease))
        });
        let going: Vec<(usize, u64)> = leases
            .filter(|(_, lease)| which(lease))
            .map(|(line, lease)| (line, lease.id))
            .collect();
        for (line, id) in going {
            self.shared_return_lease(line, id, out);
        }
    }

    /// A line that nothing stands in or serves is given up.
    fn shared_drop_unused(&mut self, line: usize) {
        let Some(queue) = self.shared.lines.get_mut(line).filter(|_| line != CALL_LINE) else {
            return;
        };
        let unused = queue.live == 0 && queue.leases.is_empty() && queue.requests.is_empty();
        if unused && queue.local.as_ref().is_none_or(|local| local.close_if_unused()) {
            let unused = std::mem::take::<Line>(queue);
            if let Some(shape) = unused.shape {
                self.shared.by_shape.remove(&shape);
            }
            self.shared.last = None;
        }
    }

    /// Has the leases looked after.
    pub(in super::super) fn set_idle_check(&mut self, out: &mut Out) {
        if !self.idle_check_set {
            self.idle_check_set = true;
            out.timers.push((self.lease_linger, super::super::Timer::IdleLeases));
        }
    }
}
