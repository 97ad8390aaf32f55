//! One local task, and its result.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::{RayError, Result};
use crate::ids::{ActorId, ObjectId, TaskId};
use crate::remote::{MethodBody, NativeValue};
use crate::worker::context::TaskContext;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::native::{self, NativeValue as Shareable};
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::state::LocalActor;
use crate::worker::task::Template;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, drop_value};

/// The arguments of a local task: values.
pub(crate) type Arguments = SmallVec<[NativeValue; 2]>;

/// A task that stays in this process, with its result.
pub(crate) struct LocalTask {
    pub(crate) id: TaskId,
    /// The task that submitted it, if one did.
    pub(crate) parent: TaskId,
    pub(crate) template: Arc<Template>,
    /// For a call of an actor's method.
    pub(crate) call: Option<LocalCall>,
    session: Weak<Worker>,
    /// It could be run again: it has no arguments, which the first run takes.
    pub(crate) is_repeatable: bool,
    /// References of this kind to the result. The state counts one for all of them.
    handles: AtomicU32,
    /// The state knows the object.
    handed_in: AtomicBool,
    /// What `cell` holds, to be looked at without its lock.
    status: AtomicU8,
    cell: Mutex<Cell>,
}

/// A method, and the actor that it is called of.
#[derive(Debug)]
pub(crate) struct LocalCall {
    pub(crate) actor: ActorId,
    /// Gone when the actor has ended.
    pub(crate) host: Weak<LocalActor>,
    pub(crate) body: MethodBody,
    pub(crate) kind: Kind,
}

struct Cell {
    stage: Stage,
    waiters: SmallVec<[Weak<Waiter>; 1]>,
}

enum Stage {
    Waiting(Arguments),
    Running(Arc<TaskContext>),
    Returned(NativeValue),
    /// A small value that somebody has read who was not the last to do so.
    Encoded(Bytes),
    Failed(Box<RayError>),
    /// The value was moved out, is the state's, or nobody wanted it.
    Gone,
}

/// A call whose turn at its actor has not come.
const PARKED: u8 = 0;
const WAITING: u8 = 1;
const RUNNING: u8 = 2;
const RETURNED: u8 = 3;
const FAILED: u8 = 4;

/// What a reference reads.
pub(crate) enum Read {
    Pending,
    Encoded(Bytes),
    Failed(RayError),
    /// The state knows.
    HandedIn,
}

/// What follows when a result is settled: done without the task's lock.
struct Settled {
    waiters: SmallVec<[Weak<Waiter>; 1]>,
    failed: bool,
    /// For the state.
    slot: Option<Slot>,
    /// Nobody wants it.
    garbage: Option<NativeValue>,
}

impl LocalTask {
    /// What one counts for among the pending work. Its arguments have no size that could be told.
    pub(crate) const BYTES: u64 = size_of::<Self>() as u64;

    /// A task that one reference to its result exists of.
    pub(crate) fn new(
        session: Weak<Worker>,
        id: TaskId,
        parent: TaskId,
        template: Arc<Template>,
        call: Option<LocalCall>,
        arguments: Arguments,
    ) -> Arc<Self> {
        let status = if call.is_some() { PARKED } else { WAITING };
        Arc::new(Self {
            is_repeatable: call.is_none() && arguments.is_empty(),
            call,
            id,
            parent,
            template,
            session,
            handles: AtomicU32::new(1),
            handed_in: AtomicBool::new(false),
            status: AtomicU8::new(status),
            cell: Mutex::new(Cell {
                stage: Stage::Waiting(arguments),
                waiters: SmallVec::new(),
            }),
        })
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands in the same line as another one.
    pub(crate) fn shares_line_with(&self, other: &Self) -> bool {
        match (&self.call, &other.call) {
            (Some(_), Some(_)) => true,
            (None, None) => self.template.shape == other.template.shape,
            _ => false,
        }
    }

    /// The object that it returns.
    pub(crate) fn object(&self) -> ObjectId {
        self.id.object(1)
    }

    /// The runtime that it belongs to, as long as that lives.
    pub(crate) fn session(&self) -> Result<Arc<Worker>> {
        self.session.upgrade().ok_or(RayError::SessionEnded {})
    }

    /// Whether its session lives.
    pub(crate) fn is_of_session(&self) -> bool {
        self.session.strong_count() > 0
    }

    /// Whether this is the runtime that it belongs to.
    pub(crate) fn is_of(&self, worker: &Arc<Worker>) -> bool {
        std::ptr::eq(self.session.as_ptr(), Arc::as_ptr(worker))
    }

    /// Whether the state knows the object.
    pub(crate) fn is_handed_in(&self) -> bool {
        self.handed_in.load(Ordering::Acquire)
    }

    /// Whether the result is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.status.load(Ordering::Acquire) >= RETURNED
    }

