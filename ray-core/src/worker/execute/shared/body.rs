//! The body of a piece of work, and its run: on this thread, or as a future.

use std::sync::Arc;

use crate::error::{RayError, Result};
use crate::registry::RemoteItem;
use crate::remote::{Arguments, ConstructBody, FunctionBody, Instance, MethodBody, TaskError};
use crate::wire::{TaskOutcome, TaskSpec};
use crate::worker::Worker;
use crate::worker::context::{self, TaskContext, WithContext};
use crate::worker::execute::outcome::{Ended, failed, panicked};
use crate::worker::execute::run::{catch_panic, caught, caught_async, registered};
use crate::worker::execute::{Job, panic, stream};
use crate::worker::state::LocalActor;

/// What is to run.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Function(&'static str, FunctionBody),
    Construct(ConstructBody),
    Method(&'static str, MethodBody),
}

impl Body {
    pub(super) fn of(
        spec: &TaskSpec,
        actor: Option<&Arc<LocalActor>>,
        item: impl FnOnce() -> Result<&'static RemoteItem>,
    ) -> Option<Self> {
        match (&spec.call, actor) {
            (Some(call), Some(actor)) => actor.method(call).map(|method| Self::Method(method.name, method.body)),
            (None, Some(actor)) => Some(Self::Construct(actor.class.construct)),
            (Some(_), None) => None,
            (None, None) => {
                let item = item().ok()?;
                Some(Self::Function(item.identity().name, item.as_function()?.body))
            }
        }
    }

    pub(super) fn is_async(&self) -> bool {
        match self {
            Self::Function(_, body) => matches!(body, FunctionBody::Async(_) | FunctionBody::Stream(_)),
            Self::Construct(body) => matches!(body, ConstructBody::Async(_)),
            Self::Method(_, body) => body.is_async(),
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        matches!(
            self,
            Self::Construct(_) | Self::Method(_, MethodBody::ExclusiveSync(_) | MethodBody::ExclusiveAsync(_))
        )
    }

    pub(super) fn name(&self, spec: &TaskSpec) -> String {
        match self {
            Self::Function(name, _) => (*name).to_owned(),
            Self::Construct(_) => "new".to_owned(),
            Self::Method(name, _) => match registered(spec.item) {
                Ok(item) => format!("{}::{name}", item.identity().name),
                Err(_) => (*name).to_owned(),
            },
        }
    }
}

/// Why there is no body: its item is not in the table, or its actor has ended.
pub(super) fn unknown(spec: &TaskSpec) -> TaskOutcome {
    let error = match &spec.call {
        Some(call) => RayError::ActorDied {
            actor: call.actor,
            name: spec.name.clone().unwrap_or_default(),
            cause: "it has ended".into(),
        },
        None => RayError::UnknownItem {
            what: format!("item {:016x}", spec.item),
            why: "it is no function of this program".into(),
        },
    };
    TaskOutcome::Failed { error, retry: false }
}

/// What came of it.
pub(super) enum Ran {
    Ended(Ended),
    Constructed,
    Told(TaskOutcome),
}

fn broken(what: &str) -> Ran {
    let error = RayError::internal(format!("an actor's instance is {what} although its call was started"));
    Ran::Told(TaskOutcome::Failed { error, retry: false })
}

/// Lets a call read the instance. Its actor's queue starts it only where no call holds that exclusively.
fn with_shared(actor: &LocalActor, call: impl FnOnce(&Instance) -> Ran) -> Ran {
    match actor.instance.try_read() {
        Ok(guard) => guard.as_ref().map_or_else(|| broken("missing"), call),
        Err(_) => broken("in use"),
    }
}

/// A piece of work that runs now: for whom, under which name, in which context.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    worker: &'a Arc<Worker>,
    job: &'a Job,
    name: &'a str,
    context: &'a Arc<TaskContext>,
}

impl<'a> Run<'a> {
    pub(super) fn new(worker: &'a Arc<Worker>, job: &'a Job, name: &'a str, context: &'a Arc<TaskContext>) -> Self {
        Self {
            worker,
            job,
            name,
            context,
        }
    }

