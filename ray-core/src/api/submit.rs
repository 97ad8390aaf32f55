//! Submission of calls: what generated code calls. It neither fails nor blocks: what goes wrong becomes the reference's
//! error.

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::actors::lives_here;
use super::{local, template};
use crate::api::object_ref::{RawActorHandle, RawRef};
use crate::api::stream::RawStream;
use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::registry::RemoteItem;
use crate::remote::{
    ActorOptions, Argument, Call, CallBuilder, Isolation, Lane, MethodChanges, MethodOptions, RetryExceptions,
    TaskOptions, UNLIMITED,
};
use crate::value::Parts;
use crate::wire::MOST_INLINE;
use crate::worker::state::{self, NewCall, NewTask, Out, State};
use crate::worker::task::Template;
use crate::worker::{Worker, current};

pub use super::actors::{create_actor, get_actor};
pub use super::admission::Admission;

/// How the arguments of a task travel.
pub fn task_lane(item: &'static RemoteItem, options: Option<&Arc<TaskOptions>>) -> Lane {
    let defaults = || item.as_function().map(|function| function.defaults());
    let Some(options) = options.map(Arc::as_ref).or_else(defaults) else {
        return Lane::Process;
    };
    if options.isolation == Isolation::Process || may_run_again(options.max_retries, options.retry_exceptions) {
        return Lane::Process;
    }
    match current() {
        // Elsewhere the host is another process.
        Ok(worker) if worker.identity.is_driver() => Lane::Native,
        _ => Lane::Process,
    }
}

/// How the arguments of an actor's constructor travel.
pub fn actor_lane(item: &'static RemoteItem, options: Option<&Arc<ActorOptions>>) -> Lane {
    let defaults = || item.as_actor().map(|actor| actor.defaults());
    match options.map(Arc::as_ref).or_else(defaults) {
        Some(options) if lives_here(options) => Lane::Native,
        _ => Lane::Process,
    }
}

/// The options of a call with these changes to those of the method's attribute.
pub fn changed_options(item: &'static RemoteItem, method: u32, changes: &MethodChanges) -> Option<Arc<MethodOptions>> {
    let method = item.as_actor()?.method(method)?;
    Some(Arc::new(changes.over(method.defaults())))
}

/// Whether what the code of a task fails with is a reason to run it again: then its arguments are kept encoded.
fn may_run_again(retries: i32, exceptions: RetryExceptions) -> bool {
    retries != 0 && exceptions != RetryExceptions::Never
}

/// How the arguments of a method travel.
pub fn call_lane(handle: &RawActorHandle, method: u32, options: Option<&Arc<MethodOptions>>) -> Lane {
    let defaults = || Some(handle.item?.as_actor()?.method(method)?.defaults());
    let Some(options) = options
        .map(Arc::as_ref)
        .or_else(defaults)
        .filter(|_| handle.item.is_some())
    else {
        return Lane::Process;
    };
    // Without a number the actor's own holds, which is not known here.
    if may_run_again(options.max_task_retries.unwrap_or(UNLIMITED), options.retry_exceptions) {
        Lane::Process
    } else {
        Lane::Native
    }
}

/// Arguments as the state takes them, and the references and values that hold what they need until the state does.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) args: SmallVec<[state::Argument; 4]>,
    pub(super) nested: SmallVec<[(ObjectId, WorkerId); 1]>,
    /// Large arguments that were put for this call, and references that were given: dropped once the state holds them.
    held: SmallVec<[RawRef; 2]>,
    _values: Vec<Box<dyn Any + Send>>,
}

/// Makes the arguments of a call ready for the state: large ones go through the store, once.
pub(super) fn prepare(worker: &Arc<Worker>, call: CallBuilder) -> Result<Prepared> {
    let Call {
        buffer,
        arguments,
        held,
    } = call.finish().map_err(|error| RayError::Encode {
        what: format!("argument {} (`{}`)", error.position, error.name),
        why: error.source.to_string(),
    })?;
    let buffer = Bytes::from(buffer);
    let mut prepared = Prepared {
        args: SmallVec::new(),
        nested: SmallVec::new(),
        held: SmallVec::new(),
        _values: held,
    };
    let me = worker.identity.worker;
    let mut room = MOST_INLINE;
    for argument in arguments {
        let arg = match argument {
            Argument::Reference(reference) => {
                let (object, owner, _) = reference.target()?;
                prepared.held.push(reference);
                state::Argument::Reference { object, owner }
            }
            Argument::Encoded { range, parts } => {
                let head = buffer.slice(range);
                let parts = parts.map_or_else(|| Parts::whole(head.len()), |parts| *parts);
                match worker.parts_argument(&head, &parts, room)? {
                    Ok(object) => {
                        room -= object.len().min(room);
                        prepared
                            .nested
                            .extend(parts.refs.iter().map(|token| (token.object, token.owner)));
                        state::Argument::Value(object)
                    }
                    Err(object) => {
                        prepared.held.push(RawRef::counted(worker, object, me));
                        state::Argument::Stored { object, owner: me }
                    }
                }
            }
            Argument::Native(value) => state::Argument::Native(value),
        };
        prepared.args.push(arg);
    }
    Ok(prepared)
}

