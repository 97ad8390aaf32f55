//! The lease requests that wait on one node, and which of them is granted next.
//!
//! Requests wait per [`Shape`] (Ray's scheduling class), and within a shape per requester.
//!
//! - LQ-1 (fair): shapes are served least recently granted first, and so are the requesters within a shape. So a request
//!   at the head of its line whose shape fits is passed over at most once by every other shape, and within its shape
//!   at most once by every other requester.
//! - LQ-2 (order): of one requester and one shape, the older request is granted first.
//! - LQ-3 (small behind big): a shape that does not fit is passed over, it holds nobody up, except under LQ-4.
//! - LQ-4 (big behind small): a shape passed over [`MAX_BYPASSES`](Options::max_bypasses) times by grants of what it is
//!   short of gets a *reservation*: for a while nothing is granted that would leave less than it needs of any resource it
//!   needs. Everything else may still pass. This is EASY backfilling (Lifka, "The ANL/IBM SP scheduling system", 1995):
//!   one reservation, and backfilling only where it does not delay it.
//! - LQ-5 (no deadlock): nothing tells how long a lease lasts, and it may last until a request that the reservation holds
//!   back is granted. So a reservation ends after a window, and then rests for `REST` times the window; a window that was
//!   too short is doubled. If leases end within time L, a window of at least L comes after about log2(L / first window)
//!   rounds, that is within some ten times L, and then the big request is granted; meanwhile the small ones have the
//!   node for REST / (REST + 1) of the time, counted over whole rounds, and for two thirds of it at any moment.
//! - LQ-6: a reservation is made only for a request that the end of *tasks* can satisfy ([`Room::WithoutTasks`]): no task
//!   waits for the sake of one that waits for an actor to end.
//! - LQ-7: a request whose shape exceeds the node's totals is kept and reported, with what is missing, and examined
//!   again whenever the totals or the bundles change.

mod line;
mod reservation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::node::{Allocation, LeaseKind, NodeResources};
use super::pool::{Room, Shortfall};
use super::resources::Shape;
use crate::ids::{PlacementGroupId, WorkerId};
use line::Line;
use reservation::Reservation;

/// A lease request's number, unique for its requester.
pub type LeaseRequestId = u64;

/// A request for a worker of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Its number, unique for the requester.
    pub id: LeaseRequestId,
    /// Who asks: the owner of the tasks to run.
    pub requester: WorkerId,
    /// What is asked for.
    pub shape: Shape,
    /// What the lease is for.
    pub kind: LeaseKind,
}

/// A request that was granted, and what it holds from now on.
#[derive(Debug)]
#[must_use = "the allocation must be given back to the node"]
pub struct Grant {
    /// The request.
    pub request: LeaseRequest,
    /// What was taken for it.
    pub allocation: Allocation,
}

/// What became of a request that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It waits for its turn.
    Queued,
    /// It waits for a bigger node.
    Infeasible(Shortfall),
}

/// A request that was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Too many requests wait.
    #[error("{limit} lease requests wait on this node, which is the limit: retry when some were granted")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// The requester's request with this number waits already.
    #[error("lease request {id} of worker {requester} waits already")]
    Duplicate {
        /// Who asked.
        requester: WorkerId,
        /// The number.
        id: LeaseRequestId,
    },
}

/// The queue's constants.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many requests may wait.
    pub max_pending: usize,
    /// How often a shape is passed over before it gets a reservation.
    pub max_bypasses: u32,
    /// How long a shape's first reservation lasts.
    pub first_window: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pending: 100_000,
            max_bypasses: 32,
            first_window: Duration::from_millis(50),
        }
    }
}

type ShapeNo = u64;

/// Where a request waits: its shape, and its place in the requester's line.
type Place = (ShapeNo, u64);

/// The lease requests that wait on a node. See the module for the rules.
#[derive(Debug)]
pub struct LeaseQueue {
    options: Options,
    lines: BTreeMap<ShapeNo, Line>,
    by_shape: HashMap<Shape, ShapeNo>,
    /// The shapes with waiting requests, least recently granted first.
    turns: VecDeque<ShapeNo>,
    places: HashMap<(WorkerId, LeaseRequestId), Place>,
    reservation: Reservation,
    next: u64,
    totals_version: Option<u64>,
}