    /// Runs it on this thread.
    pub(super) fn here(&self, body: Body, actor: Option<Arc<LocalActor>>, arguments: Arguments) -> Ran {
        let Self {
            worker,
            job,
            name,
            context,
        } = *self;
        match (body, actor) {
            (Body::Function(_, FunctionBody::Sync(body)), _) => Ran::Ended(caught(context, || body(arguments))),
            (Body::Function(_, FunctionBody::Iter(body)), _) => {
                Ran::Told(stream::produce_iter(worker, job, name, context, || body(arguments)))
            }
            (Body::Construct(ConstructBody::Sync(body)), Some(actor)) => {
                let _entered = context::enter(context.clone());
                let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(arguments)));
                self.constructed(&actor, made.ok())
            }
            (Body::Method(_, MethodBody::ExclusiveSync(body)), Some(actor)) => match actor.instance.try_write() {
                Ok(mut guard) => match guard.as_mut() {
                    Some(instance) => Ran::Ended(caught(context, || body(&mut **instance, arguments))),
                    None => broken("missing"),
                },
                Err(_) => broken("in use"),
            },
            (Body::Method(_, MethodBody::SharedSync(body)), Some(actor)) => with_shared(&actor, |instance| {
                Ran::Ended(caught(context, || body(&**instance, arguments)))
            }),
            (Body::Method(_, MethodBody::SharedIter(body)), Some(actor)) => with_shared(&actor, |instance| {
                Ran::Told(stream::produce_iter(worker, job, name, context, || {
                    body(&**instance, arguments)
                }))
            }),
            _ => broken("of another kind"),
        }
    }

    /// Runs it as a future.
    pub(super) async fn future(&self, body: Body, actor: Option<Arc<LocalActor>>, arguments: Arguments) -> Ran {
        let Self {
            worker,
            job,
            name,
            context,
        } = *self;
        match (body, actor) {
            (Body::Function(_, FunctionBody::Async(body)), _) => {
                Ran::Ended(caught_async(context.clone(), async move { body(arguments).await }).await)
            }
            (Body::Function(_, FunctionBody::Stream(body)), _) => {
                let items = async move { body(arguments).await };
                Ran::Told(stream::produce_stream(worker, job, name, context, items).await)
            }
            (Body::Construct(ConstructBody::Async(body)), Some(actor)) => {
                let making = WithContext::new(context.clone(), async move { body(arguments).await });
                let made = catch_panic(making).await;
                self.constructed(&actor, made)
            }
            (Body::Method(_, MethodBody::ExclusiveAsync(body)), Some(actor)) => {
                match actor.instance.write().await.as_mut() {
                    Some(instance) => Ran::Ended(
                        caught_async(context.clone(), async { body(&mut **instance, arguments).await }).await,
                    ),
                    None => broken("missing"),
                }
            }
            (Body::Method(_, MethodBody::SharedAsync(body)), Some(actor)) => match actor.instance.read().await.as_ref()
            {
                Some(instance) => {
                    Ran::Ended(caught_async(context.clone(), async { body(&**instance, arguments).await }).await)
                }
                None => broken("missing"),
            },
            (Body::Method(_, MethodBody::SharedStream(body)), Some(actor)) => {
                match actor.instance.read().await.as_ref() {
                    Some(instance) => {
                        let items = async { body(&**instance, arguments).await };
                        Ran::Told(stream::produce_stream(worker, job, name, context, items).await)
                    }
                    None => broken("missing"),
                }
            }
            _ => broken("of another kind"),
        }
    }

    /// Puts a new instance in its place. `None`: the constructor panicked.
    fn constructed(&self, actor: &LocalActor, made: Option<std::result::Result<Instance, TaskError>>) -> Ran {
        match made {
            Some(Ok(instance)) => match actor.instance.try_write() {
                Ok(mut place) => {
                    *place = Some(instance);
                    Ran::Constructed
                }
                Err(_) => broken("in use"),
            },
            Some(Err(error)) => Ran::Told(failed(self.worker, &self.job.spec, self.name, &error)),
            None => Ran::Told(panicked(self.worker, &self.job.spec, self.name, panic::take_last())),
        }
    }
}