pub(super) fn failed(error: &RayError, number: u32) -> Vec<RawRef> {
    (0..number).map(|_| RawRef::failed(error.clone())).collect()
}

/// Submits a task. Without options the attribute's hold.
#[track_caller]
pub fn task(
    item: &'static RemoteItem,
    mut call: CallBuilder,
    options: Option<Arc<TaskOptions>>,
    num_returns: u32,
) -> Vec<RawRef> {
    let site = Location::caller();
    let submitted = current().and_then(|worker| {
        let template = template::of_task(item, options.as_deref())?;
        let named = options.as_ref().is_some_and(|options| options.name.is_some());
        if num_returns == 1
            && !named
            && let Some(reference) = local::submit(&worker, &template, &mut call)
        {
            return Ok(vec![reference]);
        }
        let new = new_task(&worker, template, call, options.as_deref(), num_returns, None)?;
        let results = submit(&worker, new)?;
        worker.note_site(results.iter().map(RawRef::id), site);
        Ok(results)
    });
    submitted.unwrap_or_else(|error| failed(&error, num_returns))
}

impl Prepared {
    /// The state holds what the call needs. These handles end in the same moment, so that a task which begins at once and
    /// is the last user of a native value gets that value itself.
    pub(super) fn let_go(&mut self, worker: &Arc<Worker>, state: &mut State, out: &mut Out) {
        let held = std::mem::take(&mut self.held);
        let others = held
            .into_iter()
            .filter_map(|handle| handle.end_within(worker, state, out));
        self.held = others.collect();
    }
}

fn submit(worker: &Arc<Worker>, (new, mut held): (NewTask, Prepared)) -> Result<Vec<RawRef>> {
    worker.rings.submitting(worker);
    let submitted = worker.with(|state, now, out| {
        state.admit(new.bytes())?;
        let submitted = state.submit(new, now, out);
        held.let_go(worker, state, out);
        Ok(submitted)
    });
    drop(held);
    submitted.map(|submitted| counted(worker, submitted.results))
}

pub(super) fn counted(worker: &Arc<Worker>, results: impl IntoIterator<Item = ObjectId>) -> Vec<RawRef> {
    let me = worker.identity.worker;
    let results = results.into_iter();
    results.map(|object| RawRef::counted(worker, object, me)).collect()
}

fn new_task(
    worker: &Arc<Worker>,
    template: Arc<Template>,
    call: CallBuilder,
    options: Option<&TaskOptions>,
    returns: u32,
    stream: Option<u32>,
) -> Result<(NewTask, Prepared)> {
    let max_retries = Some(template.max_retries);
    let name = options.and_then(|options| options.name.clone());
    let timeout = worker.timeout_within(template.options.timeout);
    let new = |prepared: &mut Prepared| NewTask {
        template,
        call: None,
        construct: None,
        name,
        parent: worker.parent_task(),
        args: std::mem::take(&mut prepared.args),
        nested: std::mem::take(&mut prepared.nested),
        returns,
        stream,
        max_retries,
        timeout,
    };
    let mut prepared = prepare(worker, call)?;
    Ok((new(&mut prepared), prepared))
}

/// Submits a task when there is room for it.
#[track_caller]
pub fn admit_task(
    item: &'static RemoteItem,
    call: CallBuilder,
    options: Option<Arc<TaskOptions>>,
    num_returns: u32,
) -> Admission {
    let site = Location::caller();
    let prepared = current().and_then(|worker| {
        let (new, held) = new_task(
            &worker,
            template::of_task(item, options.as_deref())?,
            call,
            options.as_deref(),
            num_returns,
            None,
        )?;
        Ok(Admission::new(&worker, new, held, site))
    });
    prepared.unwrap_or_else(|error| Admission::over(failed(&error, num_returns)))
}

