//! Submission: a task gets its id, its results exist from that moment, and it waits for its arguments.

use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::new_task::{Argument, NewTask};
use super::{Out, State, Timer};
use crate::ids::{FIRST_PUT_INDEX, ObjectId, TaskId};
use crate::remote::NativeValue;
use crate::value::refs::RefToken;
use crate::wire::{ActorCallSpec, ArgSpec, StreamSpec, TaskSpec};
use crate::worker::refs::Hold;
use crate::worker::task::{Dependency, PendingTask};

/// What the caller gets.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) task: TaskId,
    pub(crate) results: SmallVec<[ObjectId; 1]>,
}

/// The arguments of a new task, sorted.
struct Arguments {
    /// As they are sent.
    args: Vec<ArgSpec>,
    dependencies: SmallVec<[Dependency; 1]>,
    natives: Vec<(u32, NativeValue)>,
}

impl Arguments {
    fn of(given: SmallVec<[Argument; 4]>) -> Self {
        let mut dependencies: SmallVec<[Dependency; 1]> = SmallVec::new();
        let mut args = Vec::with_capacity(given.len());
        let mut natives = Vec::new();
        for (position, arg) in (0..).zip(given) {
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
        Self {
            args,
            dependencies,
            natives,
        }
    }
}

impl State {
    /// Takes a task in. Its results have one local handle each, which the caller owns.
    pub(crate) fn submit(&mut self, new: NewTask, now: Instant, out: &mut Out) -> Submitted {
        let task = self.new_task_id();
        let bytes = new.bytes();
        self.common.pending.add(bytes);
        let Arguments {
            args,
            dependencies,
            natives,
        } = Arguments::of(new.args);
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
        let template = new.template;
        // Here they are read from the shape.
        let stays_here = template.shape.shared && self.shared.hosts;
        let resources = template.resources.clone().filter(|_| !stays_here);
        let call = new.call.map(|call| ActorCallSpec {
            actor: call.actor,
            method: call.method,
            sequence: 0,
            answered: 0,
            order: 0,
            group: template.options.concurrency_group.clone(),
        });
        let stream = new.stream.map(|ahead| {
            Box::new(StreamSpec {
                ahead,
                ..StreamSpec::default()
            })
        });
        let spec = TaskSpec {
            call,
            name: new.name,
            args,
            returns: new.returns,
            stream,
            resources,
            retriable: new.max_retries.is_some_and(|retries| retries != 0),
            ..template.spec(task, self.me, new.parent)
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
            dependencies,
            nested: new.nested,
            due: new.timeout.and_then(|timeout| now.checked_add(timeout)),
            bytes,
            actor,
            handle,
            natives,
            ..PendingTask::new(spec, template, new.max_retries)
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
}
