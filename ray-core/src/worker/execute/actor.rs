//! The actor that lives in this process.
//!
//! A call comes in (`intake`), waits until it is in order (`arrivals`) and until the queue starts it, and is run (`run`) by
//! one of the actor's `threads`, or as a future. The other modules are about saved actors.

mod arrivals;
mod construct;
mod deadlock;
mod intake;
mod last_save;
mod ledger;
mod place;
mod record;
mod restore;
mod run;
mod save;
mod saving;
mod threads;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;

use super::Job;
use super::actor_pace::Pace;
use super::actor_queue::{ActorQueue, Kind, Limits};
use crate::ids::TaskId;
use crate::registry::{ActorMethod, ActorType};
use crate::remote::Instance;
use crate::wire::ActorSpec;
use arrivals::Arrivals;
pub(super) use construct::{construct, constructor_arguments, constructor_spec};
pub(crate) use deadlock::ExclusiveWait;
use saving::{Saver, Saving};

/// An actor and the calls that have arrived for it.
#[derive(Debug)]
pub(super) struct ActorHost {
    spec: ActorSpec,
    item: &'static ActorType,
    type_name: String,
    /// The names of its methods, as calls of them are shown.
    names: Vec<Arc<str>>,
    /// Never waited for: the queue starts no call that conflicts with a running one (AQ-1).
    instance: Arc<RwLock<Instance>>,
    calls: Mutex<Calls>,
    /// If its state is saved.
    saver: Option<Saver>,
    /// Something may have come for the main thread.
    looked: AtomicBool,
}

/// What waits for its turn.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every turn is a call: a box would be an allocation a call"
)]
enum Turn {
    Call(Job),
    /// The state is saved.
    Save,
}

#[derive(Debug)]
struct Calls {
    arrivals: Arrivals,
    queue: ActorQueue<Turn>,
    /// Started calls that need a thread.
    ready: VecDeque<(Kind, Turn)>,
    /// What the exclusive call that runs waits for.
    awaited: Vec<TaskId>,
    /// If its state is saved.
    saving: Option<Saving>,
    pace: Pace,
    /// The main thread waits for a call.
    main_waits: bool,
    ending: bool,
    /// It ends now (CK-14).
    parting: bool,
}

impl ActorHost {
    fn new(
        spec: &ActorSpec,
        item: &'static ActorType,
        instance: Instance,
        saver: Option<Saver>,
        saving: Option<Saving>,
    ) -> Self {
        let limits = Limits::of_actor(spec.max_concurrency);
        let shown = |method: &ActorMethod| format!("{}::{}", spec.type_name, method.name).into();
        Self {
            spec: spec.clone(),
            item,
            type_name: spec.type_name.clone(),
            names: item.methods.iter().map(shown).collect(),
            instance: Arc::new(RwLock::new(instance)),
            calls: Mutex::new(Calls {
                arrivals: Arrivals::default(),
                queue: ActorQueue::new(limits, spec.groups.clone()),
                ready: VecDeque::new(),
                awaited: Vec::new(),
                saving,
                pace: Pace::default(),
                main_waits: false,
                ending: false,
                parting: false,
            }),
            saver,
            looked: AtomicBool::new(true),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn method(&self, job: &Job) -> Option<&'static ActorMethod> {
        self.item.method(job.spec.call.as_ref()?.method)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.calls().ending
    }

    pub(super) fn exit_when_idle(&self) {
        self.calls().ending = true;
    }
}

impl Calls {
    /// Takes a call that needs a thread.
    fn take(&mut self) -> Option<(Kind, Turn)> {
        let call = self.ready.pop_front()?;
        self.pace.took();
        Some(call)
    }
}