    /// Whether there will be no value.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.load(Ordering::Acquire) == FAILED
    }

    /// A task that nobody else knows is not to be: its arguments go back.
    pub(crate) fn withdraw(&self) -> Arguments {
        match std::mem::replace(&mut self.cell().stage, Stage::Gone) {
            Stage::Waiting(arguments) => arguments,
            _ => Arguments::new(),
        }
    }

    /// The turn of a call has come: whoever comes first may claim it.
    pub(super) fn release(&self) {
        // One that was cancelled stays so.
        let _unless_settled = self
            .status
            .compare_exchange(PARKED, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes the task to be run (LT-1). `context` is its context from here on.
    pub(crate) fn claim(&self, context: &Arc<TaskContext>) -> Option<Arguments> {
        let mut cell = self.cell();
        match &mut cell.stage {
            Stage::Waiting(arguments) if self.is_waiting() => {
                let arguments = std::mem::take(arguments);
                cell.stage = Stage::Running(context.clone());
                self.status.store(RUNNING, Ordering::Release);
                Some(arguments)
            }
            _ => None,
        }
    }

    /// Whether it is a call whose turn has not come.
    pub(crate) fn is_parked(&self) -> bool {
        self.status.load(Ordering::Acquire) == PARKED
    }

    /// Whether it may be claimed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.status.load(Ordering::Acquire) == WAITING
    }

    /// The context of its run, while it runs.
    pub(crate) fn running(&self) -> Option<Arc<TaskContext>> {
        match &self.cell().stage {
            Stage::Running(context) => Some(context.clone()),
            _ => None,
        }
    }

    /// The task that was claimed has ended. What it yields is dropped if it was cancelled meanwhile (LT-2).
    pub(crate) fn finish(&self, worker: &Arc<Worker>, result: Result<NativeValue>) {
        let mut cell = self.cell();
        if !matches!(cell.stage, Stage::Running(_)) {
            drop(cell);
            drop_value(result);
            return;
        }
        let settled = self.settle(&mut cell, result);
        drop(cell);
        self.tell(worker, settled);
    }

    /// Fails the task if it is not settled. Returns the context of its run, if it runs.
    pub(crate) fn fail(self: &Arc<Self>, worker: &Arc<Worker>, error: RayError) -> Option<Arc<TaskContext>> {
        let mut cell = self.cell();
        let (arguments, context) = match &mut cell.stage {
            Stage::Waiting(arguments) => (Some(std::mem::take(arguments)), None),
            Stage::Running(context) => (None, Some(context.clone())),
            _ => return None,
        };
        let settled = self.settle(&mut cell, Err(error));
        drop(cell);
        self.tell(worker, settled);
        if let Some(arguments) = arguments {
            worker.with(|state, _, out| state.locals_ended(1, out));
            self.turn_over(worker);
            arguments.into_iter().for_each(drop_value);
        }
        context
    }

    /// A call that was withdrawn takes no turn of its actor: others may have it.
    fn turn_over(self: &Arc<Self>, worker: &Arc<Worker>) {
        let Some(call) = &self.call else { return };
        let Some(host) = call.host.upgrade() else { return };
        let (startable, keeper) = host.mailbox.local_ended(call.kind, self);
        worker.start_calls(call.actor, startable);
        drop(keeper);
    }

    /// Completes the result as cancelled. A run is told to stop, and on demand what it has submitted is cancelled too.
    pub(crate) fn cancel(self: &Arc<Self>, worker: &Arc<Worker>, recursive: bool) {
        let name = self.template.name.as_ref().to_owned();
        let error = RayError::Cancelled { task: self.id, name };
        if let Some(context) = self.fail(worker, error) {
            context.cancel.set();
            if recursive {
                worker.executor.cancel_children(worker, self.id);
            }
        }
    }

    fn settle(&self, cell: &mut Cell, result: Result<NativeValue>) -> Settled {
        let failed = result.is_err();
        // Before the look at the handles, as who drops the last one then looks here: one of the two drops the value.
        self.status
            .store(if failed { FAILED } else { RETURNED }, Ordering::SeqCst);
        let wanted = self.handles.load(Ordering::SeqCst) > 0;
        let mut settled = Settled {
            waiters: std::mem::take(&mut cell.waiters),
            failed,
            slot: None,
            garbage: None,
        };
        cell.stage = match result {
            _ if self.is_handed_in() => {
                settled.slot = Some(match result {
                    Ok(value) => Slot::Native(Arc::new(Shareable::new(value))),
                    Err(error) => Slot::failed(error),
                });
                Stage::Gone
            }
            Ok(value) if wanted => Stage::Returned(value),
            Ok(value) => {
                settled.garbage = Some(value);
                Stage::Gone
            }
            Err(error) => Stage::Failed(Box::new(error)),
        };
        settled
    }

    fn tell(&self, worker: &Arc<Worker>, settled: Settled) {
        if let Some(slot) = settled.slot {
            worker.with(|state, now, out| state.local_settled(self, slot, now, out));
        }
        for waiter in settled.waiters.iter().filter_map(Weak::upgrade) {
            if settled.failed {
                waiter.notify_failure();
            } else {
                waiter.notify();
            }
        }
        settled.garbage.into_iter().for_each(drop_value);
    }

    /// Registers a waiter. `false`: the result is settled.
    pub(crate) fn watch(&self, waiter: &Arc<Waiter>) -> bool {
        let mut cell = self.cell();
        if self.is_settled() {
            return false;
        }
        if cell.waiters.len() >= 16 {
            cell.waiters.retain(|waiter| waiter.strong_count() > 0);
        }
        cell.waiters.push(Arc::downgrade(waiter));
        true
    }

    /// Reads the result, in its encoded form.
    pub(crate) fn read(self: &Arc<Self>, worker: &Arc<Worker>) -> Read {
        let mut cell = self.cell();
        let encoded = match &cell.stage {
            _ if self.is_handed_in() => return Read::HandedIn,
            Stage::Waiting(_) | Stage::Running(_) => return Read::Pending,
            Stage::Encoded(bytes) => return Read::Encoded(bytes.clone()),
            Stage::Failed(error) => return Read::Failed((**error).clone()),
            Stage::Gone => return Read::Failed(RayError::SessionEnded {}),
            Stage::Returned(value) => native::encode(value),
        };
        match encoded {
            Ok(encoded) if encoded.refs.is_empty() && encoded.object_len() <= worker.max_inline() => {
                let bytes = encoded.to_bytes();
                let value = std::mem::replace(&mut cell.stage, Stage::Encoded(bytes.clone()));
                drop(cell);
                value.drop_carefully();
                Read::Encoded(bytes)
            }
            Ok(_) => {
                self.hand_over(&mut cell, worker);
                Read::HandedIn
            }
            Err(error) => Read::Failed(error),
        }
    }

    /// Moves the value out, for the last reference.
    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        if self.handles.load(Ordering::Acquire) != 1 || self.is_handed_in() {
            return None;
        }
        let mut cell = self.cell();
        match std::mem::replace(&mut cell.stage, Stage::Gone) {
            Stage::Returned(value) => Some(value.into_any()),
            other => {
                cell.stage = other;
                None
            }
        }
    }

    /// One reference more.
    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// One reference less. `true`: it was the last one, and the state has a count to give back.
    pub(crate) fn drop_handle(&self) -> bool {
        if self.handles.fetch_sub(1, Ordering::SeqCst) != 1 {
            return false;
        }
        if self.is_handed_in() {
            return true;
        }
        if self.status.load(Ordering::SeqCst) >= RETURNED {
            let value = std::mem::replace(&mut self.cell().stage, Stage::Gone);
            value.drop_carefully();
        }
        false
    }

    /// Makes the object the state's.
    pub(crate) fn hand_in(self: &Arc<Self>, worker: &Arc<Worker>) {
        if !self.is_handed_in() {
            self.hand_over(&mut self.cell(), worker);
        }
    }

    fn hand_over(self: &Arc<Self>, cell: &mut Cell, worker: &Arc<Worker>) {
        if self.is_handed_in() {
            return;
        }
        let slot = match &cell.stage {
            Stage::Waiting(_) | Stage::Running(_) => None,
            _ => match std::mem::replace(&mut cell.stage, Stage::Gone) {
                Stage::Returned(value) => Some(Slot::Native(Arc::new(Shareable::new(value)))),
                Stage::Encoded(bytes) => Some(Slot::Inline(bytes)),
                Stage::Failed(error) => Some(Slot::Failed(error)),
                Stage::Waiting(_) | Stage::Running(_) | Stage::Gone => Some(Slot::failed(RayError::SessionEnded {})),
            },
        };
        let object = self.object();
        worker.with(|state, now, out| {
            state.refs.own(object, Hold::Handle);
            state.objects.expect(object);
            match slot {
                Some(slot) => state.local_settled(self, slot, now, out),
                None => state.local_expected(self.clone()),
            }
        });
        self.handed_in.store(true, Ordering::Release);
    }
}

impl Stage {
    /// Drops what may be the user's, whose panic is not the dropper's.
    fn drop_carefully(self) {
        match self {
            Self::Returned(value) => drop_value(value),
            Self::Waiting(arguments) => arguments.into_iter().for_each(drop_value),
            Self::Running(_) | Self::Encoded(_) | Self::Failed(_) | Self::Gone => {}
        }
    }
}

impl Drop for LocalTask {
    fn drop(&mut self) {
        let cell = self.cell.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut cell.stage, Stage::Gone).drop_carefully();
    }
}

impl fmt::Debug for LocalTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTask")
            .field("id", &self.id)
            .field("name", &self.template.name)
            .finish_non_exhaustive()
    }
}
