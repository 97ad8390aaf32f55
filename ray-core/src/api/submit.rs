//! Submission of calls: what generated code calls.

use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::api::object_ref::{RawActorHandle, RawRef};
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::registry::RemoteItem;
use crate::remote::{ActorOptions, CallBuilder, Isolation, Lane, MethodOptions, TaskOptions};

/// How the arguments of a task travel.
pub fn task_lane(item: &'static RemoteItem, options: Option<&Arc<TaskOptions>>) -> Lane {
    let isolation = |options: &TaskOptions| options.isolation;
    let isolation = options
        .map(|options| isolation(options))
        .or_else(|| item.as_function().map(|function| isolation(function.defaults())));
    if isolation == Some(Isolation::Shared) {
        Lane::Native
    } else {
        Lane::Process
    }
}

/// How the arguments of an actor's constructor travel.
pub fn actor_lane(_item: &'static RemoteItem, _options: Option<&Arc<ActorOptions>>) -> Lane {
    Lane::Process
}

/// How the arguments of a method travel.
pub fn call_lane(_handle: &RawActorHandle, _method: u32, _options: Option<&Arc<MethodOptions>>) -> Lane {
    Lane::Process
}

fn references(number: u32) -> Vec<RawRef> {
    let task = TaskId::new(WorkerId::random(), 0);
    (1..=number).map(|index| RawRef { id: task.object(index) }).collect()
}

/// Submits a task. Without options the attribute's hold.
pub fn task(
    _item: &'static RemoteItem,
    _call: CallBuilder,
    _options: Option<Arc<TaskOptions>>,
    num_returns: u32,
) -> Vec<RawRef> {
    references(num_returns)
}

/// Submits a task when there is room for it.
pub fn admit_task(
    item: &'static RemoteItem,
    call: CallBuilder,
    options: Option<Arc<TaskOptions>>,
    num_returns: u32,
) -> Admission {
    Admission(std::future::ready(task(item, call, options, num_returns)))
}

/// Submits a task that yields a stream.
pub fn stream(_item: &'static RemoteItem, _call: CallBuilder, _options: Option<Arc<TaskOptions>>) -> RawRef {
    RawRef {
        id: ObjectId::from_bytes([0; 20]),
    }
}

/// Creates an actor.
pub fn create_actor(
    _item: &'static RemoteItem,
    _call: CallBuilder,
    _options: Option<Arc<ActorOptions>>,
) -> RawActorHandle {
    RawActorHandle { id: ActorId::random() }
}

/// Submits a method call.
pub fn actor_call(
    _handle: &RawActorHandle,
    _item: &'static RemoteItem,
    _method: u32,
    _call: CallBuilder,
    _options: Option<Arc<MethodOptions>>,
    num_returns: u32,
) -> Vec<RawRef> {
    references(num_returns)
}

/// Submits a method call that yields a stream.
pub fn actor_stream(
    _handle: &RawActorHandle,
    _item: &'static RemoteItem,
    _method: u32,
    _call: CallBuilder,
    _options: Option<Arc<MethodOptions>>,
) -> RawRef {
    RawRef {
        id: ObjectId::from_bytes([0; 20]),
    }
}

/// Why a named actor is not found.
#[derive(Debug, thiserror::Error)]
#[error("no actor is called `{0}`")]
pub struct GetActorError(String);

/// Looks a named actor up; without a namespace in the job's own.
///
/// # Errors
///
/// If there is none.
pub fn get_actor(
    _item: &'static RemoteItem,
    _namespace: Option<&str>,
    name: &str,
) -> Result<RawActorHandle, GetActorError> {
    Err(GetActorError(name.to_owned()))
}

/// A task that waits for room.
#[derive(Debug)]
pub struct Admission(Ready<Vec<RawRef>>);

impl Admission {
    /// Waits on this thread.
    pub fn wait(self) -> Vec<RawRef> {
        self.0.into_inner()
    }
}

impl Future for Admission {
    type Output = Vec<RawRef>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<RawRef>> {
        Pin::new(&mut self.0).poll(context)
    }
}
