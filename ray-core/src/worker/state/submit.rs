//! Submission: a task gets its id, its results exist from that moment, and it waits for its arguments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::borrow::contained;
use super::{Dest, NewActor, Out, Outgoing, State, Timer};
use crate::ids::{ActorId, FIRST_PUT_INDEX, ObjectId, TaskId, WorkerId};
use crate::remote::NativeValue;
use crate::value::refs::RefToken;
use crate::wire::{ActorCallSpec, ArgSpec, Frame, StreamSpec, TaskSpec};
use crate::worker::objects::{Interest, Slot};
use crate::worker::refs::Hold;
use crate::worker::task::{Dependency, PendingTask, Phase, Template};

/// An argument as the caller gave it.
#[derive(Debug)]
pub(crate) enum Argument {
    /// A value, encoded as an object.
    Value(Bytes),
    /// A value that stays in this process.
    Native(NativeValue),
    /// A value, put into the store because it is large; the call holds it.
    Stored { object: ObjectId, owner: WorkerId },
    /// A reference to a value that may not be ready.
    Reference { object: ObjectId, owner: WorkerId },
}

/// A call to an actor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewCall {
    pub(crate) actor: ActorId,
    /// The object of the handle it is made with: the actor does not end before the call.
    pub(crate) handle: ObjectId,
    pub(crate) method: u32,
}

/// A task to be.
#[derive(Debug)]
pub(crate) struct NewTask {
    pub(crate) template: Arc<Template>,
    pub(crate) item: u64,
    pub(crate) call: Option<NewCall>,
    /// For the construction of an actor that lives here.
    pub(crate) construct: Option<Box<NewActor>>,
    pub(crate) name: Option<String>,
    pub(crate) parent: TaskId,
    pub(crate) args: SmallVec<[Argument; 4]>,
    /// References inside the values.
    pub(crate) nested: SmallVec<[(ObjectId, WorkerId); 1]>,
    pub(crate) returns: u32,
    pub(crate) stream: Option<u32>,
    /// `None`: as the actor says.
    pub(crate) max_retries: Option<i64>,
    /// The time it has: its own timeout, or what is left to the task that submits it, if that is less.
    pub(crate) timeout: Option<Duration>,
}

impl NewTask {
    /// What it counts for among the pending work. A value that stays as it is has no size that could be told.
    pub(crate) fn bytes(&self) -> u64 {
        let values = self.args.iter().map(|arg| match arg {
            Argument::Value(object) => object.len(),
            Argument::Native(_) | Argument::Stored { .. } | Argument::Reference { .. } => 0,
        });
        let args = self.args.len() * size_of::<ArgSpec>();
        (size_of::<PendingTask>() + args + values.sum::<usize>()) as u64
    }
}

/// What the caller gets.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) task: TaskId,
    pub(crate) results: SmallVec<[ObjectId; 1]>,
}

