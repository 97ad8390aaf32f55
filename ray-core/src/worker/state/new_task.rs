//! A task to be, as the caller describes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::NewActor;
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::remote::NativeValue;
use crate::wire::ArgSpec;
use crate::worker::task::{PendingTask, Template};

/// An argument as the caller gave it.
#[derive(Debug)]
pub(crate) enum Argument {
    /// A value, encoded as an object.
    Value(Bytes),
    /// A value that stays in this process.
    Native(NativeValue),
    /// A value, put into the store because it is large; the call holds it.
    Stored { object: ObjectId, owner: WorkerId },
    /// A reference to a value that may not be ready.
    Reference { object: ObjectId, owner: WorkerId },
}

/// A call to an actor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewCall {
    pub(crate) actor: ActorId,
    /// The object of the handle it is made with: the actor does not end before the call.
    pub(crate) handle: ObjectId,
    pub(crate) method: u32,
}

/// A task to be.
#[derive(Debug)]
pub(crate) struct NewTask {
    pub(crate) template: Arc<Template>,
    pub(crate) call: Option<NewCall>,
    /// For the construction of an actor that lives here.
    pub(crate) construct: Option<Box<NewActor>>,
    pub(crate) name: Option<String>,
    pub(crate) parent: TaskId,
    pub(crate) args: SmallVec<[Argument; 4]>,
    /// References inside the values.
    pub(crate) nested: SmallVec<[(ObjectId, WorkerId); 1]>,
    pub(crate) returns: u32,
    pub(crate) stream: Option<u32>,
    /// `None`: as the actor says.
    pub(crate) max_retries: Option<i64>,
    /// The time it has: its own timeout, or what is left to the task that submits it, if that is less.
    pub(crate) timeout: Option<Duration>,
}

impl NewTask {
    /// What it counts for among the pending work. A value that stays as it is has no size that could be told.
    pub(crate) fn bytes(&self) -> u64 {
        let values = self.args.iter().map(|arg| match arg {
            Argument::Value(object) => object.len(),
            Argument::Native(_) | Argument::Stored { .. } | Argument::Reference { .. } => 0,
        });
        let args = self.args.len() * size_of::<ArgSpec>();
        (size_of::<PendingTask>() + args + values.sum::<usize>()) as u64
    }
}
