//! One local task, from its submission to its run.

mod references;
mod result;

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
use crate::worker::state::LocalActor;
use crate::worker::task::Template;
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, drop_value};
pub(crate) use result::Read;

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
