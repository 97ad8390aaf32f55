//! Submission of local tasks.

use std::sync::Arc;

use crate::api::object_ref::RawRef;
use crate::remote::CallBuilder;
use crate::worker::Worker;
use crate::worker::context;
use crate::worker::local::{Arguments, LocalTask};
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
    let mut task = LocalTask::new(worker, id, worker.parent_task(), template.clone(), arguments);
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
