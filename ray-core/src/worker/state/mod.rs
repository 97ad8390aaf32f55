//! What one process knows of tasks, objects, leases and actors: a state machine under one lock.
//!
//! Every change is a method of [`State`] that takes what happened and adds what follows from it to an [`Out`]: frames to
//! send, sleepers to wake, objects to free. The edge ([`crate::worker::Worker::with`]) carries these out, frames in the
//! order in which they were added.
//!
//! *Absent on purpose:* no socket, no thread, no clock, no lock; user values are never dropped in here (they may hold
//! references, whose drop takes the lock): they leave through [`Out::garbage`].

mod actors;
mod admission;
mod borrow;
mod complete;
mod dependencies;
mod groups;
mod holdings;
mod leases;
mod lending;
mod locals;
mod new_task;
mod push;
mod recover;
mod retry;
mod shared;
pub(crate) mod streams;
mod submit;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use actors::ActorClient;
pub(crate) use admission::Ticket;
pub(crate) use locals::Common;
pub(crate) use new_task::{Argument, NewCall, NewTask};
pub(crate) use shared::{
    Done, LocalActor, LocalOutcome, Look, NewActor, Next, OwnRun, Permit, Receipt, RunArg, Service, Started, What,
};
pub(crate) use streams::STREAM_STOPS;

use crate::config;
use crate::error::RayError;
use crate::ids::{ActorId, IdHasher, ObjectId, PlacementGroupId, TaskId, WorkerId};
use crate::wire::Frame;
use crate::worker::context::TaskContext;
use crate::worker::local::LocalTask;
use crate::worker::objects::{Interest, Objects, Slot};
use crate::worker::refs::{Effect, LineageTable, RefTable};
use crate::worker::shape::Shape;
use crate::worker::task::PendingTask;
use crate::worker::waiter::Waiter;
use leases::{Lease, ShapeQueue};
use shared::Shared;
use smallvec::SmallVec;
use std::thread::Thread;

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dest {
    Raylet,
    Worker(WorkerId),
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(Frame),
    /// A frame that must not overtake those that were sent before.
    Ordered(Frame),
    /// A pending task, and whether it carries no reference.
    Task {
        task: TaskId,
        plain: bool,
    },
}

/// What is to be done after a change.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) now: Instant,
    pub(crate) sends: Vec<(Dest, Outgoing)>,
    pub(crate) wakes: Vec<Arc<Waiter>>,
    /// Waiters one of whose objects has failed.
    pub(crate) failures: Vec<Arc<Waiter>>,
    /// Threads of this process that have work.
    pub(crate) rouse: SmallVec<[Thread; 1]>,
    /// Threads to be started for shared work.
    pub(crate) start_threads: u32,
    /// Tasks of this process that are to stop.
    pub(crate) cancelled: Vec<Arc<TaskContext>>,
    /// Actors of this process that have ended, and how.
    pub(crate) buried: Vec<(Arc<LocalActor>, RayError)>,
    /// Calls that were too late for their session.
    pub(crate) ended: Vec<Arc<LocalTask>>,
    /// Local tasks that cannot run, and why.
    pub(crate) refused: Vec<(Vec<Arc<LocalTask>>, RayError)>,
    /// Values that are in memory as they are, of which somebody needs the encoded form.
    pub(crate) encode: Vec<ObjectId>,
    /// Values in the store, and processes that cannot read them there and want them whole.
    pub(crate) whole: Vec<(ObjectId, WorkerId)>,
    /// Values in the store that nobody can reach any more.
    pub(crate) free: Vec<ObjectId>,
    /// Dropped once the lock is released.
    pub(crate) garbage: Vec<Box<dyn Any + Send>>,
    pub(crate) timers: Vec<(Duration, Timer)>,
    /// Tasks to take back from workers that have not taken them: all, or one that is cancelled (and its children, or not).
    pub(crate) take_back: Vec<(WorkerId, Option<(TaskId, bool)>)>,
    /// Effects of the reference table, turned into the above before the lock is released.
    pub(crate) refs: Vec<Effect>,
}

impl Out {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now,
            sends: Vec::new(),
            wakes: Vec::new(),
            failures: Vec::new(),
            rouse: SmallVec::new(),
            start_threads: 0,
            cancelled: Vec::new(),
            buried: Vec::new(),
            ended: Vec::new(),
            refused: Vec::new(),
            encode: Vec::new(),
            whole: Vec::new(),
            free: Vec::new(),
            garbage: Vec::new(),
            timers: Vec::new(),
            take_back: Vec::new(),
            refs: Vec::new(),
        }
    }
}

impl Out {
    pub(crate) fn send(&mut self, dest: Dest, frame: Frame) {
        self.sends.push((dest, Outgoing::Frame(frame)));
    }
}

/// Something that is due later.
#[derive(Debug, Clone)]
pub(crate) enum Timer {
    /// A task that failed may run again.
    Retry(TaskId),
    /// A task has had its time, which was this long.
    Deadline(TaskId, Duration, u32),
    /// A task that was cancelled for its deadline has had its grace.
    Grace(TaskId, u32),
    /// A worker that was told to end itself while it runs a task has had its time.
    Force(TaskId, WorkerId),
    /// Look for leases that have been idle for long.
    IdleLeases,
    /// Look for leases whose tasks were sent ahead in vain.
    Ahead,
    /// Look whether nothing is lent any more.
    LendsNoMore,
}

