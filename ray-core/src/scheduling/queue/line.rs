//! The requests of one shape: a line for each requester, and whose turn it is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::LeaseRequest;
use crate::ids::WorkerId;
use crate::scheduling::pool::Shortfall;
use crate::scheduling::resources::Shape;

/// All waiting requests of a shape.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) shape: Shape,
    /// Why no grant is possible as the node is.
    pub(super) infeasible: Option<Shortfall>,
    /// How often it was passed over since it was last granted.
    pub(super) bypassed: u32,
    /// How long its next reservation lasts.
    pub(super) window: Duration,
    /// By requester, by order of arrival.
    requests: HashMap<WorkerId, BTreeMap<u64, LeaseRequest>>,
    /// The requesters that wait, least recently granted first.
    turns: VecDeque<WorkerId>,
    len: usize,
}

impl Line {
    pub(super) fn new(shape: Shape, infeasible: Option<Shortfall>, window: Duration) -> Self {
        Self {
            shape,
            infeasible,
            bypassed: 0,
            window,
            requests: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether somebody else than this one waits.
    pub(super) fn has_others(&self, requester: WorkerId) -> bool {
        self.turns.iter().any(|turn| *turn != requester)
    }

    pub(super) fn push(&mut self, place: u64, request: LeaseRequest) {
        let requester = request.requester;
        let line = self.requests.entry(requester).or_default();
        if line.is_empty() {
            self.turns.push_back(requester);
        }
        line.insert(place, request);
        self.len += 1;
    }

    /// The request that `pop` would give.
    pub(super) fn peek(&self) -> Option<&LeaseRequest> {
        self.requests.get(self.turns.front()?)?.values().next()
    }

    /// The oldest request of the requester whose turn it is, which then is the last in turn.
    pub(super) fn pop(&mut self) -> Option<LeaseRequest> {
        let requester = *self.turns.front()?;
        let line = self.requests.get_mut(&requester)?;
        let (_, request) = line.pop_first()?;
        self.len -= 1;
        self.turns.pop_front();
        if line.is_empty() {
            self.requests.remove(&requester);
        } else {
            self.turns.push_back(requester);
        }
        Some(request)
    }

    pub(super) fn remove(&mut self, requester: WorkerId, place: u64) -> Option<LeaseRequest> {
        let line = self.requests.get_mut(&requester)?;
        let request = line.remove(&place)?;
        self.len -= 1;
        if line.is_empty() {
            self.requests.remove(&requester);
            self.turns.retain(|turn| *turn != requester);
        }
        Some(request)
    }

    pub(super) fn remove_requester(&mut self, requester: WorkerId) -> Vec<LeaseRequest> {
        let removed = self.requests.remove(&requester).unwrap_or_default();
        self.len -= removed.len();
        self.turns.retain(|turn| *turn != requester);
        removed.into_values().collect()
    }

    pub(super) fn remove_everything(&mut self) -> Vec<LeaseRequest> {
        self.len = 0;
        self.turns.clear();
        self.requests.drain().flat_map(|(_, line)| line.into_values()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LeaseRequest> {
        self.requests.values().flat_map(BTreeMap::values)
    }
}
