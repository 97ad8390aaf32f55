//! The objects that stand for handles of actors. Such an object's value is the actor's id, known once the actor exists:
//! under `get_if_exists` it may be an older one than the handle was made for.

use std::borrow::Cow;
use std::time::Instant;

use super::super::{Dest, Out, State};
use super::ActorClient;
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::wire::{ActorInfo, Frame, GcsRequest};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Hold;

/// What an object that stands for handles is to this process.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Handled {
    /// The actor that takes the calls.
    actor: ActorId,
    /// The GCS ends the actor when this object goes out of scope.
    owned: bool,
}

impl State {
    /// The actor that takes the calls for `asked`: under `get_if_exists` an older one.
    pub(crate) fn real_actor(&self, asked: ActorId) -> ActorId {
        self.redirects.get(&asked).copied().unwrap_or(asked)
    }

    /// What is known of the actor that takes the calls for `asked`.
    pub(crate) fn actor_client(&self, asked: ActorId) -> Option<&ActorClient> {
        self.actors.get(&self.real_actor(asked))
    }

    /// A handle has come from another process. Its object tells which actor it is once that has been created.
    pub(crate) fn know_actor(&mut self, asked: ActorId, type_name: &str, handle: (ObjectId, WorkerId), out: &mut Out) {
        let (object, owner) = handle;
        if self.handles.contains_key(&object) {
            return;
        }
        self.add_handle(object, asked, type_name.to_owned(), false);
        if self.objects.add_interest(&object, Interest::Handle).is_ok() {
            self.subscribe(object, owner, out);
        } else {
            self.handle_ready(object, out.now, out);
        }
    }

    /// An actor that was looked up by name: its handles here do not keep it alive.
    pub(crate) fn know_weakly(&mut self, info: ActorInfo, handle: ObjectId, now: Instant, out: &mut Out) {
        let actor = info.actor;
        self.add_handle(handle, actor, info.type_name.clone(), false);
        self.settle_handle(handle, actor, now, out);
        // This process hears of changes from now on, and what changed since the answer comes with the next one.
        self.watch_actor(actor, out);
        self.actor_changed(info, now, out);
    }

    /// Notes that an object stands for handles of an actor, and what is known of that actor.
    pub(in super::super) fn add_handle(
        &mut self,
        object: ObjectId,
        actor: ActorId,
        type_name: impl Into<Cow<'static, str>>,
        owned: bool,
    ) -> &mut ActorClient {
        self.handles.insert(object, Handled { actor, owned });
        self.keep_client(actor, type_name)
    }

    fn watch_actor(&mut self, actor: ActorId, out: &mut Out) {
        let body = Box::new(GcsRequest::WatchActor { actor });
        let (request, from) = (self.new_number(), self.me);
        out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
    }

    /// The object of a handle tells which actor it stands for.
    pub(in super::super) fn handle_ready(&mut self, object: ObjectId, now: Instant, out: &mut Out) {
        let Some(asked) = self.handles.get(&object).map(|handled| handled.actor) else {
            return;
        };
        let real = match self.objects.slot(&object) {
            Some(Slot::Inline(bytes)) => crate::value::decode(bytes).unwrap_or(asked),
            // A detached actor outlives whoever created it.
            Some(Slot::Failed(error)) if matches!(**error, RayError::OwnerDied { .. }) => asked,
            Some(Slot::Failed(error)) => {
                let error = (**error).clone();
                return self.actor_unknown(asked, error, now, out);
            }
            _ => return,
        };
        if real != asked {
            self.redirect(asked, real, out);
        }
        self.watch_actor(real, out);
    }

    /// From now on the handle's object tells whoever holds it which actor it is.
    pub(super) fn settle_handle(&mut self, handle: ObjectId, actor: ActorId, now: Instant, out: &mut Out) {
        let slot = match crate::value::encode(&actor) {
            Ok(encoded) => Slot::Inline(encoded.to_bytes()),
            Err(error) => Slot::failed(RayError::internal(error)),
        };
        self.settle(handle, slot, now, out);
    }

    /// Calls for `asked` go to an actor that was there before, and is not ours to end.
    pub(super) fn redirect(&mut self, asked: ActorId, real: ActorId, out: &mut Out) {
        let Some(old) = self.actors.remove(&asked) else { return };
        self.redirects.insert(asked, real);
        for handled in self.handles.values_mut().filter(|handled| handled.actor == asked) {
            *handled = Handled {
                actor: real,
                owned: false,
            };
        }
        for task in old.queue.iter().chain(&old.remakes) {
            if let Some(pending) = self.tasks.get_mut(task) {
                pending.actor = Some(real);
            }
        }
        let new = || ActorClient::new(old.type_name.clone());
        let client = self.actors.entry(real).or_insert_with(new);
        client.handles += old.handles;
        client.queue.extend(old.queue);
        client.remakes.extend(old.remakes);
        for object in old.held {
            self.unhold(object, Hold::Task, out);
        }
    }

    /// An object that stood for handles of an actor is out of scope. If it is the one that the creator counts, nobody can
    /// call the actor any more.
    pub(in super::super) fn handle_out_of_scope(&mut self, object: ObjectId, out: &mut Out) {
        let Some(Handled { actor, owned }) = self.handles.remove(&object) else {
            return;
        };
        self.let_client_go(actor, out);
        if owned {
            let body = Box::new(GcsRequest::ActorOutOfScope { actor });
            let (request, from) = (0, self.me);
            out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
        }
    }

    /// What is known of an actor is kept, as for a handle, until [`let_client_go`](Self::let_client_go).
    pub(in super::super) fn keep_client(
        &mut self,
        actor: ActorId,
        type_name: impl Into<Cow<'static, str>>,
    ) -> &mut ActorClient {
        let new = || ActorClient::new(type_name.into());
        let client = self.actors.entry(actor).or_insert_with(new);
        client.handles += 1;
        client
    }

    /// One reason less to know the actor.
    pub(in super::super) fn let_client_go(&mut self, actor: ActorId, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        client.handles = client.handles.saturating_sub(1);
        if client.handles == 0
            && let Some(client) = self.actors.remove(&actor)
        {
            self.redirects.retain(|_, real| *real != actor);
            if let Some(local) = client.local {
                // LA-3.
                out.garbage.push(local);
            }
            for object in client.held {
                self.unhold(object, Hold::Task, out);
            }
        }
    }
}
