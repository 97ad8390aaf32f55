//! [`RayError`]: everything that can go wrong, with the ids, the place, and what to do.
//!
//! Codes are `RAY0xxx`, never reused; each has a page under `docs/errors/`.

mod as_value;
mod codes;
mod failure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub(crate) use self::failure::FAILURE_LAYOUTS;
pub use self::failure::{ErrorValue, TaskFailure};
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::wire::wire_types;

wire_types! {
    layouts pub ERROR_LAYOUTS;

    /// What went wrong.
    ///
    /// It is cheap to clone, and it is the same error wherever it shows: at the `get` of the failed task, and at the
    /// `get` of every task that depended on it.
    #[derive(Debug, Clone, thiserror::Error)]
    #[non_exhaustive]
    enum RayError {
        1 =>
        /// No runtime lives in this process.
        #[error("RAY0001: ray is not initialised in this process: call ray_core::init() first and keep its handle")]
        NotInitialized {},
        2 =>
        /// A runtime lives already.
        #[error("RAY0002: ray is initialised already in this process: use ray_core::init_or_join() for a further handle")]
        AlreadyInitialized {},
        3 =>
        /// The session that made the reference is over.
        #[error("RAY0003: the session of this reference has ended: keep the handle that init() returned while references are in use")]
        SessionEnded {},
        4 =>
        /// The runtime could not start.
        #[error("RAY0004: ray could not start: {why}")]
        Start {
            /// What failed, and the way out.
            why: String,
        },
        5 =>
        /// The task's own code failed: it returned an error or panicked.
        #[error("RAY0005: {failure}")]
        TaskFailed {
            /// Where and how.
            failure: Arc<TaskFailure>,
        },
        6 =>
        /// The process that ran the task died, as often as the task may be retried.
        #[error("RAY0006: the worker died while it ran task `{name}` ({task}, attempt {attempt}, pid {pid}): {cause}; raise max_retries if the task may run again")]
        WorkerCrashed {
            /// The task.
            task: TaskId,
            /// Its name.
            name: String,
            /// Which attempt this was, from 0.
            attempt: u32,
            /// The process.
            pid: u32,
            /// How the process ended.
            cause: String,
        },
        7 =>
        /// The actor is dead and will not come back.
        #[error("RAY0007: actor `{name}` ({actor}) is dead: {cause}")]
        ActorDied {
            /// The actor.
            actor: ActorId,
            /// Its type, and its name if it has one.
            name: String,
            /// Why it died.
            cause: String,
        },
        8 =>
        /// The actor is restarting; the call may have run.
        #[error("RAY0008: actor `{name}` ({actor}) was lost during the call, which may have run: {cause}; set max_task_retries to have such calls sent again")]
        ActorUnavailable {
            /// The actor.
            actor: ActorId,
            /// Its type, and its name if it has one.
            name: String,
            /// What happened.
            cause: String,
        },
        9 =>
        /// The value is gone and cannot be made again.
        #[error("RAY0009: object {object} is lost: {reason}")]
        ObjectLost {
            /// The object.
            object: ObjectId,
            /// Why it is gone and why it could not be made again.
            reason: String,
        },
        10 =>
        /// The process that owned the object died, and the object with it.
        #[error("RAY0010: object {object} died with its owner {owner}: create it in a process that lives longer, or keep its value")]
        OwnerDied {
            /// The object.
            object: ObjectId,
            /// The worker that owned it.
            owner: WorkerId,
        },
        11 =>
        /// The time given to `get` was over first.
        #[error("RAY0011: {pending} of {of} objects were not ready after {waited:?}; they go on in the background")]
        GetTimeout {
            /// How many were not ready.
            pending: u64,
            /// Of how many.
            of: u64,
            /// The time given.
            waited: Duration,
        },
        12 =>
        /// The task was cancelled.
        #[error("RAY0012: task `{name}` ({task}) was cancelled")]
        Cancelled {
            /// The task.
            task: TaskId,
            /// Its name.
            name: String,
        },
        13 =>
        /// The task ran longer than its `timeout`.
        #[error("RAY0013: task `{name}` ({task}) did not end within its timeout of {timeout:?}")]
        TaskTimeout {
            /// The task.
            task: TaskId,
            /// Its name.
            name: String,
            /// The time it had.
            timeout: Duration,
        },
        14 =>
        /// A worker was killed so that the machine does not run out of memory.
        #[error("RAY0014: the worker of task `{name}` was killed because the node ran low on memory: {report}")]
        OutOfMemory {
            /// The task or actor that was running.
            name: String,
            /// The limit, the usage, and the five largest tasks and actors.
            report: String,
        },
        15 =>
        /// No node can ever run this.
        #[error("RAY0015: `{name}` cannot be scheduled: {why}")]
        Unschedulable {
            /// The task or actor.
            name: String,
            /// Which resource is short, and by how much.
            why: String,
        },
        16 =>
        /// The worker's environment could not be made.
        #[error("RAY0016: a worker could not be started: {why}")]
        RuntimeEnv {
            /// What failed.
            why: String,
        },
        17 =>
        /// Too many calls wait at one actor.
        #[error("RAY0017: actor {actor} has {limit} calls pending, its max_pending_calls: wait for some of them first")]
        PendingCallsLimit {
            /// The actor.
            actor: ActorId,
            /// Its limit.
            limit: u64,
        },
        18 =>
        /// Too much work is pending in this process.
        #[error("RAY0018: pending work holds {pending_bytes} bytes, over the bound of {limit_bytes}: get some results first, or use submit(), which waits")]
        PendingTasksLimit {
            /// Bytes held by pending work.
            pending_bytes: u64,
            /// The bound.
            limit_bytes: u64,
        },
        19 =>
        /// An actor would wait for itself.
        #[error("RAY0019: actor {actor} would wait for a call on itself from within an exclusive call: take &self, or return the reference instead of waiting")]
        WouldDeadlock {
            /// The actor.
            actor: ActorId,
        },
        20 =>
        /// The name is taken.
        #[error("RAY0020: the name `{name}` is taken by a living actor in namespace `{namespace}`: choose another, or set get_if_exists")]
        ActorNameTaken {
            /// The name.
            name: String,
            /// The namespace.
            namespace: String,
        },
        21 =>
        /// No living actor has the name.
        #[error("RAY0021: no living actor is named `{name}` in namespace `{namespace}`")]
        ActorNotFound {
            /// The name.
            name: String,
            /// The namespace.
            namespace: String,
        },
        22 =>
        /// The object store said no.
        #[error("RAY0022: object store: {why}")]
        Store {
            /// The store's own error.
            why: String,
        },
        23 =>
        /// A value could not be turned into bytes.
        #[error("RAY0023: {what} cannot be sent: {why}")]
        Encode {
            /// The argument or result.
            what: String,
            /// The codec's own error.
            why: String,
        },
        24 =>
        /// Bytes could not be turned into the value.
        #[error("RAY0024: {what} cannot be read as {ty}: {why}")]
        Decode {
            /// The argument or object.
            what: String,
            /// The type that was expected.
            ty: String,
            /// The codec's own error.
            why: String,
        },
        25 =>
        /// An option has a value that makes no sense.
        #[error("RAY0025: option {option} of `{name}`: {why}")]
        InvalidOption {
            /// The option.
            option: String,
            /// The task or actor.
            name: String,
            /// What is wrong and what would be right.
            why: String,
        },
        26 =>
        /// A call that blocks was made on an async thread that must not block.
        #[error("RAY0026: {call} would block the only thread of this async runtime: use {instead}")]
        BlockingInAsync {
            /// The call.
            call: String,
            /// The async form.
            instead: String,
        },
        27 =>
        /// The placement group is gone.
        #[error("RAY0027: placement group {group}: {why}")]
        PlacementGroup {
            /// Its id.
            group: String,
            /// What happened to it.
            why: String,
        },
        28 =>
        /// A function, actor or method that this executable does not have.
        #[error("RAY0028: {what} is not in this executable ({why}): driver and workers must run the same build")]
        UnknownItem {
            /// What was asked for.
            what: String,
            /// Near misses.
            why: String,
        },
        29 =>
        /// Something that should not happen.
        #[error("RAY0029: a bug in ray: {why}; please report it")]
        Internal {
            /// What was seen.
            why: String,
        },
        30 =>
        /// The node, its raylet or the head cannot be reached any more.
        #[error("RAY0030: the connection to {peer} is gone: {why}")]
        Disconnected {
            /// The other end.
            peer: String,
            /// Why.
            why: String,
        },
        31 =>
        /// The call cannot be done on this kind of task.
        #[error("RAY0031: {call}: {why}")]
        Unsupported {
            /// The call.
            call: String,
            /// Why not, and what to do instead.
            why: String,
        },
        32 =>
        /// The stream has been consumed, or its task is gone.
        #[error("RAY0032: a stream of task {task} cannot be read: {why}")]
        Stream {
            /// The task that produces the items.
            task: TaskId,
            /// What happened.
            why: String,
        },
        33 =>
        /// A queue holds fewer items than were asked for.
        #[error("RAY0033: the queue holds {held} of the {wanted} items that were asked for: use get(), which waits, or a longer timeout")]
        QueueEmpty {
            /// How many it holds.
            held: u64,
            /// How many were asked for.
            wanted: u64,
        },
        34 =>
        /// A queue has no room for what was given.
        #[error("RAY0034: the queue holds {held} items of at most {maxsize}, {given} more do not fit: use put(), which waits, or a longer timeout")]
        QueueFull {
            /// How many it holds.
            held: u64,
            /// How many it may hold.
            maxsize: u64,
            /// How many were to be put.
            given: u64,
        },
        35 =>
        /// The state of an actor could not be saved or restored.
        #[error("RAY0035: the state of actor `{name}` ({actor}) {why}")]
        Checkpoint {
            /// The actor.
            actor: ActorId,
            /// Its type, and its name if it has one.
            name: String,
            /// What failed, with the file, and the way out.
            why: String,
        },
        36 =>
        /// `kill` was called on an actor whose constructor's arguments are not ready, and which the cluster does not know yet.
        #[error("RAY0036: actor `{name}` ({actor}) was not registered within {waited:?}, since the arguments of its constructor are not ready: cancel or await the tasks that make them, and call kill() again")]
        ActorPending {
            /// The actor.
            actor: ActorId,
            /// Its type.
            name: String,
            /// How long it was waited for.
            waited: Duration,
        },
    }
}