impl State {
    /// Takes a task in. Its results have one local handle each, which the caller owns.
    pub(crate) fn submit(&mut self, new: NewTask, now: Instant, out: &mut Out) -> Submitted {
        let task = self.new_task_id();
        let bytes = new.bytes();
        self.common.pending.add(bytes);
        let mut dependencies: SmallVec<[Dependency; 1]> = SmallVec::new();
        let mut args = Vec::with_capacity(new.args.len());
        let mut natives = Vec::new();
        for (position, arg) in (0..).zip(new.args) {
            args.push(match arg {
                Argument::Value(object) => ArgSpec::Inline { object },
                Argument::Native(value) => {
                    natives.push((position, value));
                    ArgSpec::Inline { object: Bytes::new() }
                }
                Argument::Stored { object, owner } | Argument::Reference { object, owner } => {
                    dependencies.push(Dependency {
                        position,
                        object,
                        owner,
                    });
                    ArgSpec::Stored {
                        object,
                        owner,
                        refs: Vec::new(),
                    }
                }
            });
        }
        for dependency in &dependencies {
            self.hold(dependency.object, Hold::Task);
        }
        for (object, _) in &new.nested {
            self.hold(*object, Hold::Task);
        }
        let results: SmallVec<[ObjectId; 1]> = (1..=new.returns).map(|index| task.object(index)).collect();
        for result in &results {
            self.refs.own(*result, Hold::Handle);
            self.objects.expect(*result);
        }
        // Here they are read from the shape.
        let stays_here = new.template.shape.shared && self.shared.hosts;
        let resources = new.template.resources.clone().filter(|_| !stays_here);
        let options = &new.template.options;
        let call = new.call.map(|call| ActorCallSpec {
            actor: call.actor,
            method: call.method,
            sequence: 0,
            answered: 0,
            order: 0,
            group: options.concurrency_group.clone(),
        });
        let spec = TaskSpec {
            task,
            attempt: 0,
            owner: self.me,
            parent: new.parent,
            item: new.item,
            call,
            name: new.name,
            args,
            returns: new.returns,
            stream: new.stream.map(|ahead| {
                Box::new(StreamSpec {
                    ahead,
                    ..StreamSpec::default()
                })
            }),
            retry_exceptions: options.retry_exceptions.into(),
            deadline: None,
            group: new.template.shape.strategy.group(),
            captures: new.template.shape.strategy.captures(),
            resources,
            retriable: new.max_retries.is_some_and(|retries| retries != 0),
        };
        let constructed = new.construct.as_ref().map(|new| new.host.actor);
        let actor = constructed.or(new.call.map(|call| self.real_actor(call.actor)));
        // AC-4. The result of a constructor is the object of the handles.
        let handle = new.call.map(|call| call.handle);
        let handle = handle.or(constructed.map(|_| task.object(1)));
        if let Some(handle) = handle {
            self.hold(handle, Hold::Task);
        }
        let pending = PendingTask {
            spec,
            template: new.template,
            dependencies,
            nested: new.nested,
            due: new.timeout.and_then(|timeout| now.checked_add(timeout)),
            missing: 0,
            retries_left: new.max_retries,
            phase: Phase::Waiting,
            cancelled: false,
            items: None,
            failures: 0,
            oom_failures: 0,
            runs: 0,
            bytes,
            actor,
            handle,
            natives,
            context: None,
        };
        if new.stream.is_some() {
            self.open_stream(task);
        }
        self.tasks.insert(task, Box::new(pending));
        if let Some(timeout) = new.timeout {
            out.timers.push((timeout, Timer::Deadline(task, timeout, 0)));
        }
        if let Some(new) = new.construct {
            self.insert_local_actor(*new, task);
        }
        if let Some(actor) = actor {
            self.enqueue_call(actor, task);
        }
        if let Some(error) = &self.ended {
            // Nobody is left to run it.
            let error = error.clone();
            self.finish_failed(task, &error, now, out);
        } else {
            self.await_dependencies(task, now, out);
        }
        Submitted { task, results }
    }

    /// A new object made by `put`, with one local handle and these references inside.
    pub(crate) fn new_put(&mut self, inner: &[RefToken], out: &mut Out) -> ObjectId {
        let object = self.new_task_id().object(FIRST_PUT_INDEX);
        self.refs.own(object, Hold::Handle);
        self.objects.expect(object);
        inner.iter().for_each(|token| self.hold(token.object, Hold::Container));
        self.refs
            .contain(object, inner.iter().map(|token| token.object), &mut out.refs);
        object
    }

    /// Resolves what is ready and registers for what is not; queues the task when nothing is missing.
    pub(super) fn await_dependencies(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Waiting;
        let dependencies = pending.dependencies.clone();
        let mut missing = 0;
        for dependency in &dependencies {
            if self.wants_encoded(task, dependency.object, out) {
                missing += 1;
            } else if self
                .objects
                .add_interest(&dependency.object, Interest::Dependent(task))
                .is_ok()
            {
                missing += 1;
                self.subscribe(dependency.object, dependency.owner, out);
            } else if !self.resolve(task, dependency.object, now, out) {
                return;
            }
        }
        if let Some(pending) = self.tasks.get_mut(&task) {
            pending.missing = missing;
        }
        if missing == 0 {
            self.ready_to_run(task, now, out);
        }
    }

