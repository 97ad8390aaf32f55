//! Actors that live in other processes beside other work, as those know them that hold a handle.

use std::time::Instant;

use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::wire::{ActorInfo, ActorState};
use crate::worker::state::{Out, State};

impl State {
    /// An actor that lives in another process, beside that process's other work: it is there as long as that is.
    pub(crate) fn know_hosted_actor(&mut self, actor: ActorId, type_name: &str, handle: (ObjectId, WorkerId)) {
        let me = self.me;
        if self.handles.contains_key(&handle.0) || handle.1 == me {
            return;
        }
        let pid = self.pids.get(&handle.1).copied().unwrap_or_default();
        let client = self.add_handle(handle.0, actor, type_name.to_owned(), false);
        client.host = Some(handle.1);
        client.info = Some(Box::new(ActorInfo {
            actor,
            item: 0,
            type_name: type_name.to_owned(),
            name: None,
            namespace: String::new(),
            detached: false,
            owner: handle.1,
            handle: handle.0,
            state: ActorState::Alive { worker: handle.1, pid },
            restarts: 0,
            max_task_retries: 0,
            max_pending_calls: -1,
            saves: None,
            calls_ahead: 0,
            shared: true,
        }));
    }

    /// The process of an actor that was created without the GCS, if that is another one.
    pub(crate) fn host_elsewhere(&self, actor: ActorId) -> Option<WorkerId> {
        self.actors.get(&actor).and_then(|client| client.host)
    }

    /// The host of these actors is dead, and they with it.
    pub(in crate::worker::state) fn hosted_actors_lost(&mut self, worker: WorkerId, now: Instant, out: &mut Out) {
        let lost = self.actors.iter().filter(|(_, client)| client.host == Some(worker));
        let lost: Vec<(ActorId, String)> = lost
            .map(|(actor, client)| (*actor, client.type_name.clone().into_owned()))
            .collect();
        for (actor, name) in lost {
            let cause = "the process that it lived in has ended".to_owned();
            self.actor_unknown(actor, RayError::ActorDied { actor, name, cause }, now, out);
        }
    }
}