impl LeaseQueue {
    /// An empty queue.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            lines: BTreeMap::new(),
            by_shape: HashMap::new(),
            turns: VecDeque::new(),
            places: HashMap::new(),
            reservation: Reservation::None,
            next: 0,
            totals_version: None,
        }
    }

    /// How many requests wait, infeasible ones included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a request at the end of its requester's line.
    ///
    /// # Errors
    /// [`QueueError`] when too many wait, or this one does already.
    pub fn add(&mut self, request: LeaseRequest, node: &NodeResources) -> Result<Added, QueueError> {
        let key = (request.requester, request.id);
        if self.places.contains_key(&key) {
            return Err(QueueError::Duplicate {
                requester: request.requester,
                id: request.id,
            });
        }
        if self.places.len() >= self.options.max_pending {
            return Err(QueueError::Full {
                limit: self.options.max_pending,
            });
        }
        self.next += 1;
        let place = self.next;
        let no = match self.by_shape.get(&request.shape) {
            Some(no) => *no,
            None => {
                let infeasible = node.fits(&request.shape, Room::Total).err();
                self.by_shape.insert(request.shape.clone(), place);
                self.lines.insert(
                    place,
                    Line::new(request.shape.clone(), infeasible, self.options.first_window),
                );
                self.turns.push_back(place);
                place
            }
        };
        self.places.insert(key, (no, place));
        let Some(line) = self.lines.get_mut(&no) else {
            return Ok(Added::Queued);
        };
        line.push(place, request);
        Ok(line.infeasible.clone().map_or(Added::Queued, Added::Infeasible))
    }

    /// Takes back a request that was not granted yet.
    pub fn cancel(&mut self, requester: WorkerId, id: LeaseRequestId) -> Option<LeaseRequest> {
        let (no, place) = self.places.remove(&(requester, id))?;
        let request = self.lines.get_mut(&no)?.remove(requester, place);
        self.drop_line_if_empty(no);
        request
    }

    /// Forgets all requests of a worker that died, and tells how many there were.
    pub fn requester_died(&mut self, requester: WorkerId) -> usize {
        self.remove_all(|line| line.remove_requester(requester)).len()
    }

    /// Takes out all requests for bundles of a placement group that was removed.
    pub fn group_removed(&mut self, group: PlacementGroupId) -> Vec<LeaseRequest> {
        self.remove_all(|line| match line.shape.bundle() {
            Some(target) if target.group == group => line.remove_everything(),
            _ => Vec::new(),
        })
    }

    fn remove_all(&mut self, remove: impl Fn(&mut Line) -> Vec<LeaseRequest>) -> Vec<LeaseRequest> {
        let removed: Vec<_> = self.lines.values_mut().flat_map(remove).collect();
        for request in &removed {
            self.places.remove(&(request.requester, request.id));
        }
        let empty: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.is_empty())
            .map(|(no, _)| *no)
            .collect();
        for no in empty {
            self.drop_line_if_empty(no);
        }
        removed
    }

    fn drop_line_if_empty(&mut self, no: ShapeNo) {
        if self.lines.get(&no).is_some_and(Line::is_empty) {
            if let Some(line) = self.lines.remove(&no) {
                self.by_shape.remove(&line.shape);
            }
            self.turns.retain(|turn| *turn != no);
            if self.reservation.holder() == Some(no) {
                self.reservation = Reservation::None;
            }
        }
    }

    /// Grants all that can be granted now, and takes it from `node`. Call it when requests were added, resources came
    /// back or totals changed, and at [`next_wake`](Self::next_wake). `now` is monotonic, from any fixed point.
    pub fn grantable(&mut self, node: &mut NodeResources, now: Duration) -> Vec<Grant> {
        self.examine_again(node);
        self.advance_reservation(node, now);
        let mut grants = Vec::new();
        while let Some(grant) = self.grant_next(node) {
            grants.push(grant);
            // A grant may be the one bypass too many of another shape.
            self.advance_reservation(node, now);
        }
        grants
    }

    /// When [`grantable`](Self::grantable) should be called even if nothing happens: a reservation ends then.
    pub fn next_wake(&self) -> Option<Duration> {
        if self.is_empty() { None } else { self.reservation.ends() }
    }

    /// LQ-7.
    fn examine_again(&mut self, node: &NodeResources) {
        if self.totals_version != Some(node.totals_version()) {
            self.totals_version = Some(node.totals_version());
            for line in self.lines.values_mut() {
                line.infeasible = node.fits(&line.shape, Room::Total).err();
            }
        }
    }

    /// LQ-4, LQ-5: ends what is over, and reserves for the shape that waits longest among those entitled to it, counted
    /// in windows first, so that one that cannot be satisfied does not keep the others from their turn.
    fn advance_reservation(&mut self, node: &NodeResources, now: Duration) {
        if let Some(failed) = self.reservation.advance(now)
            && let Some(line) = self.lines.get_mut(&failed)
        {
            line.window = line.window.saturating_mul(2);
        }
        if !matches!(self.reservation, Reservation::None) {
            return;
        }
        let entitled = self
            .turns
            .iter()
            .filter_map(|no| Some((*no, self.lines.get(no)?)))
            .filter(|(_, line)| {
                line.bypassed >= self.options.max_bypasses
                    && line.infeasible.is_none()
                    && node.fits(&line.shape, Room::Available).is_err()
                    && node.fits(&line.shape, Room::WithoutTasks).is_ok()
            });
        if let Some((no, line)) = entitled.min_by_key(|(_, line)| line.window) {
            self.reservation = Reservation::held_by(no, now, line.window);
        }
    }

    /// LQ-1: the first in turn that fits and does not delay the holder of the reservation. The holder goes first.
    fn grant_next(&mut self, node: &mut NodeResources) -> Option<Grant> {
        let reserved = self
            .reservation
            .holder()
            .and_then(|no| Some((no, self.lines.get(&no)?.shape.clone())));
        let may_pass = |no: ShapeNo, shape: &Shape| match &reserved {
            Some((holder, wants)) => *holder == no || !node.would_delay(wants, shape),
            None => true,
        };
        let fits = |no: &ShapeNo| {
            self.lines.get(no).is_some_and(|line| {
                line.infeasible.is_none()
                    && node.fits(&line.shape, Room::Available).is_ok()
                    && may_pass(*no, &line.shape)
            })
        };
        let first = reserved.as_ref().map(|(no, _)| *no).filter(&fits);
        let no = first.or_else(|| self.turns.iter().copied().find(&fits))?;
        self.count_bypasses(no, node);
        let line = self.lines.get_mut(&no)?;
        let kind = line.peek()?.kind;
        let allocation = node.allocate(&line.shape, kind).ok()?;
        let request = line.pop();
        line.bypassed = 0;
        line.window = self.options.first_window;
        let Some(request) = request else {
            node.release(allocation);
            return None;
        };
        self.places.remove(&(request.requester, request.id));
        if self.reservation.holder() == Some(no) {
            self.reservation = Reservation::None;
        }
        self.turns.retain(|turn| *turn != no);
        self.turns.push_back(no);
        self.drop_line_if_empty(no);
        Some(Grant { request, allocation })
    }

    /// All that wait before `granted` in turn and lack what it takes are passed over.
    fn count_bypasses(&mut self, granted: ShapeNo, node: &NodeResources) {
        let Some(taker) = self.lines.get(&granted).map(|line| line.shape.clone()) else {
            return;
        };
        for no in self.turns.iter().take_while(|no| **no != granted) {
            if let Some(line) = self.lines.get_mut(no)
                && line.infeasible.is_none()
                && node.contends(&line.shape, &taker)
            {
                line.bypassed = line.bypassed.saturating_add(1);
            }
        }
    }

    /// The shape for which resources are being kept free. Owners that keep leases for reuse should return them.
    pub fn reserved(&self) -> Option<&Shape> {
        Some(&self.lines.get(&self.reservation.holder()?)?.shape)
    }

    /// The shapes that wait, least recently granted first: how many requests each, and why it can never be granted if so.
    pub fn waiting(&self) -> impl Iterator<Item = (&Shape, usize, Option<&Shortfall>)> {
        let lines = self.turns.iter().filter_map(|no| self.lines.get(no));
        lines.map(|line| (&line.shape, line.len(), line.infeasible.as_ref()))
    }

    /// Whether somebody else than this requester waits for what the node has.
    pub fn others_wait(&self, requester: WorkerId) -> bool {
        let mut lines = self.lines.values().filter(|line| line.infeasible.is_none());
        lines.any(|line| line.has_others(requester))
    }

    /// The requests that can never be granted as the node is.
    pub fn infeasible(&self) -> impl Iterator<Item = (&LeaseRequest, &Shortfall)> {
        self.lines
            .values()
            .filter_map(|line| Some((line, line.infeasible.as_ref()?)))
            .flat_map(|(line, shortfall)| line.iter().map(move |request| (request, shortfall)))
    }
}