    /// One of the task's dependencies became ready.
    pub(super) fn dependency_ready(&mut self, task: TaskId, object: ObjectId, now: Instant, out: &mut Out) {
        if self.wants_encoded(task, object, out) || !self.resolve(task, object, now, out) {
            return;
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 && pending.phase == Phase::Waiting {
            self.ready_to_run(task, now, out);
        }
    }

    /// Whether the task goes to another process and the object has not been encoded yet: then it waits for that.
    fn wants_encoded(&mut self, task: TaskId, object: ObjectId, out: &mut Out) -> bool {
        if !matches!(self.objects.slot(&object), Some(Slot::Native(_))) || self.runs_here(task) {
            return false;
        }
        self.objects.want_encoded(object, Interest::Dependent(task), out);
        true
    }

    pub(super) fn runs_here(&self, task: TaskId) -> bool {
        let Some(pending) = self.tasks.get(&task) else {
            return true;
        };
        match pending.actor {
            Some(actor) => self.runs_actor(actor),
            None => pending.template.shape.shared && self.shared.hosts,
        }
    }

    /// Whether the actor's calls run in this process, beside other work.
    pub(super) fn runs_actor(&self, actor: ActorId) -> bool {
        let of_host = || self.actors.get(&actor).is_some_and(|client| client.is_of_host());
        self.hosts_actor(actor) || (self.shared.hosts && of_host())
    }

    /// Whether the process that runs it serves many: such a one takes no tasks by ring.
    fn goes_to_host(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|pending| {
            let actor = pending.actor.and_then(|actor| self.actors.get(&actor));
            pending.template.shape.shared || actor.is_some_and(|client| client.is_hosted())
        })
    }

    /// Writes a ready dependency into the task's arguments. A failed one fails the task: `false`.
    fn resolve(&mut self, task: TaskId, object: ObjectId, now: Instant, out: &mut Out) -> bool {
        let value = match self.objects.slot(&object) {
            Some(Slot::Inline(bytes)) => Some(bytes.clone()),
            Some(Slot::Failed(error)) => {
                let error = error.clone();
                self.finish_failed(task, &error, now, out);
                return false;
            }
            Some(Slot::Native(_) | Slot::Stored { .. } | Slot::Pending) | None => None,
        };
        let Some(pending) = self.tasks.get_mut(&task) else {
            return false;
        };
        if let Some(bytes) = value {
            for dependency in pending
                .dependencies
                .iter()
                .filter(|dependency| dependency.object == object)
            {
                if let Some(arg) = pending.spec.args.get_mut(dependency.position as usize) {
                    *arg = ArgSpec::Inline { object: bytes.clone() };
                }
            }
        }
        true
    }

    fn ready_to_run(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Queued;
        match pending.actor {
            Some(actor) => self.drive_actor(actor, now, out),
            None => {
                let shape = pending.template.shape.clone();
                self.enqueue(shape, task, now, out);
            }
        }
    }

    /// Hands a task to a worker: from here on the references among its arguments are in two processes.
    pub(super) fn push_to(&mut self, task: TaskId, worker: WorkerId, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.phase = Phase::Pushed(worker);
        pending.spec.deadline = pending.due.map(|due| due.saturating_duration_since(out.now));
        if pending.spec.stream.is_some() {
            self.resume_stream(task);
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        let mut inner = Vec::new();
        for arg in &mut pending.spec.args {
            if let ArgSpec::Stored { object, refs, .. } = arg {
                *refs = contained(&self.refs, object);
            }
            inner.extend(arg.references());
        }
        if worker == self.me {
            let spec = Box::new(pending.spec.clone());
            out.send(Dest::Worker(worker), Frame::PushTask { spec, lease: 0 });
            return;
        }
        let plain = inner.is_empty() && pending.spec.stream.is_none();
        inner
            .iter()
            .for_each(|(object, _)| self.hand_over(*object, worker, out));
        if self.goes_to_host(task) {
            let lease = self.lease_of(task, worker);
            if let Some(pending) = self.tasks.get(&task) {
                let spec = Box::new(pending.spec.clone());
                out.send(Dest::Worker(worker), Frame::PushTask { spec, lease });
            }
        } else {
            out.sends.push((Dest::Worker(worker), Outgoing::Task { task, plain }));
        }
    }

    /// Runs a task again after a pause.
    pub(super) fn retry_after(&mut self, task: TaskId, pause: Duration, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        pending.spec.attempt += 1;
        pending.failures += 1;
        if let Some(actor) = pending.actor {
            self.call_runs_again(actor, task);
        }
        let Some(pending) = self.tasks.get_mut(&task) else {
            return;
        };
        if pause.is_zero() {
            self.retry(task, now, out);
        } else {
            pending.phase = Phase::BackingOff;
            out.timers.push((pause, Timer::Retry(task)));
        }
    }

    pub(crate) fn retry(&mut self, task: TaskId, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get(&task) else { return };
        if let Some(actor) = pending.actor {
            self.enqueue_call(actor, task);
        }
        self.await_dependencies(task, now, out);
    }
}
