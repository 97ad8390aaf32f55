//! The beginning of an actor: its instance, by its constructor or from a saved state, and then its calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActorHost, restore};
use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::registry::ActorType;
use crate::remote::{Arguments, ConstructBody, Incoming, Instance, TaskError};
use crate::wire::{ActorSpec, ArgSpec, Frame, TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{self, Resources, TaskContext, WithContext};
use crate::worker::execute::outcome::{failed, panicked};
use crate::worker::execute::panic;
use crate::worker::execute::run::registered;
use crate::worker::refs::Hold;
use crate::worker::state::Dest;

/// Runs the constructor, then serves calls on this thread until the actor ends; never returns but for a constructor that
/// failed.
pub(in crate::worker::execute) fn construct(
    worker: &Arc<Worker>,
    spec: &ActorSpec,
    restarts: u32,
    references: &[(ObjectId, WorkerId)],
) {
    let actor = spec.actor;
    let outcome = make_instance(worker, spec, restarts);
    worker.with(|state, _, out| {
        for (object, _) in references {
            state.unhold(*object, Hold::Task, out);
        }
    });
    let (host, error) = match outcome {
        Ok(host) => (Some(Arc::new(host)), None),
        Err(error) => (None, Some(error)),
    };
    if let Some(host) = &host
        && worker.executor.actor.set(host.clone()).is_err()
    {
        tracing::error!(target: "ray_core::worker", %actor, "this worker is an actor already");
        return;
    }
    worker.with(|_, _, out| out.send(Dest::Raylet, Frame::ActorConstructed { actor, error }));
    if let Some(host) = host {
        host.serve(worker);
        host.leave_place();
        worker.with(|_, _, out| out.send(Dest::Raylet, Frame::ActorExiting { actor, intended: true }));
        worker.executor.exit_now(0);
    }
}

fn make_instance(worker: &Arc<Worker>, spec: &ActorSpec, restarts: u32) -> Result<ActorHost> {
    let unknown = || RayError::UnknownItem {
        what: format!("the actor type `{}`", spec.type_name),
        why: "its key is not in the table".into(),
    };
    let item = registered(spec.item)?.as_actor().ok_or_else(unknown)?;
    let task = constructor_spec(worker, spec, restarts);
    let name = format!("{}::new", spec.type_name);
    let context = Arc::new(TaskContext {
        task: task.task,
        attempt: restarts,
        name: name.as_str().into(),
        actor: Some(spec.actor),
        exclusive: true,
        group: spec.strategy.group(),
        captures: spec.strategy.captures(),
        resources: Resources::Own(spec.resources.clone()),
        started: Some(Instant::now()),
        ..TaskContext::default()
    });
    let begun = restore::begin(
        spec,
        item,
        Duration::from_millis(worker.config.checkpoint_storage_timeout_ms),
    )?;
    let (saver, saving, restored) = match begun {
        Some(begun) => (Some(begun.saver), Some(begun.saving), begun.instance),
        None => (None, None, None),
    };
    let instance = match restored {
        Some(instance) => instance,
        None => constructed(worker, spec, item, &task, context)?,
    };
    Ok(ActorHost::new(spec, item, instance, saver, saving))
}

/// The instance that the constructor makes.
fn constructed(
    worker: &Arc<Worker>,
    spec: &ActorSpec,
    item: &ActorType,
    task: &TaskSpec,
    context: Arc<TaskContext>,
) -> Result<Instance> {
    let name = context.name.clone();
    let arguments = constructor_arguments(worker, &spec.args)?;
    let told = |error: &TaskError| match failed(worker, task, &name, error) {
        TaskOutcome::Failed { error, .. } => error,
        _ => RayError::internal("a failure that is none"),
    };
    let made = match item.construct {
        ConstructBody::Sync(body) => {
            let _entered = context::enter(context);
            catch_unwind(AssertUnwindSafe(|| body(arguments)))
        }
        ConstructBody::Async(body) => {
            let runtime = worker.executor.runtime();
            catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(WithContext::new(context, async move { body(arguments).await }))
            }))
        }
    };
    match made {
        Ok(Ok(instance)) => Ok(instance),
        Ok(Err(error)) => Err(told(&error)),
        Err(_payload) => match panicked(worker, task, &name, panic::take_last()) {
            TaskOutcome::Failed { error, .. } => Err(error),
            _ => Err(RayError::internal("a panic that is none")),
        },
    }
}

/// The constructor's arguments. One that the store has lost is waited for: its owner makes it again.
pub(in crate::worker::execute) fn constructor_arguments(worker: &Arc<Worker>, args: &[ArgSpec]) -> Result<Arguments> {
    let incoming = args.iter().map(|arg| match arg {
        ArgSpec::Inline { object } => Ok(Incoming::Payload(object.clone())),
        ArgSpec::Stored { object, owner, .. } => worker.read_arrived(*object, *owner).map(Incoming::Payload),
    });
    incoming.collect::<Result<Vec<_>>>().map(Arguments::new)
}

/// The constructor seen as a task, for its errors and its context.
pub(in crate::worker::execute) fn constructor_spec(worker: &Worker, spec: &ActorSpec, restarts: u32) -> TaskSpec {
    TaskSpec {
        attempt: restarts,
        resources: Some(spec.resources.clone()),
        ..TaskSpec::bare(spec.handle.task(), worker.identity.worker, spec.item)
    }
}
