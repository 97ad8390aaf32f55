//! `wait` and `cancel`.

use std::collections::HashSet;
use std::time::Duration;

use crate::api::blocking;
use crate::api::object_ref::ObjectRef;
use crate::error::{RayError, Result};
use crate::worker::resolve::Target;
use crate::worker::{Worker, context, current};

/// References that are ready and those that are not, each in the order given.
pub(crate) type Waited<T> = (Vec<ObjectRef<T>>, Vec<ObjectRef<T>>);

/// Waits until `num_returns` of the references are ready or the time is over, and splits them.
///
/// At most `num_returns` are returned as ready, although more may be; the order of the input is kept in both lists. A
/// failed task is ready. No time limit waits for ever; a limit of zero only looks.
///
/// # Errors
/// [`RayError::InvalidOption`] if a reference is given twice, or if `num_returns` is zero or over their number.
///
/// ```
/// # #[ray_core::remote] fn square(x: u64) -> u64 { x * x }
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let mut open: Vec<_> = (0..4).map(square::remote).collect();
/// let mut sum = 0;
/// while !open.is_empty() {
///     let (ready, rest) = ray_core::wait(open, 1, None)?;
///     sum += ray_core::get(&ready)?[0];
///     open = rest;
/// }
/// assert_eq!(sum, 14);
/// # Ok(()) }
/// ```
pub fn wait<T>(references: Vec<ObjectRef<T>>, num_returns: usize, timeout: Option<Duration>) -> Result<Waited<T>> {
    let Awaited { targets, wanted } = awaited(&references, num_returns)?;
    let worker = current()?;
    blocking::allow("wait()", "wait_async()", || {
        worker.block_until(&targets, wanted, timeout)
    })?;
    Ok(split(&worker, &targets, references, num_returns))
}

/// As [`wait`], without blocking.
///
/// # Errors
/// As [`wait`].
pub async fn wait_async<T>(
    references: Vec<ObjectRef<T>>,
    num_returns: usize,
    timeout: Option<Duration>,
) -> Result<Waited<T>> {
    let Awaited { targets, wanted } = awaited(&references, num_returns)?;
    let worker = current()?;
    match timeout {
        None => worker.ready(&targets, wanted).await,
        Some(timeout) => {
            let waiter = worker.waiter(&targets, wanted);
            // The timer runs on the runtime's own thread: the caller's runtime may have none.
            let waiting = waiter.clone();
            let timer = worker.io.spawn(async move {
                // Only the time matters: whether the objects are ready is looked at afterwards.
                let _elapsed = tokio::time::timeout(timeout, waiting.done()).await;
            });
            let _awaiting = context::await_others();
            // The runtime ends only with the session, and then everything is ready.
            let _ended = timer.await;
        }
    }
    Ok(split(&worker, &targets, references, num_returns))
}

/// Whether the object is there, or its error is. A reference whose session has ended is ready: its error is known.
pub(crate) fn is_ready<T>(reference: &ObjectRef<T>) -> bool {
    let raw = reference.raw();
    match raw.awaited().and_then(|target| Ok((target, raw.session()?))) {
        Ok((target, worker)) => worker.are_all_ready(&[target]),
        Err(_) => true,
    }
}

/// What there is to wait for.
struct Awaited {
    /// The objects: a reference whose submission failed has none, and is ready.
    targets: Vec<Target>,
    /// How many of them must be ready.
    wanted: usize,
}

fn awaited<T>(references: &[ObjectRef<T>], num_returns: usize) -> Result<Awaited> {
    let invalid = |why: String| RayError::InvalidOption {
        option: "num_returns".into(),
        name: "wait".into(),
        why,
    };
    if num_returns == 0 || num_returns > references.len() {
        let why = format!(
            "it is {num_returns}, with {} references: give 1 up to their number",
            references.len()
        );
        return Err(invalid(why));
    }
    let mut seen = HashSet::new();
    let mut targets = Vec::with_capacity(references.len());
    for reference in references.iter().filter(|reference| !reference.raw().is_failed()) {
        let target = reference.raw().awaited()?;
        let object = target.object();
        if !seen.insert(object) {
            return Err(invalid(format!(
                "object {object} is given twice: give each reference once"
            )));
        }
        targets.push(target);
    }
    let failed = references.len() - targets.len();
    let wanted = num_returns.saturating_sub(failed);
    Ok(Awaited { targets, wanted })
}

fn split<T>(worker: &Worker, targets: &[Target], references: Vec<ObjectRef<T>>, num_returns: usize) -> Waited<T> {
    let (mut ready, mut rest) = (Vec::new(), Vec::new());
    let mut are_ready = worker.are_ready(targets).into_iter();
    for reference in references {
        let is_ready = reference.raw().is_failed() || are_ready.next().unwrap_or(true);
        let list = if is_ready && ready.len() < num_returns {
            &mut ready
        } else {
            &mut rest
        };
        list.push(reference);
    }
    (ready, rest)
}

/// Cancels the task that makes this object, and the tasks that it has submitted.
///
/// The reference is [`RayError::Cancelled`] at once. Pending work never runs; async work is dropped at its next await; sync
/// work sees [`RuntimeContext::is_cancelled`](crate::RuntimeContext::is_cancelled) and goes on until it returns. A task
/// that has ended is left as it is.
///
/// # Errors
/// As [`cancel_with`].
pub fn cancel<T>(reference: &ObjectRef<T>) -> Result<()> {
    cancel_with(reference, false, true)
}

/// As [`cancel`]; `force` kills the process that runs the task, `recursive` cancels its children too.
///
/// # Errors
/// [`RayError::Unsupported`] for `force` on an actor call (kill the actor instead), and for a reference that another
/// process owns or that was `put`.
pub fn cancel_with<T>(reference: &ObjectRef<T>, force: bool, recursive: bool) -> Result<()> {
    let refused = |why: &str| {
        Err(RayError::Unsupported {
            call: "cancel".into(),
            why: why.into(),
        })
    };
    let shares = "the task shares its process with others, which cannot be killed: cancel it without force";
    if let Some(local) = reference.raw().local() {
        if force {
            return refused(shares);
        }
        local.cancel(&local.session()?, recursive);
        return Ok(());
    }
    let (object, owner, worker) = reference.raw().target()?;
    if object.is_put() {
        return refused("the object was made by put(): there is no task to cancel");
    }
    if owner != worker.identity.worker {
        return refused("the task belongs to another process: cancel it there");
    }
    let task = object.task();
    if let Some(local) = worker.read(|state| state.local(task)) {
        if force {
            return refused(shares);
        }
        local.cancel(&worker, recursive);
        return Ok(());
    }
    worker.with(|state, now, out| {
        let Some(pending) = state.tasks.get(&task) else {
            return Ok(());
        };
        if force && pending.actor.is_some() {
            return refused("an actor call cannot be cancelled by force: use kill() to end the actor");
        }
        if force && pending.template.shape.shared {
            return refused(shares);
        }
        let error = RayError::Cancelled {
            task,
            name: pending.name().to_owned(),
        };
        if let Some(running_in) = state.cancel(task, &error, recursive, now, out)
            && force
        {
            state.kill_worker(running_in, task, out);
        }
        Ok(())
    })
}