/// What the process knows. One per process.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) me: WorkerId,
    /// What those that make tasks outside of the state share with it.
    common: Arc<Common>,
    next_number: u64,
    /// How long an idle lease is kept.
    lease_linger: Duration,
    /// What a task that was cancelled for its deadline gets before its worker is killed.
    timeout_grace: Duration,
    pub(crate) refs: RefTable,
    pub(crate) objects: Objects,
    pub(crate) tasks: HashMap<TaskId, Box<PendingTask>, IdHasher>,
    shapes: HashMap<Shape, ShapeQueue, IdHasher>,
    leases: HashMap<u64, Lease, IdHasher>,
    requests: HashMap<u64, Shape, IdHasher>,
    idle_check_set: bool,
    ahead_check_set: bool,
    /// Until then other processes are taken to wait for leases.
    crowded_until: Option<Instant>,
    pub(crate) shared: Shared,
    pub(crate) actors: HashMap<ActorId, ActorClient, IdHasher>,
    /// Questions to the GCS that create an actor.
    creations: HashMap<u64, (ActorId, ObjectId)>,
    /// Actors that were there before, by the id under which handles name them.
    redirects: HashMap<ActorId, ActorId, IdHasher>,
    /// The last number that a call of this process was given. It never begins anew: actors keep what they have seen.
    next_sequence: u64,
    streams: HashMap<TaskId, streams::Incoming, IdHasher>,
    groups: HashMap<PlacementGroupId, groups::Group, IdHasher>,
    /// Objects that stand for handles of actors.
    handles: HashMap<ObjectId, actors::Handled, IdHasher>,
    /// The workers this process knows the processes of.
    pub(crate) pids: HashMap<WorkerId, u32, IdHasher>,
    /// Those of them that are of another job.
    pub(crate) foreign: HashSet<WorkerId, IdHasher>,
    /// Workers that tasks go to by ring: of these it is known for each task whether it has begun.
    ringed: HashSet<WorkerId, IdHasher>,
    /// The session is over, or its raylet is gone: with this error everything fails that would have to be waited for.
    pub(crate) ended: Option<RayError>,
    /// The first pause after a kill for memory.
    oom_pause: Duration,
    /// Which tasks can make lost objects again; `kept` has them.
    lineage: LineageTable,
    kept: HashMap<TaskId, Box<PendingTask>, IdHasher>,
    /// Local tasks that have not ended and whose results are known here.
    locals: HashMap<TaskId, Arc<LocalTask>, IdHasher>,
    admissions: admission::Admissions,
    /// Where in the program objects of this process were made, if that is recorded.
    sites: HashMap<ObjectId, &'static Location<'static>, IdHasher>,
    lending: lending::Lending,
}

impl State {
    pub(crate) fn new(me: WorkerId, config: &config::Cluster) -> Self {
        let common = Arc::new(Common::new(me, config));
        Self {
            me,
            next_number: 1,
            lease_linger: Duration::from_millis(config.worker_lease_timeout_milliseconds),
            timeout_grace: Duration::from_millis(config.timeout_grace_ms),
            refs: RefTable::new(me),
            objects: Objects::default(),
            tasks: HashMap::default(),
            shapes: HashMap::default(),
            leases: HashMap::default(),
            requests: HashMap::default(),
            idle_check_set: false,
            ahead_check_set: false,
            crowded_until: None,
            shared: Shared::new(common.clone()),
            common,
            actors: HashMap::default(),
            creations: HashMap::new(),
            redirects: HashMap::default(),
            next_sequence: 0,
            streams: HashMap::default(),
            groups: HashMap::default(),
            handles: HashMap::default(),
            pids: HashMap::default(),
            foreign: HashSet::default(),
            ringed: HashSet::default(),
            ended: None,
            lineage: LineageTable::new(usize::try_from(config.max_lineage_bytes).unwrap_or(usize::MAX)),
            kept: HashMap::default(),
            locals: HashMap::default(),
            admissions: admission::Admissions::default(),
            oom_pause: Duration::from_millis(config.task_oom_retry_delay_base_ms),
            sites: HashMap::default(),
            lending: lending::Lending::default(),
        }
    }

    pub(crate) fn new_task_id(&mut self) -> TaskId {
        self.common.new_task_id()
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Sets an object's value and tells everybody who waits for it.
    pub(crate) fn settle(&mut self, object: ObjectId, slot: Slot, now: Instant, out: &mut Out) {
        let (interests, before) = self.objects.settle(object, slot);
        if let Some(before @ Slot::Native(_)) = before {
            out.garbage.push(Box::new(before));
        }
        let failed = !interests.is_empty() && matches!(self.objects.slot(&object), Some(Slot::Failed(_)));
        for interest in interests {
            match interest {
                Interest::Waiter(waiter) if failed => out.failures.extend(waiter.upgrade()),
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
                Err(_ready) if matches!(self.objects.slot(object), Some(Slot::Failed(_))) => {
                    out.failures.push(waiter.clone());
                }
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
        self.ended.get_or_insert_with(|| error.clone());
        let pending: Vec<ObjectId> = self
            .objects
            .iter()
            .filter(|(_, slot)| slot.is_pending())
            .map(|(object, _)| *object)
            .collect();
        for object in pending {
            self.settle(object, Slot::failed(error.clone()), now, out);
        }
        let streams: Vec<TaskId> = self.streams.keys().copied().collect();
        for task in streams {
            self.fail_stream(task, error, out);
        }
        let tasks = std::mem::take(&mut self.tasks);
        out.garbage.push(Box::new((tasks, std::mem::take(&mut self.locals))));
        self.shared_end(out);
        self.dissolve_line(out);
    }
}
