//! A task or actor call that this process owns and that has not ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::registry::RemoteItem;
use crate::remote::{NativeValue, RetryBackoff, RetryExceptions};
use crate::wire::TaskSpec;
use crate::worker::context::TaskContext;
use crate::worker::shape::Shape;

/// What all calls of one function with the same options have in common.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) item: &'static RemoteItem,
    /// The name shown to people.
    pub(crate) name: Arc<str>,
    pub(crate) shape: Shape,
    /// What a task takes, where that is not what the function's attribute says.
    pub(crate) resources: Option<BTreeMap<String, i64>>,
    pub(crate) options: CallOptions,
    /// How often a task is run again that its process did not end; -1: any number. For calls their actor says it.
    pub(crate) max_retries: i64,
    /// Whether a caller that waits for such a task can run it itself: it is neither a future nor a stream.
    pub(crate) runs_on_caller: bool,
    /// Whether such a task, with values as arguments, needs nothing that only the state has.
    pub(crate) can_be_local: bool,
}

impl Template {
    /// What is to be run, in the first attempt: without arguments and a name of its own, for one result, once.
    pub(crate) fn spec(&self, task: TaskId, owner: WorkerId, parent: TaskId) -> TaskSpec {
        TaskSpec {
            task,
            attempt: 0,
            owner,
            parent,
            item: self.item.key().0,
            call: None,
            name: None,
            args: Vec::new(),
            returns: 1,
            stream: None,
            retry_exceptions: self.options.retry_exceptions.into(),
            deadline: None,
            group: self.shape.strategy.group(),
            captures: self.shape.strategy.captures(),
            resources: None,
            retriable: false,
        }
    }
}

/// The options that tasks and actor calls share, as far as they matter after submission.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry_exceptions: RetryExceptions,
    pub(crate) retry_backoff: Option<RetryBackoff>,
    pub(crate) concurrency_group: Option<String>,
}

/// Where a pending task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Some arguments are not ready.
    Waiting,
    /// It stands in line for a lease, or for its actor.
    Queued,
    /// It failed and waits until it may run again.
    BackingOff,
    /// A worker has it.
    Pushed(WorkerId),
}

/// An argument that was given as a reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dependency {
    pub(crate) position: u32,
    pub(crate) object: ObjectId,
    pub(crate) owner: WorkerId,
}

/// What has come of a stream some of whose items lie in the store, and so can be lost.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// As many have come, without gaps.
    pub(crate) received: u64,
    /// Those that were made again since a retry was taken for that. One by one they are found to be lost, and one retry
    /// is for each of them once.
    pub(crate) remade: Vec<u64>,
}

/// A task from its submission until its results are known.
#[derive(Debug)]
pub(crate) struct PendingTask {
    pub(crate) spec: TaskSpec,
    pub(crate) template: Arc<Template>,
    pub(crate) dependencies: SmallVec<[Dependency; 1]>,
    /// References inside arguments that were given as values.
    pub(crate) nested: SmallVec<[(ObjectId, WorkerId); 1]>,
    /// When its time is over.
    pub(crate) due: Option<Instant>,
    /// Dependencies that are not ready.
    pub(crate) missing: u32,
    /// Attempts left after a failure of the system, or of the task's code where that is retried; -1: any number.
    /// `None`: as the actor says, which is known when the call is first sent.
    pub(crate) retries_left: Option<i64>,
    pub(crate) phase: Phase,
    /// Somebody gave up on it: its results are settled, what still comes is dropped.
    pub(crate) cancelled: bool,
    /// What has come of the stream that it yields, once something has that lies in the store.
    pub(crate) items: Option<Box<Items>>,
    /// Pauses before the next attempt so far, for the back-off.
    pub(crate) failures: u32,
    /// How often its worker was killed for memory: counted apart from the retries.
    pub(crate) oom_failures: u32,
    /// How often it has run again to make lost results again.
    pub(crate) runs: u32,
    /// What it counts for among the pending work.
    pub(crate) bytes: u64,
    /// The actor, for a call.
    pub(crate) actor: Option<ActorId>,
    /// The object of the handle that a call was made with.
    pub(crate) handle: Option<ObjectId>,
    /// Arguments that never leave this process, by their position.
    pub(crate) natives: Vec<(u32, NativeValue)>,
    /// While it runs in this process itself.
    pub(crate) context: Option<Arc<TaskContext>>,
}

