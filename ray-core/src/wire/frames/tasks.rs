//! A task or an actor's call, ready to run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::values::ArgSpec;
use crate::ids::{ActorId, PlacementGroupId, TaskId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// One task or actor call, ready to run.
    #[derive(Debug, Clone)]
    struct TaskSpec {
        /// The task.
        task: TaskId,
        /// Which attempt, from 0.
        attempt: u32,
        /// Who owns its results.
        owner: WorkerId,
        /// The task that submitted it.
        parent: TaskId,
        /// The key of the function or actor type.
        item: u64,
        /// For an actor call.
        call: Option<ActorCallSpec>,
        /// The name shown to people, if not the function's own.
        name: Option<String>,
        /// The arguments in order.
        args: Vec<ArgSpec>,
        /// How many objects it returns.
        returns: u32,
        /// For a task that returns a stream.
        stream: Option<Box<StreamSpec>>,
        /// Which errors of the task's own code are retried.
        retry_exceptions: RetryExceptions,
        /// The time it may still run.
        deadline: Option<Duration>,
        /// The placement group it runs in.
        group: Option<PlacementGroupId>,
        /// Whether its children run there too.
        captures: bool,
        /// What it takes, for the runtime context; nothing: what the function's attribute says.
        resources: Option<BTreeMap<String, i64>>,
        /// Whether it is run again if its worker is lost: such workers are ended first when memory is short.
        retriable: bool,
    }

    /// How a stream is produced. A further attempt goes on where the one before it came to.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct StreamSpec {
        /// After how many unconsumed items it pauses (0: never).
        ahead: u32,
        /// Items that the owner has: they are not sent again.
        received: u64,
        /// Items that the consumer has taken.
        consumed: u64,
        /// Items among those received that were lost, in order: they are sent once more.
        missing: Vec<u64>,
        /// Whether nothing but these is wanted: then the task ends after the last of them.
        only_missing: bool,
    }

    /// Which errors of a task's own code are retried.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum RetryExceptions {
        1 =>
        /// None.
        Never {},
        2 =>
        /// All.
        All {},
        3 =>
        /// Those that the function's predicate accepts.
        Matching {},
    }

    /// The part of a call that is about the actor.
    #[derive(Debug, Clone)]
    struct ActorCallSpec {
        /// The actor.
        actor: ActorId,
        /// The method's index in the actor's table.
        method: u32,
        /// The caller's number for this call: it grows from call to call, and stays when the call is sent again because
        /// the actor was lost.
        sequence: u64,
        /// The first number that the caller has not seen answered: below it nothing will be sent again.
        answered: u64,
        /// The call's place among those sent to this worker, from 0: ring and socket may overtake each other.
        order: u64,
        /// The concurrency group, if not the method's own.
        group: Option<String>,
    }
}

impl From<crate::remote::RetryExceptions> for RetryExceptions {
    fn from(which: crate::remote::RetryExceptions) -> Self {
        match which {
            crate::remote::RetryExceptions::Never => Self::Never {},
            crate::remote::RetryExceptions::All => Self::All {},
            crate::remote::RetryExceptions::Matching => Self::Matching {},
        }
    }
}

impl TaskSpec {
    /// A task that takes and returns nothing, without any option.
    pub(crate) fn bare(task: TaskId, owner: WorkerId, item: u64) -> Self {
        Self {
            task,
            attempt: 0,
            owner,
            parent: TaskId::default(),
            item,
            call: None,
            name: None,
            args: Vec::new(),
            returns: 0,
            stream: None,
            retry_exceptions: RetryExceptions::Never {},
            deadline: None,
            group: None,
            captures: false,
            resources: None,
            retriable: false,
        }
    }
}

impl RetryExceptions {
    /// Whether this error is one of them.
    pub fn accepts(self, error: &crate::remote::TaskError) -> bool {
        let which = match self {
            Self::Never {} => crate::remote::RetryExceptions::Never,
            Self::All {} => crate::remote::RetryExceptions::All,
            Self::Matching {} => crate::remote::RetryExceptions::Matching,
        };
        which.accepts(error)
    }
}
