//! Actors that the GCS knows and that live here, since this process is the host of their job's shared work.
//!
//! - LA-4: such an actor stays here without a handle of this process, until the GCS has it ended: at once, or when it has
//!   served what has arrived. Its end is told once; no other actor of that name begins before the GCS has heard of it.
//! - LA-5: calls of this process find it as they find one that the GCS does not know; those of other processes arrive as
//!   they would at an actor with a process of its own, and are answered each (EX-1), also if it ends before them.

use std::sync::Arc;
use std::time::Instant;

use super::super::super::{Dest, Out, State};
use super::{LocalActor, LocalHost};
use crate::error::RayError;
use crate::ids::ActorId;
use crate::remote::ConstructBody;
use crate::wire::{ActorSpec, Frame};
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::Called;

/// What is known of an actor that lives here for the GCS.
#[derive(Debug)]
pub(super) struct Tenancy {
    /// Its given name, or its type's.
    name: String,
    /// It ends when it has served what has arrived, for this reason.
    ends: Option<String>,
}

impl State {
    /// Takes in an actor of the GCS's. Its constructor starts under this number, before all its calls.
    pub(crate) fn host_actor(
        &mut self,
        spec: &ActorSpec,
        number: u64,
        host: Arc<LocalActor>,
        now: Instant,
        out: &mut Out,
    ) {
        let actor = spec.actor;
        let construct_is_async = matches!(host.class.construct, ConstructBody::Async(_));
        let constructor = Kind {
            exclusive: true,
            is_async: construct_is_async,
            group: 0,
        };
        host.mailbox.push(constructor, Called::Foreign(number));
        let name = spec.name.clone().unwrap_or_else(|| spec.type_name.clone());
        // LA-4.
        let client = self.keep_client(actor, host.type_name());
        client.set_limits(spec.max_pending_calls, spec.max_task_retries);
        client.local = Some(Box::new(LocalHost {
            host,
            constructor: None,
            construct_is_async,
            tenancy: Some(Box::new(Tenancy { name, ends: None })),
            calls: 0,
        }));
        // Calls of this process may wait already.
        self.drive_actor(actor, now, out);
        self.start_local(actor, out);
    }

    /// The constructor has failed: so do all calls.
    pub(crate) fn hosted_not_constructed(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        if self.is_tenant(actor) {
            self.bury_local(actor, error, now, out);
            self.let_client_go(actor, out);
        }
    }

    /// The GCS wants the actor ended. Returns the error of the calls that are running, if these are not waited for.
    pub(crate) fn stop_hosted(
        &mut self,
        actor: ActorId,
        force: bool,
        why: &str,
        now: Instant,
        out: &mut Out,
    ) -> Option<RayError> {
        let local = self.actors.get_mut(&actor).and_then(|client| client.local.as_mut());
        let Some(tenancy) = local.and_then(|local| local.tenancy.as_mut()) else {
            // It has ended already; whoever asks is told again.
            out.send(Dest::Raylet, Frame::ActorExiting { actor, intended: true });
            return None;
        };
        if force {
            let (name, cause) = (tenancy.name.clone(), why.to_owned());
            let error = RayError::ActorDied { actor, name, cause };
            self.leave(actor, &error, now, out);
            return Some(error);
        }
        tenancy.ends = Some(why.to_owned());
        self.leave_if_quiet(actor, out);
        None
    }

    /// LA-4: an actor that is to end does so when nothing of it waits or runs.
    pub(super) fn leave_if_quiet(&mut self, actor: ActorId, out: &mut Out) {
        let local = self.actors.get(&actor).and_then(|client| client.local.as_deref());
        let Some(local) = local.filter(|local| local.host.mailbox.is_quiet()) else {
            return;
        };
        if let Some(tenancy) = &local.tenancy
            && let Some(cause) = tenancy.ends.clone()
        {
            let name = tenancy.name.clone();
            let error = RayError::ActorDied { actor, name, cause };
            self.leave(actor, &error, out.now, out);
        }
    }

    fn leave(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        self.bury_local(actor, error, now, out);
        self.let_client_go(actor, out);
        out.send(Dest::Raylet, Frame::ActorExiting { actor, intended: true });
    }

    fn is_tenant(&self, actor: ActorId) -> bool {
        let local = self.actors.get(&actor).and_then(|client| client.local.as_ref());
        local.is_some_and(|local| local.tenancy.is_some())
    }
}