/// Submits a task that yields a stream.
pub fn stream(item: &'static RemoteItem, call: CallBuilder, options: Option<Arc<TaskOptions>>) -> RawStream {
    let opened = current().and_then(|worker| {
        let ahead = worker.config.generator_backpressure_num_objects;
        let new = new_task(
            &worker,
            template::of_task(item, options.as_deref())?,
            call,
            options.as_deref(),
            0,
            Some(ahead),
        )?;
        open_stream(&worker, new)
    });
    opened.unwrap_or_else(RawStream::failed)
}

fn open_stream(worker: &Arc<Worker>, (new, mut held): (NewTask, Prepared)) -> Result<RawStream> {
    worker.rings.submitting(worker);
    let task = worker.with(|state, now, out| {
        state.admit(new.bytes())?;
        let task = state.submit(new, now, out).task;
        held.let_go(worker, state, out);
        Ok(task)
    });
    drop(held);
    task.map(|task| RawStream::open(worker, task))
}

/// Submits a method call.
#[track_caller]
pub fn actor_call(
    handle: &RawActorHandle,
    item: &'static RemoteItem,
    method: u32,
    mut call: CallBuilder,
    options: Option<Arc<MethodOptions>>,
    num_returns: u32,
) -> Vec<RawRef> {
    if num_returns == 1
        && options.is_none()
        && let Some(reference) = local::call(handle, item, method, &mut call)
    {
        return vec![reference];
    }
    let site = Location::caller();
    let called = new_call(handle, item, method, call, options.as_deref(), num_returns, false);
    let submitted = called.and_then(|(worker, new)| {
        let results = submit(&worker, new)?;
        worker.note_site(results.iter().map(RawRef::id), site);
        Ok(results)
    });
    submitted.unwrap_or_else(|error| failed(&error, num_returns))
}

/// Submits a method call that yields a stream.
pub fn actor_stream(
    handle: &RawActorHandle,
    item: &'static RemoteItem,
    method: u32,
    call: CallBuilder,
    options: Option<Arc<MethodOptions>>,
) -> RawStream {
    let opened = new_call(handle, item, method, call, options.as_deref(), 0, true)
        .and_then(|(worker, new)| open_stream(&worker, new));
    opened.unwrap_or_else(RawStream::failed)
}

fn new_call(
    handle: &RawActorHandle,
    item: &'static RemoteItem,
    index: u32,
    call: CallBuilder,
    options: Option<&MethodOptions>,
    returns: u32,
    is_stream: bool,
) -> Result<(Arc<Worker>, (NewTask, Prepared))> {
    let (object, _, worker) = handle.handle.target()?;
    let method = item
        .as_actor()
        .and_then(|actor| actor.method(index))
        .ok_or_else(|| RayError::UnknownItem {
            what: format!("method {index} of {}", item.identity()),
            why: "its index is over the table".into(),
        })?;
    let given = options;
    let options = options.unwrap_or_else(|| method.defaults());
    let template = match given {
        None => template::of_default_call(item, method)?,
        Some(options) => Arc::new(template::of_call(
            item,
            template::call_name(item, method, options),
            options,
        )?),
    };
    let actor = handle.actor;
    let known = worker.read(|state| state.actor_client(actor).map(state::ActorClient::limits));
    let (pending, max_pending) = known.unwrap_or((0, -1));
    if max_pending >= 0 && pending as u64 >= max_pending.unsigned_abs() {
        return Err(RayError::PendingCallsLimit {
            actor,
            limit: max_pending.unsigned_abs(),
        });
    }
    let mut prepared = prepare(&worker, call)?;
    let timeout = worker.timeout_within(template.options.timeout);
    let new = NewTask {
        template,
        call: Some(NewCall {
            actor,
            handle: object,
            method: index,
        }),
        construct: None,
        name: options.name.clone(),
        parent: worker.parent_task(),
        args: std::mem::take(&mut prepared.args),
        nested: std::mem::take(&mut prepared.nested),
        returns,
        stream: is_stream.then_some(worker.config.generator_backpressure_num_objects),
        max_retries: options.max_task_retries.map(template::limit),
        timeout,
    };
    Ok((worker, (new, prepared)))
}
