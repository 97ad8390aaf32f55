//! One task, from its frame to its answer.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::outcome::{Ended, told};
use super::{Job, answer, answer_after, panic, stream};
use crate::error::{RayError, Result};
use crate::registry::{ItemKey, Registry, RemoteItem};
use crate::remote::{Arguments, FunctionBody, Incoming, Outcome};
use crate::wire::{ArgSpec, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{self, Hosting, Resources, TaskContext, WithContext};
use crate::worker::resolve::Unreadable;

/// Runs a task of a function on this thread and answers it.
pub(super) fn task(worker: &Arc<Worker>, job: Job) {
    let found = registered(job.spec.item).and_then(|item| {
        let none = || RayError::UnknownItem {
            what: item.identity().to_string(),
            why: "it is no function".into(),
        };
        Ok((item, item.as_function().ok_or_else(none)?))
    });
    let (item, function) = match found {
        Ok(found) => found,
        Err(error) => return answer(worker, job, TaskOutcome::Failed { error, retry: false }, true),
    };
    let name = shown_name(&job.spec, item);
    let begun = Instant::now();
    let context = Arc::new(task_context(&job.spec, name.clone(), false, Hosting::Process, begun));
    worker.executor.enter_running(&context);
    let outcome = match arguments(worker, &job.spec) {
        Err(outcome) => outcome,
        Ok(arguments) => match function.body {
            FunctionBody::Sync(body) => {
                let ended = caught(&context, || body(arguments));
                told(worker, &job, &name, ended)
            }
            FunctionBody::Async(body) => {
                let body = caught_async(context.clone(), async move { body(arguments).await });
                let ended = worker.executor.runtime().block_on(lending_cpu(worker, &context, body));
                told(worker, &job, &name, ended)
            }
            FunctionBody::Iter(body) => stream::produce_iter(worker, &job, &name, &context, || body(arguments)),
            FunctionBody::Stream(body) => {
                let produced =
                    stream::produce_stream(worker, &job, &name, &context, async move { body(arguments).await });
                worker
                    .executor
                    .runtime()
                    .block_on(lending_cpu(worker, &context, produced))
            }
        },
    };
    worker.executor.running().remove(&job.spec.task);
    let calls = worker.executor.count_call(job.spec.item);
    let max_calls = function.defaults().max_calls;
    let reusable = max_calls == 0 || calls < u64::from(max_calls);
    answer_after(worker, job, outcome, reusable, begun.elapsed());
}

/// The name under which a task is shown: mostly the function's, which is copied once for many tasks.
fn shown_name(spec: &TaskSpec, item: &'static RemoteItem) -> Arc<str> {
    thread_local! {
        static LAST: RefCell<Option<(u64, Arc<str>)>> = const { RefCell::new(None) };
    }
    if let Some(name) = &spec.name {
        return name.as_str().into();
    }
    LAST.with_borrow_mut(|last| match last {
        Some((key, name)) if *key == spec.item => name.clone(),
        _ => last.insert((spec.item, item.identity().name.into())).1.clone(),
    })
}

/// The item with this key.
pub(super) fn registered(key: u64) -> Result<&'static RemoteItem> {
    let found = Registry::global().and_then(|registry| registry.by_key(ItemKey(key)));
    found.map_err(|error| RayError::UnknownItem {
        what: format!("item {key:016x}"),
        why: error.to_string(),
    })
}

pub(super) fn task_context(
    spec: &TaskSpec,
    name: Arc<str>,
    exclusive: bool,
    hosting: Hosting,
    started: Instant,
) -> TaskContext {
    TaskContext {
        task: spec.task,
        attempt: spec.attempt,
        name,
        actor: spec.call.as_ref().map(|call| call.actor),
        exclusive,
        group: spec.group,
        captures: spec.captures,
        resources: match &spec.resources {
            Some(resources) => Resources::Own(resources.clone()),
            None if spec.call.is_some() => Resources::default(),
            None => Resources::OfFunction(spec.item),
        },
        hosting,
        due: spec.deadline.and_then(|left| started.checked_add(left)),
        retriable: spec.retriable,
        started: Some(started),
        ..TaskContext::default()
    }
}

/// The arguments at hand: inline ones as they came, stored ones read in place.
///
/// One that the store has lost is the owner's to make again: the task goes back to it. What a caller of another job has in its
/// part of the store is waited for on this thread.
pub(super) fn arguments(worker: &Arc<Worker>, spec: &TaskSpec) -> Result<Arguments, TaskOutcome> {
    let incoming = spec.args.iter().map(|arg| match arg {
        ArgSpec::Inline { object } => Ok(Incoming::Payload(object.clone())),
        ArgSpec::Stored { object, owner, .. } => match worker.read_stored(*object) {
            Ok(bytes) => Ok(Incoming::Payload(bytes)),
            // It comes whole.
            Err(Unreadable::Lost(_)) if worker.is_foreign(spec.owner) || worker.is_foreign(*owner) => worker
                .read_arrived(*object, *owner)
                .map(Incoming::Payload)
                .map_err(|error| TaskOutcome::Failed { error, retry: false }),
            Err(Unreadable::Lost(why)) => Err(TaskOutcome::ArgumentUnreadable {
                object: *object,
                why,
                lost: true,
            }),
            Err(Unreadable::Failed(error)) => Err(TaskOutcome::Failed { error, retry: false }),
        },
    });
    incoming.collect::<Result<Vec<_>, _>>().map(Arguments::new)
}

/// Runs user code on this thread, in its context.
pub(super) fn caught(context: &Arc<TaskContext>, body: impl FnOnce() -> Outcome) -> Ended {
    if context.cancel.is_set() {
        return Ended::Cancelled;
    }
    let _entered = context::enter(context.clone());
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(outcome) => Ended::Outcome(outcome),
        Err(_payload) => Ended::Panicked(panic::take_last()),
    }
}

/// Runs a user's future, in its context, until it ends or the task is cancelled: then it is dropped where it waits.
pub(super) async fn caught_async(context: Arc<TaskContext>, body: impl Future<Output = Outcome>) -> Ended {
    let watched = context.clone();
    tokio::select! {
        biased;
        () = watched.cancel.wait() => Ended::Cancelled,
        ended = WithContext::new(context, CatchPanic(Box::pin(body))) => ended,
    }
}

/// `None` if the future panics.
pub(super) async fn catch_panic<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| Future::poll(future.as_mut(), cx))) {
            Ok(poll) => poll.map(Some),
            Err(_payload) => Poll::Ready(None),
        }
    })
    .await
}

/// Runs the future of a task. While all of it waits, and some of it for other tasks, the task's CPU serves those.
pub(super) async fn lending_cpu<F: Future>(worker: &Arc<Worker>, context: &Arc<TaskContext>, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut lent = None;
    std::future::poll_fn(|cx| {
        drop(lent.take());
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() && context.is_awaiting() {
            lent = Some(worker.lend_cpu(context.hosting));
        }
        poll
    })
    .await
}

struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future<Output = Outcome>> Future for CatchPanic<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ended::Outcome(outcome)),
            Err(_payload) => Poll::Ready(Ended::Panicked(panic::take_last())),
        }
    }
}