impl RayError {
    /// The user's own error, if the task failed with a value of type `E` that can be serialised. Works also on the
    /// error of a task that failed because an argument did, or that returned the error of a task as its own.
    pub fn downcast_ref<E: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<&E> {
        let Self::TaskFailed { failure } = self else {
            return None;
        };
        let value = failure.value.as_ref()?;
        value
            .downcast_ref()
            .or_else(|| value.downcast_ref::<Self>()?.downcast_ref())
    }

    /// The error of one task, where this one was told of all that need the same.
    pub(crate) fn named_for(&self, task: &str) -> Self {
        match self {
            Self::Unschedulable { why, .. } => Self::Unschedulable {
                name: task.to_owned(),
                why: why.clone(),
            },
            other => other.clone(),
        }
    }

    /// Whether running the task again may help: the system failed, not the task's own code.
    pub fn is_system_failure(&self) -> bool {
        matches!(
            self,
            Self::WorkerCrashed { .. } | Self::ObjectLost { .. } | Self::OutOfMemory { .. } | Self::RuntimeEnv { .. }
        )
    }

    pub(crate) fn internal(why: impl fmt::Display) -> Self {
        Self::Internal { why: why.to_string() }
    }
}

/// What calls into ray return.
pub type Result<T, E = RayError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::wire;

    #[test]
    fn an_error_travels_whole() {
        let error = RayError::TaskFailed {
            failure: Arc::new(TaskFailure {
                function: "app::work".into(),
                task: TaskId::default(),
                attempt: 2,
                node: NodeId::random(),
                pid: 7,
                chain: vec!["outer".into(), "inner".into()],
                panic_location: None,
                value: None,
            }),
        };
        let back: RayError = wire::from_bytes(wire::to_bytes(&error)).unwrap();
        assert_eq!(back.to_string(), error.to_string());
        assert!(back.to_string().contains("outer: inner"));
        assert_eq!(back.code(), "RAY0005");
    }
}
