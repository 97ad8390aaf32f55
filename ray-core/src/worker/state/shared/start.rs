//! The start of a piece of work: what whoever runs it gets, with its arguments, its context and its permit.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::super::{Out, State};
use super::{Entry, LocalActor, Permit, Receipt};
use crate::ids::{ObjectId, TaskId};
use crate::remote;
use crate::wire::{ArgSpec, TaskSpec};
use crate::worker::context::{Hosting, Resources, TaskContext};
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::Called;
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::task::{Phase, Template};

/// An argument of a task that starts here.
#[derive(Debug)]
pub(crate) enum RunArg {
    Spec(ArgSpec),
    /// It was given as a value.
    Given(remote::NativeValue),
    /// A result that nobody else holds.
    Moved(Arc<NativeValue>),
    /// A result that others hold too: it is read in its encoded form.
    Held(ObjectId, Arc<NativeValue>),
}

/// A piece of work that starts now.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) what: What,
    /// For a call: the actor.
    pub(crate) call: Option<(Arc<LocalActor>, Kind)>,
    permit: Option<Permit>,
    at: Instant,
}

#[derive(Debug)]
pub(crate) enum What {
    Own(Box<OwnRun>),
    /// The executor has it under this number.
    Foreign(u64),
}

/// A task or call of this process.
#[derive(Debug)]
pub(crate) struct OwnRun {
    /// Without its arguments.
    pub(crate) spec: TaskSpec,
    pub(crate) args: SmallVec<[RunArg; 2]>,
    pub(crate) template: Arc<Template>,
    pub(crate) context: Arc<TaskContext>,
}

impl Started {
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt {
            call: self.call.as_ref().map(|(actor, kind)| (actor.actor, *kind)),
            permit: self.permit,
            at: self.at,
        }
    }
}

impl State {
    pub(super) fn shared_start(
        &mut self,
        line: usize,
        entry: Entry,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        self.shared.threads.note_start();
        let (called, call) = match entry {
            Entry::Task(task) => (Called::Own(task), None),
            Entry::Foreign(number) => (Called::Foreign(number), None),
            Entry::Call(actor, kind, called) => (called, self.local_actor(actor).map(|host| (host, kind))),
        };
        let is_async_call = call.as_ref().is_some_and(|(_, kind)| kind.is_async);
        // A future takes no thread, so that its actor's own limits do.
        let permit = match loan {
            None if !is_async_call => self.shared.permit(line),
            _ => None,
        };
        let what = match called {
            Called::Foreign(number) => What::Foreign(number),
            Called::Own(task) => {
                if call.is_none() && matches!(entry, Entry::Call(..)) {
                    return None;
                }
                let hosting = loan.or(permit).unwrap_or(Permit { line, lease: 0 });
                What::Own(self.own_run(task, call.as_ref(), hosting, out)?)
            }
        };
        Some(Started {
            what,
            call,
            permit,
            at: now,
        })
    }

    fn own_run(
        &mut self,
        task: TaskId,
        call: Option<&(Arc<LocalActor>, Kind)>,
        hosting: Permit,
        out: &mut Out,
    ) -> Option<Box<OwnRun>> {
        let me = self.me;
        let args = self.run_args(task, out);
        self.resume_stream(task);
        let pending = self.tasks.get_mut(&task)?;
        pending.phase = Phase::Pushed(me);
        let spec = &pending.spec;
        let name = spec
            .name
            .as_deref()
            .map_or_else(|| pending.template.name.clone(), Arc::from);
        let gpus = self.shared.gpus_of(hosting);
        let context = Arc::new(TaskContext {
            gpus,
            task,
            attempt: spec.attempt,
            name,
            actor: call.map(|(actor, _)| actor.actor),
            exclusive: call.is_some_and(|(_, kind)| kind.exclusive),
            group: spec.group,
            captures: spec.captures,
            resources: Resources::OfShape(pending.template.shape.clone()),
            hosting: Hosting::Shared(hosting),
            due: pending.due,
            started: Some(out.now),
            ..TaskContext::default()
        });
        if pending.cancelled {
            context.cancel.set();
        }
        pending.context = Some(context.clone());
        let spec = TaskSpec {
            args: Vec::new(),
            name: spec.name.clone(),
            call: spec.call.clone(),
            resources: None,
            stream: spec.stream.clone(),
            ..*spec
        };
        let template = pending.template.clone();
        Some(Box::new(OwnRun {
            spec,
            args,
            template,
            context,
        }))
    }

    /// The arguments as the body takes them. A result that nobody but this task holds is moved to it.
    fn run_args(&mut self, task: TaskId, out: &mut Out) -> SmallVec<[RunArg; 2]> {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return SmallVec::new();
        };
        let again = pending.may_fail_again();
        let mut args: SmallVec<[RunArg; 2]> = pending.spec.args.iter().cloned().map(RunArg::Spec).collect();
        for (position, value) in std::mem::take(&mut pending.natives) {
            match args.get_mut(position as usize) {
                Some(arg) => *arg = RunArg::Given(value),
                None => out.garbage.push(Box::new(value)),
            }
        }
        for dependency in &pending.dependencies {
            let object = dependency.object;
            if !matches!(self.objects.slot(&object), Some(Slot::Native(_))) {
                continue;
            }
            let arg = if !again && self.refs.is_only_hold(&object, Hold::Task) {
                self.objects.take_native(&object).map(RunArg::Moved)
            } else {
                self.objects.native(&object).map(|native| RunArg::Held(object, native))
            };
            if let (Some(arg), Some(place)) = (arg, args.get_mut(dependency.position as usize)) {
                *place = arg;
            }
        }
        args
    }
}
