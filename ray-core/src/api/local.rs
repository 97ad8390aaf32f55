//! Submission of local tasks.

use std::sync::Arc;

use super::template;
use crate::api::object_ref::{RawActorHandle, RawRef};
use crate::registry::RemoteItem;
use crate::remote::{CallBuilder, MethodBody};
use crate::worker::Worker;
use crate::worker::context;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Arguments, LocalCall, LocalTask};
use crate::worker::task::Template;

/// Submits a task of one result as a local one, if it can be one and there is room. Else the call is as it was.
pub(super) fn submit(worker: &Arc<Worker>, template: &Arc<Template>, call: &mut CallBuilder) -> Option<RawRef> {
    if !(worker.identity.is_driver() && fits(worker, template)) {
        return None;
    }
    let mut line = worker.locals.of(worker, &template.shape)?;
    let mut task = new_task(worker, template, call, None)?;
    let reference = RawRef::of_local(task.clone());
    while let Err(back) = line.push(task) {
        task = back;
        match worker.locals.renew(worker, &template.shape) {
            Some(new) => line = new,
            None => {
                task.fail(worker, worker.read(|state| state.why_ended()));
                return Some(reference);
            }
        }
    }
    if !line.is_served() {
        worker.with(|state, _, out| state.local_pushed(&line, out));
    }
    Some(reference)
}

/// Calls a method of an actor of this process as a local call, if it can be one. Else the call is as it was.
pub(super) fn call(
    handle: &RawActorHandle,
    item: &'static RemoteItem,
    method: u32,
    call: &mut CallBuilder,
) -> Option<RawRef> {
    let host = handle.local.upgrade()?;
    let worker = &handle.handle.session().ok()?;
    let method = item.as_actor()?.method(method)?;
    let template = template::of_default_call(item, method).ok()?;
    let on_thread = matches!(method.body, MethodBody::ExclusiveSync(_) | MethodBody::SharedSync(_));
    if !(on_thread && host.mailbox.takes_local() && fits(worker, &template)) {
        return None;
    }
    let group = match method.concurrency_group {
        None => 0,
        Some(name) => host.mailbox.group(name).ok()?,
    };
    let kind = Kind::of_method(method, group);
    let of_actor = LocalCall {
        actor: handle.actor,
        host: handle.local.clone(),
        body: method.body,
        kind,
    };
    let task = new_task(worker, &template, call, Some(of_actor))?;
    let Some(startable) = host.mailbox.push_local(kind, task.clone(), handle.handle.clone()) else {
        // It has ended: the state knows how.
        worker.locals.common.pending.remove(LocalTask::BYTES);
        call.give_back(task.withdraw());
        return None;
    };
    let reference = RawRef::of_local(task);
    worker.start_calls(handle.actor, startable);
    Some(reference)
}

/// Whether nothing of such a task is the state's part: its place in the program, or its deadline.
fn fits(worker: &Worker, template: &Template) -> bool {
    template.can_be_local && !worker.config.record_ref_creation_sites && !context::has_deadline()
}

/// A task with the call's arguments, if these are values and there is room. Else the call is as it was.
fn new_task(
    worker: &Arc<Worker>,
    template: &Arc<Template>,
    call: &mut CallBuilder,
    of_actor: Option<LocalCall>,
) -> Option<Arc<LocalTask>> {
    let common = &worker.locals.common;
    let arguments: Arguments = call.take_values()?;
    if !common.pending.try_add(LocalTask::BYTES) {
        call.give_back(arguments);
        return None;
    }
    let (session, id, parent) = (Arc::downgrade(worker), common.new_task_id(), worker.parent_task());
    Some(LocalTask::new(
        session,
        id,
        parent,
        template.clone(),
        of_actor,
        arguments,
    ))
}