impl PendingTask {
    /// One that has been submitted right now: without arguments, time limit and actor.
    pub(crate) fn new(spec: TaskSpec, template: Arc<Template>, retries_left: Option<i64>) -> Self {
        Self {
            spec,
            template,
            dependencies: SmallVec::new(),
            nested: SmallVec::new(),
            due: None,
            missing: 0,
            retries_left,
            phase: Phase::Waiting,
            cancelled: false,
            items: None,
            failures: 0,
            oom_failures: 0,
            runs: 0,
            bytes: size_of::<Self>() as u64,
            actor: None,
            handle: None,
            natives: Vec::new(),
            context: None,
        }
    }

    pub(crate) fn id(&self) -> TaskId {
        self.spec.task
    }

    pub(crate) fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or(&self.template.name)
    }

    /// The references among and inside its arguments.
    pub(crate) fn references(&self) -> impl Iterator<Item = (ObjectId, WorkerId)> + '_ {
        let dependencies = self.dependencies.iter().map(|one| (one.object, one.owner));
        dependencies.chain(self.nested.iter().copied())
    }

    /// The objects it returns.
    pub(crate) fn results(&self) -> impl Iterator<Item = ObjectId> + use<> {
        let task = self.spec.task;
        (1..=self.spec.returns).map(move |index| task.object(index))
    }

    /// The objects it has made: what it returns, or the items that have come.
    pub(crate) fn made(&self) -> impl Iterator<Item = ObjectId> + use<> {
        let task = self.spec.task;
        let items = self.items.as_deref();
        let made = items.map_or(self.spec.returns, |items| {
            u32::try_from(items.received).unwrap_or(u32::MAX)
        });
        (1..=made).map(move |index| task.object(index))
    }

    /// Why it is not run again to make lost results again.
    pub(crate) fn no_retries(&self) -> String {
        let option = if self.actor.is_some() {
            "max_task_retries"
        } else {
            "max_retries"
        };
        format!("task `{}` ({}) has used up its {option}", self.name(), self.spec.task)
    }

    /// Whether the task's own code may fail and be run again: then its arguments stay here.
    pub(crate) fn may_fail_again(&self) -> bool {
        self.retries_left != Some(0) && self.template.options.retry_exceptions != RetryExceptions::Never
    }

    /// How long to pause before the next attempt: none by default, else doubling up to a cap, less up to a half at random.
    pub(crate) fn pause(&self, random: f64) -> Duration {
        let Some(back_off) = &self.template.options.retry_backoff else {
            return Duration::ZERO;
        };
        back_off.delay(self.failures + 1, random)
    }

    /// Whether it may run again to make this object again.
    pub(crate) fn may_remake(&self, object: &ObjectId) -> bool {
        self.retries_left.is_some_and(|left| left != 0) || self.has_paid_for(object)
    }

    /// Takes a retry for a run that makes this object again, unless one was taken for it.
    pub(crate) fn pay_for(&mut self, object: &ObjectId) -> bool {
        if self.has_paid_for(object) {
            return true;
        }
        if let Some(items) = &mut self.items {
            items.remade.clear();
        }
        self.take_retry()
    }

    fn has_paid_for(&self, object: &ObjectId) -> bool {
        let index = u64::from(object.index()).checked_sub(1);
        object.task() == self.spec.task
            && self.items.as_deref().is_some_and(|items| {
                !items.remade.is_empty() && index.is_some_and(|index| !items.remade.contains(&index))
            })
    }

    /// Takes one of the retries that are left.
    pub(crate) fn take_retry(&mut self) -> bool {
        match self.retries_left {
            None | Some(0) => false,
            Some(left) => {
                self.retries_left = Some(if left > 0 { left - 1 } else { left });
                true
            }
        }
    }
}
