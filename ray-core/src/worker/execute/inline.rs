//! Running the very task that a task of a worker process is about to wait for, on its own thread: the CPU is there, and no
//! process has to be woken, or even started. As far as a program can tell it ran elsewhere:
//!
//! - IL-1: it is a task like any other, with its own id, attempt, context, retries and answer; it only takes no lease.
//! - IL-2: it asks for nothing but CPUs, and for no more than the waiting task holds and lends nobody meanwhile; it is sync,
//!   has no time limit and no `max_calls`, and is in no placement group: nothing of it needs a process of its own.
//! - IL-3: what kills it kills who waits for it. So it runs inline only where that one is run again then: in the first
//!   attempt of a task that has retries. In a further attempt nothing is run inline: what crashes then, crashes alone, and
//!   who waits for it gets the error.
//! - IL-4: a chain of such tasks is at most [`MAX_DEPTH`] long, and each finds [`MIN_STACK`] left.
//!
//! What differs: its process is the waiting task's, and with it the name that stands before what it prints, and statics; a
//! cancel by force only asks it to end; and a lock that the waiting task holds is held (`run_waited_tasks_inline`).

use std::cell::Cell;
use std::sync::Arc;

use super::{Job, run};
use crate::ids::{ObjectId, TaskId};
use crate::process::stack;
use crate::worker::Worker;
use crate::worker::context::{self, Hosting, Resources, TaskContext};
use crate::worker::shape::cpus_alone;

/// How many tasks run within one another, at most, beside the outermost.
pub(super) const MAX_DEPTH: u32 = 16;
/// The stack that is left to a task that runs within another.
pub(super) const MIN_STACK: usize = 512 << 10;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The task of this process that makes the object, if the one that runs on this thread may run it (IL-2 to IL-4).
pub(crate) fn may_run(worker: &Arc<Worker>, object: ObjectId) -> Option<TaskId> {
    if object.is_put() || object.owner_prefix() != worker.identity.worker.prefix() || worker.identity.is_driver() {
        return None;
    }
    let context = context::current()?;
    let alone = context.hosting == Hosting::Process && context.actor.is_none() && context.group.is_none();
    let again = context.retriable && context.attempt == 0;
    let deep = DEPTH.get() >= MAX_DEPTH || stack::left().is_none_or(|left| left < MIN_STACK);
    if !alone || !again || deep || !worker.config.run_waited_tasks_inline {
        return None;
    }
    let task = object.task();
    let cpus = worker.read(|state| state.inline_cpus(task))?;
    (cpus <= cpus_of(&context)?).then_some(task)
}

/// What a task holds, in steps of 1/10000, if that is CPUs alone.
fn cpus_of(context: &TaskContext) -> Option<i64> {
    match &context.resources {
        Resources::Own(held) => cpus_alone(held),
        Resources::OfShape(shape) => cpus_alone(&shape.resources),
        Resources::OfFunction(key) => {
            let options = run::registered(*key).ok()?.as_function()?.defaults();
            let alone = options.num_gpus == 0.0 && options.memory.is_none() && options.resources.is_empty();
            #[expect(clippy::cast_possible_truncation, reason = "validated: far below 2^53 steps")]
            alone.then(|| (options.num_cpus * 10_000.0).round() as i64)
        }
    }
}

/// Runs a task for the one that is about to wait for it, unless a worker has it by now. Returns whether it did.
pub(crate) fn run_for_waiter(worker: &Arc<Worker>, task: TaskId) -> bool {
    let Some(spec) = worker.with(|state, now, out| state.take_inline(task, now, out)) else {
        return false;
    };
    let job = Job {
        spec,
        from: worker.identity.worker,
        // The pending task holds its arguments (CO-3).
        held: Vec::new(),
    };
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    run::task(worker, job);
    DEPTH.set(depth);
    true
}
