//! The creation of an actor that the GCS is to know: a question to the GCS once its constructor's arguments are
//! ready. They are held here until the actor is dead, since it may be constructed again.

use std::time::Instant;

use super::super::borrow::contained;
use super::super::dependencies::fit_a_frame;
use super::super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::wire::{ActorSpec, ArgSpec, Frame, GcsReply, GcsRequest};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Hold;

impl State {
    /// Tells the GCS to create an actor, once its arguments are ready.
    pub(crate) fn register_actor(
        &mut self,
        spec: ActorSpec,
        nested: Vec<ObjectId>,
        get_if_exists: bool,
        now: Instant,
        out: &mut Out,
    ) {
        let actor = spec.actor;
        let mut held = nested;
        let mut waits_for = Vec::new();
        for arg in &spec.args {
            if let ArgSpec::Stored { object, owner, .. } = arg {
                held.push(*object);
                waits_for.push((*object, *owner));
            }
        }
        if spec.detached {
            // It goes on without handles, and may be constructed again.
            held.push(spec.handle);
        }
        held.iter().for_each(|object| self.hold(*object, Hold::Task));
        let hosts = self.shared.hosts;
        let client = self.add_handle(spec.handle, actor, spec.type_name.clone(), true);
        client.set_limits(spec.max_pending_calls, spec.max_task_retries);
        client.held = held;
        // Under `get_if_exists` it may be another one, that has a process of its own.
        client.comes_here = hosts && spec.shared && !get_if_exists;
        client.creation = Some(Box::new((spec, get_if_exists)));
        for (object, owner) in waits_for {
            if self.objects.add_interest(&object, Interest::Creation(actor)).is_ok() {
                self.subscribe(object, owner, out);
            }
        }
        self.try_create(actor, now, out);
    }

    /// Sends the creation once all arguments are ready.
    pub(in super::super) fn try_create(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let Some((spec, _)) = client.creation.as_deref_mut() else {
            return;
        };
        let handle = spec.handle;
        let mut failure = None;
        for arg in &mut spec.args {
            let ArgSpec::Stored { object, refs, .. } = arg else {
                continue;
            };
            match self.objects.slot(object) {
                Some(Slot::Pending) => return,
                Some(Slot::Inline(bytes)) => *arg = ArgSpec::Inline { object: bytes.clone() },
                Some(Slot::Native(_)) => {
                    let object = *object;
                    self.objects.want_encoded(object, Interest::Creation(actor), out);
                    return;
                }
                Some(Slot::Failed(error)) => failure = Some(error.clone()),
                Some(Slot::Stored { .. }) => *refs = contained(&self.refs, object),
                None => {}
            }
        }
        let Some((spec, get_if_exists)) = client.creation.take().map(|creation| *creation) else {
            return;
        };
        let failure = failure.or_else(|| {
            let why = fit_a_frame(&spec.args).err()?;
            let call = format!("actor `{}`", spec.type_name);
            Some(Box::new(RayError::Unsupported { call, why }))
        });
        if let Some(error) = failure {
            return self.not_created(actor, handle, *error, now, out);
        }
        let inner = spec.args.iter().flat_map(ArgSpec::references);
        client.argument_refs = inner.map(|(object, _)| object).collect();
        let body = Box::new(GcsRequest::CreateActor { spec, get_if_exists });
        let (request, from) = (self.new_number(), self.me);
        self.creations.insert(request, (actor, handle));
        out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
    }

    fn not_created(&mut self, actor: ActorId, handle: ObjectId, error: RayError, now: Instant, out: &mut Out) {
        self.settle(handle, Slot::failed(error.clone()), now, out);
        self.actor_unknown(actor, error, now, out);
    }

    /// Whoever created the actor wants it ended, and nobody has been asked to create it. Returns whether that is so. Under
    /// `get_if_exists` it may not be this one that is meant, and one that may be restarted is only created later.
    pub(crate) fn abandon_creation(&mut self, actor: ActorId, no_restart: bool, now: Instant, out: &mut Out) -> bool {
        let Some(client) = self.actors.get_mut(&actor) else {
            return false;
        };
        let ends = |creation: &mut Box<(ActorSpec, bool)>| !creation.1 && (no_restart || creation.0.max_restarts == 0);
        let Some(creation) = client.creation.take_if(ends) else {
            return false;
        };
        let (spec, _) = *creation;
        let name = spec.name.unwrap_or(spec.type_name);
        let cause = "it was killed by kill() before it was created".to_owned();
        self.not_created(actor, spec.handle, RayError::ActorDied { actor, name, cause }, now, out);
        true
    }

    /// The actor's worker is about to construct it: the references inside the arguments are handed over to it. `false`:
    /// nobody holds them any more, since nobody holds the actor.
    pub(crate) fn hand_over_arguments(&mut self, actor: ActorId, to: WorkerId, out: &mut Out) -> bool {
        let Some(client) = self.actors.get(&actor).filter(|client| !client.is_dead()) else {
            return false;
        };
        for object in client.argument_refs.clone() {
            self.hand_over(object, to, out);
        }
        true
    }

    /// The actor is about to be constructed in this process, which created it: the references inside the arguments are held
    /// once more. `false`: nobody holds them any more, since nobody holds the actor.
    pub(crate) fn hold_arguments(&mut self, actor: ActorId, references: &[(ObjectId, WorkerId)]) -> bool {
        let wanted = self.actors.get(&actor).is_some_and(|client| !client.is_dead());
        if wanted {
            references.iter().for_each(|(object, _)| self.hold(*object, Hold::Task));
        }
        wanted
    }

    /// The GCS's answer to a creation or a question of this state.
    pub(crate) fn gcs_replied(&mut self, request: u64, reply: GcsReply, now: Instant, out: &mut Out) {
        match (self.creations.remove(&request), reply) {
            (Some((asked, handle)), GcsReply::Actor { info }) => {
                // Under `get_if_exists` the answer may be an older actor of that name: calls go to it.
                if info.actor != asked {
                    self.redirect(asked, info.actor, out);
                }
                self.settle_handle(handle, info.actor, now, out);
                self.actor_changed(info, now, out);
            }
            (Some((asked, handle)), GcsReply::Failed { error }) => self.not_created(asked, handle, error, now, out),
            (None, GcsReply::Actor { info }) => self.actor_changed(info, now, out),
            (None, GcsReply::Failed { error }) => {
                if let RayError::ActorDied { actor, .. } = error {
                    self.actor_unknown(actor, error, now, out);
                }
            }
            _ => {}
        }
    }
}
