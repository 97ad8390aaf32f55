//! A line of shared work, and the permits under which its work runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Shared;
use super::leases::{Lease, MAX_LEASES};
use crate::ids::{ActorId, TaskId};
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Called, LocalLine};
use crate::worker::shape::Shape;

/// Calls of actors that run on threads at once. Those that wait for an object do not count.
pub(super) const CALLS: usize = 64;
/// The line of actor calls, and of what other processes have sent.
pub(super) const CALL_LINE: usize = 0;
/// Work that is shorter than this is done sooner by the thread that runs already than by one that must be woken.
const SHORT: Duration = Duration::from_micros(4);

/// The right to run one piece of work of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(super) line: usize,
    /// The raylet's number of the lease; 0 for a call.
    pub(crate) lease: u64,
}

impl Permit {
    /// The lease of another process, under which it has sent a task here.
    pub(crate) fn foreign(lease: u64) -> Self {
        Self { line: CALL_LINE, lease }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Task(TaskId),
    /// A task of another process, by the executor's number.
    Foreign(u64),
    /// A call that its actor's queue has started.
    Call(ActorId, Kind, Called),
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) shape: Option<Shape>,
    pub(super) waiting: VecDeque<Entry>,
    /// How many of `waiting` have not been started by their own caller or cancelled.
    pub(super) live: usize,
    /// Tasks of this shape that are outside the state stand here.
    pub(super) local: Option<Arc<LocalLine>>,
    /// Local tasks were served last.
    pub(super) local_was_last: bool,
    pub(super) leases: SmallVec<[Lease; 2]>,
    /// Permits that are free.
    pub(super) free: usize,
    pub(super) requests: Vec<u64>,
    /// The shortest run time lately.
    pub(super) run_time: Option<Duration>,
    /// The last piece of work was run by the caller that waited for it.
    pub(super) inlined: bool,
}

impl Line {
    pub(super) fn is_short(&self) -> bool {
        self.run_time.is_some_and(|time| time < SHORT)
    }

    /// Falls at once and rises slowly: what is measured may include waiting for the lock.
    pub(super) fn note_run_time(&mut self, time: Duration) {
        self.run_time = Some(match self.run_time {
            Some(known) if known < time => known + (time - known) / 16,
            _ => time,
        });
        if let Some(local) = &self.local {
            local.set_short(self.is_short());
        }
    }

    /// How much stands in line, local tasks included.
    pub(super) fn in_line(&self) -> usize {
        self.live + self.local.as_ref().map_or(0, |local| local.waiting())
    }

    pub(super) fn has_local_work(&self) -> bool {
        self.free > 0 && self.local.as_ref().is_some_and(|local| local.has_work())
    }

    /// Whether local tasks stand in line, all leases are busy, and no further one was asked for that there may be.
    pub(super) fn lacks_a_lease(&self) -> bool {
        let may_ask = self.shape.is_some() && self.requests.is_empty() && self.leases.len() < MAX_LEASES;
        may_ask && self.free == 0 && self.local.as_ref().is_some_and(|local| local.waiting() > 0)
    }

    pub(super) fn has_work(&self) -> bool {
        (self.live > 0 && self.free > 0) || self.has_local_work()
    }
}

impl Shared {
    pub(super) fn line_of(&mut self, shape: &Shape) -> usize {
        if let Some((last, line)) = &self.last
            && last == shape
        {
            return *line;
        }
        let line = match self.by_shape.get(shape) {
            Some(line) => *line,
            None => self.new_line(shape),
        };
        self.last = Some((shape.clone(), line));
        line
    }

    fn new_line(&mut self, shape: &Shape) -> usize {
        let new = Line {
            shape: Some(shape.clone()),
            ..Line::default()
        };
        let unused = self.lines.iter().skip(1).position(|line| line.shape.is_none());
        let line = unused.map_or(self.lines.len(), |place| place + 1);
        match self.lines.get_mut(line) {
            Some(place) => *place = new,
            None => self.lines.push(new),
        }
        self.by_shape.insert(shape.clone(), line);
        line
    }

    /// The GPUs that a permit's lease holds, by the node's index.
    pub(super) fn gpus_of(&self, permit: Permit) -> Vec<u32> {
        let lease = |queue: &Line| {
            queue
                .leases
                .iter()
                .find(|lease| lease.id == permit.lease)
                .map(|lease| lease.gpus.clone())
        };
        self.lines.get(permit.line).and_then(lease).unwrap_or_default()
    }

    pub(super) fn permit(&mut self, line: usize) -> Option<Permit> {
        let queue = self.lines.get_mut(line).filter(|queue| queue.free > 0)?;
        let lease = match line {
            CALL_LINE => 0,
            _ => {
                let lease = queue.leases.iter_mut().find(|lease| lease.is_free())?;
                lease.busy = true;
                lease.id
            }
        };
        queue.free -= 1;
        Some(Permit { line, lease })
    }
}
