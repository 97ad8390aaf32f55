//! Submission of local tasks.

use std::sync::Arc;

use super::template;
use crate::api::object_ref::{RawActorHandle, RawRef};
use crate::error::RayError;
use crate::registry::{Receiver, RemoteItem};
use crate::remote::{CallBuilder, MethodBody};
use crate::worker::Worker;
use crate::worker::context;
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Arguments, LocalCall, LocalTask};
use crate::worker::task::Template;

/// Submits a task of one result as a local one, if it can be one and there is room. Else the call is as it was.
pub(super) fn submit(worker: &Arc<Worker>, template: &Arc<Template>, call: &mut CallBuilder) -> Option<RawRef> {
    let fits = template.can_be_local
        && worker.identity.is_driver()
        && !worker.config.record_ref_creation_sites
        && !context::has_deadline();
    if !fits {
        return None;
    }
    let mut line = worker.locals.of(worker, &template.shape)?;
    let arguments: Arguments = call.take_values()?;
    if !worker.locals.common.pending.try_add(LocalTask::BYTES) {
        call.give_back(arguments);
        return None;
    }
    let id = worker.locals.common.new_task_id();
    let mut task = LocalTask::new(
        Arc::downgrade(worker),
        id,
        worker.parent_task(),
        template.clone(),
        None,
        arguments,
    );
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
    let fits = on_thread
        && template.can_be_local
        && host.mailbox.takes_local()
        && !worker.config.record_ref_creation_sites
        && !context::has_deadline();
    if !fits {
        return None;
    }
    let group = match method.concurrency_group {
        None => 0,
        Some(name) => host.mailbox.group(name).ok()?,
    };
    let arguments: Arguments = call.take_values()?;
    if !worker.locals.common.pending.try_add(LocalTask::BYTES) {
        call.give_back(arguments);
        return None;
    }
    let id = worker.locals.common.new_task_id();
    let kind = Kind {
        exclusive: method.receiver() == Receiver::Exclusive,
        is_async: false,
        group,
    };
    let of_actor = LocalCall {
        actor: handle.actor,
        host: handle.local.clone(),
        body: method.body,
        kind,
    };
    let parent = worker.parent_task();
    let task = LocalTask::new(Arc::downgrade(worker), id, parent, template, Some(of_actor), arguments);
    let reference = RawRef::of_local(task.clone());
    match host.mailbox.push_local(kind, task.clone(), handle.handle.clone()) {
        Some(startable) => worker.start_calls(handle.actor, startable),
        None => {
            let error = RayError::ActorDied {
                actor: handle.actor,
                name: host.type_name().to_owned(),
                cause: "it has ended".into(),
            };
            task.fail(worker, error);
        }
    }
    Some(reference)
}
