//! The end of an actor that lives here (LA-3).

use std::time::Instant;

use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, TaskId};
use crate::worker::local::Called;
use crate::worker::objects::Slot;
use crate::worker::state::shared::{CALL_LINE, Entry};
use crate::worker::state::{Out, State};

impl State {
    /// Ends an actor that lives here: what waits fails, what runs is told to stop.
    /// Returns their error if it was there.
    pub(crate) fn end_local_actor(
        &mut self,
        actor: ActorId,
        cause: &str,
        now: Instant,
        out: &mut Out,
    ) -> Option<RayError> {
        let name = self.local_actor(actor)?.type_name().to_owned();
        let cause = cause.to_owned();
        let error = RayError::ActorDied { actor, name, cause };
        self.bury_local(actor, &error, now, out);
        Some(error)
    }

    /// The actor is dead: its calls fail with this error.
    pub(in super::super) fn bury_local(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        let local = self.actors.get_mut(&actor).and_then(|client| client.local.take());
        if let Some(local) = local {
            // Whoever runs what others have sent finds no actor, and tells them.
            for called in local.host.mailbox.close() {
                if let Called::Foreign(number) = called {
                    self.shared_push(CALL_LINE, Entry::Foreign(number), out);
                }
            }
            out.buried.push((local.host.clone(), error.clone()));
            out.garbage.push(local);
        }
        self.actor_unknown(actor, error.clone(), now, out);
        let calls = self.tasks.values().filter(|pending| pending.actor == Some(actor));
        let calls: Vec<TaskId> = calls.map(|pending| pending.id()).collect();
        for task in calls {
            let Some(pending) = self.tasks.get_mut(&task) else {
                continue;
            };
            match pending.context.clone() {
                Some(context) => {
                    // Its results are settled now; what it still yields is dropped.
                    let results: Vec<ObjectId> = pending.results().collect();
                    pending.cancelled = true;
                    out.cancelled.push(context);
                    for object in results {
                        self.settle(object, Slot::failed(error.clone()), now, out);
                    }
                    self.fail_stream(task, error, out);
                }
                None => self.finish_failed(task, error, now, out),
            }
        }
    }
}
