//! Requests for leases, of processes and for actors, and what becomes of each.
//!
//! One that this node can grant stands in line, and so does one that waits for its placement group (RG-1); any other is
//! refused, unless another node can grant it (`nodes`). It leaves the line when it is granted (`grants`), when nobody wants it
//! any more, or with who asked.
//!
//! *Absent:* whose turn it is, which is the queue's to say (`scheduling/queue`).

use std::collections::HashMap;
use std::time::Duration;

use super::nodes::Place;
use super::{Effect, Effects, State};
use crate::error::RayError;
use crate::ids::{ActorId, IdHasher, WorkerId};
use crate::raylet::convert::{from_steps, shape_of, within};
use crate::scheduling::queue::{Added, LeaseRequest};
use crate::scheduling::{LeaseKind, Shape};
use crate::wire::{ActorSpec, Frame, LeaseShape};

/// The open requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By requester, which is the nil worker for actors, and by number.
    open: HashMap<WorkerId, HashMap<u64, For>, IdHasher>,
}

/// Who asked for a lease.
#[derive(Debug)]
pub(super) enum For {
    Owner(Asked),
    Actor { spec: Box<ActorSpec>, restarts: u32 },
}

/// What an owner asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) requester: WorkerId,
    pub(super) request: u64,
    pub(super) shape: LeaseShape,
}

impl For {
    /// Tells who asked that nothing will come of it.
    pub(super) fn refuse(self, error: RayError, out: &mut Effects) {
        match self {
            Self::Owner(Asked { requester, request, .. }) => out.push(Effect::Send {
                to: requester,
                frame: Frame::LeaseRefused { request, error },
            }),
            Self::Actor { spec, .. } => out.push(Effect::ToGcs(Frame::ActorStarted {
                actor: spec.actor,
                worker: WorkerId::default(),
                pid: 0,
                error: Some(error),
            })),
        }
    }

    fn refuse_as_unschedulable(self, why: String, out: &mut Effects) {
        let name = match &self {
            Self::Owner(asked) => asked.shape.name.clone(),
            Self::Actor { spec, .. } => spec.type_name.clone(),
        };
        self.refuse(RayError::Unschedulable { name, why }, out);
    }

    pub(super) fn is_for(&self, actor: ActorId) -> bool {
        matches!(self, Self::Actor { spec, .. } if spec.actor == actor)
    }
}

impl State {
    /// A process asks for a worker.
    pub(super) fn request(
        &mut self,
        from: WorkerId,
        request: u64,
        shape: LeaseShape,
        now: Duration,
        out: &mut Effects,
    ) {
        if !self.is_guest(from) {
            match self.place_for(&shape) {
                Place::Here => {}
                Place::There(node) => return self.visit_for_lease(node, from, request, shape, out),
                Place::Nowhere(why) => {
                    let name = shape.name;
                    let error = RayError::Unschedulable { name, why };
                    let frame = Frame::LeaseRefused { request, error };
                    return out.push(Effect::Send { to: from, frame });
                }
            }
        }
        let wanted = shape_of(&shape);
        let asked = For::Owner(Asked {
            requester: from,
            request,
            shape,
        });
        match wanted {
            Ok(shape) => self.line_up(asked, shape, now, out),
            Err(error) => asked.refuse_as_unschedulable(error.to_string(), out),
        }
    }

    /// The GCS wants an actor here, for which a worker is needed.
    pub(super) fn request_for_actor(&mut self, spec: Box<ActorSpec>, restarts: u32, now: Duration, out: &mut Effects) {
        let wanted = from_steps(&spec.placement)
            .and_then(Shape::new)
            .and_then(|shape| within(shape, &spec.strategy));
        let asked = For::Actor { spec, restarts };
        match wanted {
            Ok(shape) => self.line_up(asked, shape, now, out),
            Err(error) => asked.refuse_as_unschedulable(error.to_string(), out),
        }
    }

    /// Puts a request in line, or refuses one that this node can never grant.
    fn line_up(&mut self, asked: For, shape: Shape, now: Duration, out: &mut Effects) {
        let (requester, id, kind, runs) = match &asked {
            For::Owner(asked) => (asked.requester, asked.request, LeaseKind::Task, "run"),
            For::Actor { .. } => (WorkerId::default(), self.number(), LeaseKind::Actor, "hold"),
        };
        let group = shape.bundle().map(|target| target.group);
        let request = LeaseRequest {
            id,
            requester,
            shape,
            kind,
        };
        match (self.queue.add(request, &self.resources), group) {
            (Ok(Added::Queued), _) => self.requests.note(requester, id, asked),
            (Ok(Added::Infeasible(_)), Some(group)) => {
                self.requests.note(requester, id, asked);
                self.ask_for_group(group, out);
            }
            (Ok(Added::Infeasible(shortfall)), None) => {
                self.queue.cancel(requester, id);
                let why = format!("no node can ever {runs} it: {shortfall}");
                return asked.refuse_as_unschedulable(why, out);
            }
            (Err(error), _) => return asked.refuse_as_unschedulable(error.to_string(), out),
        }
        self.schedule(now, out);
    }

    /// Who made a request that has left the queue; nobody if it is an actor's that was stopped.
    pub(super) fn who_asked(&mut self, request: &LeaseRequest) -> Option<For> {
        self.requests.take(request.requester, request.id)
    }

    /// A process does not want a worker any more. One that was granted meanwhile comes back by itself.
    pub(super) fn cancel_request(&mut self, from: WorkerId, request: u64) {
        let _granted_already = self.requests.take(from, request);
        self.queue.cancel(from, request);
    }

    /// An actor is stopped that has no worker yet.
    pub(super) fn cancel_request_for(&mut self, actor: ActorId) {
        let nobody = WorkerId::default();
        if let Some(id) = self.requests.number_for(actor) {
            self.cancel_request(nobody, id);
        }
    }

    /// Who asked is dead.
    pub(super) fn cancel_requests_of(&mut self, requester: WorkerId) {
        self.queue.requester_died(requester);
        self.requests.open.remove(&requester);
    }
}

impl Requests {
    fn note(&mut self, requester: WorkerId, number: u64, asked: For) {
        self.open.entry(requester).or_default().insert(number, asked);
    }

    fn take(&mut self, requester: WorkerId, number: u64) -> Option<For> {
        self.open.get_mut(&requester)?.remove(&number)
    }

    /// What owners have asked for.
    pub(super) fn of_owners(&self) -> Vec<Asked> {
        let owners = |asked: &For| match asked {
            For::Owner(asked) => Some(asked.clone()),
            For::Actor { .. } => None,
        };
        let mut all: Vec<Asked> = self
            .open
            .values()
            .flat_map(HashMap::values)
            .filter_map(owners)
            .collect();
        all.sort_unstable_by_key(|asked| (asked.requester, asked.request));
        all
    }

    /// The number of an actor's request.
    fn number_for(&self, actor: ActorId) -> Option<u64> {
        let for_actors = self.open.get(&WorkerId::default())?;
        let found = for_actors.iter().find(|(_, asked)| asked.is_for(actor));
        found.map(|(number, _)| *number)
    }
}
