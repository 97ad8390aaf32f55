//! What one process knows of tasks, objects, leases and actors: a state machine under one lock.
//!
//! Every change is a method of [`State`] that takes what happened and adds what follows from it to an [`Out`]: frames to
//! send, sleepers to wake, objects to free. The edge ([`crate::worker::Worker::with`]) carries these out, frames in the
//! order in which they were added.
//!
//! *Absent on purpose:* no socket, no thread, no clock, no lock; user values are never dropped in here (they may hold
//! references, whose drop takes the lock): they leave through [`Out::garbage`].

mod actors;
mod borrow;
mod complete;
mod leases;
pub(crate) mod streams;
mod submit;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use actors::ActorClient;
pub(crate) use submit::{Argument, NewCall, NewTask};

use crate::error::RayError;
use crate::ids::{ActorId, IdHasher, NodeId, ObjectId, TaskId, WorkerId};
use crate::wire::{Frame, LeaseShape};
use crate::worker::objects::{Interest, Objects, Slot};
use crate::worker::refs::{Effect, RefTable};
use crate::worker::task::PendingTask;
use crate::worker::waiter::Waiter;
use leases::{Lease, ShapeQueue};

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dest {
    Raylet,
    Worker(WorkerId),
}

/// What is to be done after a change.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) now: Instant,
    pub(crate) sends: Vec<(Dest, Frame)>,
    pub(crate) wakes: Vec<Arc<Waiter>>,
    /// Values in the store that nobody can reach any more.
    pub(crate) free: Vec<ObjectId>,
    /// Dropped once the lock is released.
    pub(crate) garbage: Vec<Box<dyn Any + Send>>,
    pub(crate) timers: Vec<(Duration, Timer)>,
    /// Effects of the reference table, turned into the above before the lock is released.
    pub(crate) refs: Vec<Effect>,
}

impl Out {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now,
            sends: Vec::new(),
            wakes: Vec::new(),
            free: Vec::new(),
            garbage: Vec::new(),
            timers: Vec::new(),
            refs: Vec::new(),
        }
    }
}

impl Out {
    pub(crate) fn send(&mut self, dest: Dest, frame: Frame) {
        self.sends.push((dest, frame));
    }
}

/// Something that is due later.
#[derive(Debug, Clone)]
pub(crate) enum Timer {
    /// A task that failed may run again.
    Retry(TaskId),
    /// A task has had its time.
    Deadline(TaskId, u32),
    /// A task that was cancelled for its deadline has had its grace.
    Grace(TaskId, u32),
    /// Look for leases that have been idle for long.
    IdleLeases,
}

/// What the process knows. One per process.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) me: WorkerId,
    pub(crate) node: NodeId,
    next_task: u64,
    next_number: u64,
    pub(crate) refs: RefTable,
    pub(crate) objects: Objects,
    pub(crate) tasks: HashMap<TaskId, Box<PendingTask>, IdHasher>,
    shapes: HashMap<Arc<LeaseShape>, ShapeQueue>,
    leases: HashMap<u64, Lease>,
    requests: HashMap<u64, Arc<LeaseShape>>,
    idle_check_set: bool,
    pub(crate) actors: HashMap<ActorId, ActorClient, IdHasher>,
    /// Questions to the GCS that create an actor.
    creations: HashMap<u64, (ActorId, ObjectId)>,
    /// Actors that were there before, by the id under which handles name them.
    redirects: HashMap<ActorId, ActorId, IdHasher>,
    /// The last number that a call of this process was given. It never begins anew: actors keep what they have seen.
    next_sequence: u64,
    streams: HashMap<TaskId, streams::Incoming, IdHasher>,
    /// Objects that stand for handles of actors.
    handles: HashMap<ObjectId, actors::Handled, IdHasher>,
    /// The workers this process knows the processes of.
    pub(crate) pids: HashMap<WorkerId, u32, IdHasher>,
    pub(crate) ended: bool,
}

impl State {
    pub(crate) fn new(me: WorkerId, node: NodeId) -> Self {
        Self {
            me,
            node,
            next_task: 1,
            next_number: 1,
            refs: RefTable::new(me),
            objects: Objects::default(),
            tasks: HashMap::default(),
            shapes: HashMap::new(),
            leases: HashMap::new(),
            requests: HashMap::new(),
            idle_check_set: false,
            actors: HashMap::default(),
            creations: HashMap::new(),
            redirects: HashMap::default(),
            next_sequence: 0,
            streams: HashMap::default(),
            handles: HashMap::default(),
            pids: HashMap::default(),
            ended: false,
        }
    }

    pub(crate) fn new_task_id(&mut self) -> TaskId {
        self.next_task += 1;
        TaskId::new(self.me, self.next_task)
    }

    fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Sets an object's value and tells everybody who waits for it.
    pub(crate) fn settle(&mut self, object: ObjectId, slot: Slot, now: Instant, out: &mut Out) {
        let (interests, before) = self.objects.settle(object, slot);
        if let Some(before @ Slot::Native(_)) = before {
            out.garbage.push(Box::new(before));
        }
        for interest in interests {
            match interest {
                Interest::Waiter(waiter) => out.wakes.extend(waiter.upgrade()),
                Interest::Dependent(task) => self.dependency_ready(task, object, now, out),
                Interest::Creation(actor) => self.try_create(actor, now, out),
                Interest::Handle => self.handle_ready(object, now, out),
                Interest::Subscriber(worker) => self.serve(object, worker, out),
            }
        }
    }

    /// Registers a waiter for each pending object and returns how many there are. Objects that this process only borrows
    /// are asked for.
    pub(crate) fn watch(&mut self, objects: &[(ObjectId, WorkerId)], waiter: &Arc<Waiter>, out: &mut Out) {
        for (object, owner) in objects {
            let interest = Interest::Waiter(Arc::downgrade(waiter));
            match self.objects.add_interest(object, interest) {
                Ok(()) => self.subscribe(*object, *owner, out),
                Err(_ready) => out.wakes.push(waiter.clone()),
            }
        }
    }

    /// Turns what the reference table wants into frames and frees.
    pub(crate) fn apply_ref_effects(&mut self, out: &mut Out) {
        while !out.refs.is_empty() {
            for effect in std::mem::take(&mut out.refs) {
                self.apply_ref_effect(effect, out);
            }
        }
    }

    /// Fails what cannot go on any more: the connection to the raylet is gone, or the session ends.
    pub(crate) fn end_session(&mut self, error: &RayError, now: Instant, out: &mut Out) {
        self.ended = true;
        let pending: Vec<ObjectId> = self
            .objects
            .iter()
            .filter(|(_, slot)| slot.is_pending())
            .map(|(object, _)| *object)
            .collect();
        for object in pending {
            self.settle(object, Slot::Failed(error.clone()), now, out);
        }
        let tasks = std::mem::take(&mut self.tasks);
        out.garbage.push(Box::new(tasks));
    }
}
