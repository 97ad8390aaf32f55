//! One turn at the actor: a call, from its arguments to its answer, or a save.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActorHost, Kind, Turn};
use crate::registry::ActorMethod;
use crate::remote::MethodBody;
use crate::wire::TaskOutcome;
use crate::worker::Worker;
use crate::worker::context::Hosting;
use crate::worker::execute::outcome::{Ended, told};
use crate::worker::execute::run::{arguments, caught, caught_async, task_context};
use crate::worker::execute::{Job, answer, stream};

impl ActorHost {
    pub(super) fn run_turn(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, turn: Turn) {
        match turn {
            Turn::Call(job) => self.run_sync(worker, kind, job),
            Turn::Save => self.run_save(worker),
        }
    }

    /// The name under which a call is shown.
    fn named(&self, job: &Job, method: &ActorMethod) -> Arc<str> {
        let index = job.spec.call.as_ref().map_or(usize::MAX, |call| call.method as usize);
        match (&job.spec.name, self.names.get(index)) {
            (Some(name), _) => name.as_str().into(),
            (None, Some(name)) => name.clone(),
            (None, None) => format!("{}::{}", self.type_name, method.name).into(),
        }
    }

    fn run_sync(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, job: Job) {
        let Some(method) = self.method(&job) else { return };
        let name = self.named(&job, method);
        let begun = Instant::now();
        let context = Arc::new(task_context(
            &job.spec,
            name.clone(),
            kind.exclusive,
            Hosting::Process,
            begun,
        ));
        worker.executor.enter_running(&context);
        let outcome = match arguments(worker, &job.spec) {
            Err(outcome) => outcome,
            Ok(arguments) => match method.body {
                MethodBody::SharedSync(body) => {
                    let instance = self.instance.blocking_read();
                    let ended = caught(&context, || body(&**instance, arguments));
                    told(worker, &job, &name, ended)
                }
                MethodBody::ExclusiveSync(body) => {
                    let mut instance = self.instance.blocking_write();
                    let ended = caught(&context, || body(&mut **instance, arguments));
                    told(worker, &job, &name, ended)
                }
                MethodBody::SharedIter(body) => {
                    let instance = self.instance.blocking_read();
                    stream::produce_iter(worker, &job, &name, &context, || body(&**instance, arguments))
                }
                MethodBody::SharedAsync(_) | MethodBody::ExclusiveAsync(_) | MethodBody::SharedStream(_) => {
                    told(worker, &job, &name, Ended::Cancelled)
                }
            },
        };
        self.ended(worker, kind, job, outcome, Some(begun.elapsed()));
    }

    pub(super) async fn run_async(self: &Arc<Self>, worker: &Arc<Worker>, kind: Kind, job: Job) {
        let Some(method) = self.method(&job) else { return };
        let name = self.named(&job, method);
        let context = Arc::new(task_context(
            &job.spec,
            name.clone(),
            kind.exclusive,
            Hosting::Process,
            Instant::now(),
        ));
        worker.executor.enter_running(&context);
        let outcome = match arguments(worker, &job.spec) {
            Err(outcome) => outcome,
            Ok(arguments) => match method.body {
                MethodBody::SharedAsync(body) => {
                    let instance = self.instance.read().await;
                    let ended = caught_async(context.clone(), async { body(&**instance, arguments).await }).await;
                    told(worker, &job, &name, ended)
                }
                MethodBody::ExclusiveAsync(body) => {
                    let mut instance = self.instance.write().await;
                    let ended = caught_async(context.clone(), async { body(&mut **instance, arguments).await }).await;
                    told(worker, &job, &name, ended)
                }
                MethodBody::SharedStream(body) => {
                    let instance = self.instance.read().await;
                    let items = async { body(&**instance, arguments).await };
                    stream::produce_stream(worker, &job, &name, &context, items).await
                }
                MethodBody::SharedSync(_) | MethodBody::ExclusiveSync(_) | MethodBody::SharedIter(_) => {
                    told(worker, &job, &name, Ended::Cancelled)
                }
            },
        };
        self.ended(worker, kind, job, outcome, None);
    }

    /// A call has ended, after so long if it took a thread.
    fn ended(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        kind: Kind,
        job: Job,
        outcome: TaskOutcome,
        on_thread: Option<Duration>,
    ) {
        worker.executor.running().remove(&job.spec.task);
        let leaves = self.calls().note_end(worker.identity.worker, job, outcome);
        if let Some((job, outcome)) = leaves {
            answer(worker, job, outcome, true);
        }
        let ending = {
            let mut calls = self.calls();
            calls.queue.ended(kind);
            if let Some(ran) = on_thread {
                calls.pace.ended(ran);
            }
            self.consider_save(worker, &mut calls);
            calls.ending
        };
        self.start(worker, usize::from(!kind.is_async));
        if ending {
            // The answer may have been what the order to end waited for: it found this call still running.
            worker.executor.look_again(worker);
        }
    }
}
