//! The running of local tasks: by a thread of the pool for a while, or by a caller that waits for their results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::{Ended, error_of};
use super::panic;
use super::run::caught;
use super::shared::{Deeper, loan};
use crate::error::{RayError, Result};
use crate::ids::ActorId;
use crate::remote::{Arguments, FunctionBody, Incoming, MethodBody, NativeValue, Outcome};
use crate::worker::Worker;
use crate::worker::context::{Hosting, Resources, TaskContext};
use crate::worker::local::{Hand, LocalCall, LocalTask, Startable};
use crate::worker::resolve::Target;
use crate::worker::state::{Done, LocalActor, Permit, Receipt, Service};

/// How long a thread serves one line before it looks who else waits, in short tasks.
const TURN: Duration = Duration::from_micros(50);
/// Of short tasks, so many run between two looks at the clock.
const CLOCK_EVERY: u32 = 8;

/// So far a caller looks for something that it can run itself.
const LOOK_AHEAD: usize = 256;

/// Serves a line for a while.
pub(super) fn serve(worker: &Arc<Worker>, service: Service) -> Done {
    panic::install_hook();
    let Service { line, receipt, hosting } = service;
    let hand = line.take_hand();
    let mut runs = Runs::new(worker, hosting);
    while let Some(task) = line.next(&hand) {
        runs.run(&task, &hand);
        if runs.are_enough(line.is_short()) {
            break;
        }
    }
    line.lay_down(&hand);
    runs.over(receipt)
}

/// Runs local tasks that this thread is about to wait for and that nobody has begun. Returns whether it ran one.
pub(crate) fn help(worker: &Arc<Worker>, targets: &[Target]) -> bool {
    let waiting = |target: &Target| match target {
        Target::Local(task) if task.is_waiting() => Some(task.clone()),
        _ => None,
    };
    let Some(first) = targets.iter().take(LOOK_AHEAD).find_map(waiting) else {
        return false;
    };
    let Some(_deeper) = Deeper::step() else { return false };
    let line = match &first.call {
        None => worker.locals.of(worker, &first.template.shape),
        Some(_) => Some(worker.locals.calls.clone()),
    };
    let Some(line) = line else { return false };
    let loan = loan();
    let Some(service) = worker.with(|state, now, _| state.local_service(&line, loan, now)) else {
        return false;
    };
    panic::install_hook();
    let hand = line.take_hand();
    let mut runs = Runs::new(worker, service.hosting);
    // What the calls of actors wait for shows while they run.
    let tasks = targets.iter().filter_map(waiting);
    for task in tasks.take_while(|task| task.shares_line_with(&first)) {
        let in_hand = hand.begin_if_next(&task);
        if runs.run(&task, &hand) && !in_hand {
            line.claimed_out_of_turn(&task);
        }
        if runs.are_enough(line.is_short()) {
            break;
        }
    }
    line.lay_down(&hand);
    let done = runs.over(service.receipt);
    let ran = done.locals > 0;
    worker.with(|state, now, out| state.shared_done(done, now, out));
    ran
}

/// Tasks that run one after another on this thread, under one permit.
struct Runs<'a> {
    worker: &'a Arc<Worker>,
    hosting: Permit,
    /// That of the task before, to be used again if nobody else has kept it.
    context: Option<Arc<TaskContext>>,
    ran: u32,
    begun: Instant,
    now: Instant,
}

impl<'a> Runs<'a> {
    fn new(worker: &'a Arc<Worker>, hosting: Permit) -> Self {
        let now = Instant::now();
        Self {
            worker,
            hosting,
            context: None,
            ran: 0,
            begun: now,
            now,
        }
    }

    /// Runs a task, unless somebody else has begun it. Calls that may start afterwards go to the hand.
    fn run(&mut self, task: &Arc<LocalTask>, hand: &Hand) -> bool {
        let context = self.context_of(task);
        let Some(arguments) = task.claim(&context) else {
            self.context = Some(context);
            return false;
        };
        let arguments = Arguments::new(arguments.into_iter().map(|value| Incoming::Native(value.into_any())));
        match &task.call {
            None => {
                let ended = match function(task) {
                    Some(body) => caught(&context, || body(arguments)),
                    None => Ended::Cancelled,
                };
                task.finish(self.worker, self.result(task, ended));
            }
            Some(call) => {
                let host = call.host.upgrade();
                let ended = host.as_ref().map(|host| called(call, host, &context, arguments));
                let result = match ended {
                    Some(Ok(ended)) => self.result(task, ended),
                    Some(Err(what)) => Err(RayError::internal(format!(
                        "an actor's instance is {what} although its call was started"
                    ))),
                    None => Err(gone(call.actor, task)),
                };
                task.finish(self.worker, result);
                if let Some(host) = host {
                    self.turn_over(task, call, &host, hand);
                }
            }
        }
        self.context = Some(context);
        self.ran += 1;
        true
    }

    /// A call has ended: those whose turn has come are the next of this thread, or of one that takes them from it.
    fn turn_over(&self, task: &Arc<LocalTask>, call: &LocalCall, host: &LocalActor, hand: &Hand) {
        let (Startable { of_state, local }, keeper) = host.mailbox.local_ended(call.kind, task);
        hand.add(local);
        if !of_state.is_empty() {
            let startable = Startable {
                of_state,
                ..Startable::default()
            };
            self.worker.start_calls(call.actor, startable);
        }
        drop(keeper);
    }

    fn result(&self, task: &LocalTask, ended: Ended) -> Result<NativeValue> {
        match ended {
            Ended::Outcome(Outcome::Returned(values)) if values.len() == 1 => {
                let value = values.into_iter().next();
                value.ok_or_else(|| RayError::internal("a value is missing"))
            }
            ended => Err(error_of(self.worker, task.id, &task.template.name, ended)),
        }
    }

    fn context_of(&mut self, task: &LocalTask) -> Arc<TaskContext> {
        let call = task.call.as_ref();
        let strategy = &task.template.shape.strategy;
        let context = TaskContext {
            task: task.id,
            name: task.template.name.clone(),
            actor: call.map(|call| call.actor),
            exclusive: call.is_some_and(|call| call.kind.exclusive),
            group: strategy.group(),
            captures: strategy.captures(),
            resources: Resources::OfShape(task.template.shape.clone()),
            hosting: Hosting::Shared(self.hosting),
            started: Some(self.now),
            ..TaskContext::default()
        };
        match self.context.take() {
            Some(mut kept) => match Arc::get_mut(&mut kept) {
                Some(place) => {
                    *place = context;
                    kept
                }
                None => Arc::new(context),
            },
            None => Arc::new(context),
        }
    }

    /// Whether others are to have a turn now.
    fn are_enough(&mut self, short: bool) -> bool {
        if !short {
            self.now = Instant::now();
            return true;
        }
        if self.ran.is_multiple_of(CLOCK_EVERY) {
            self.now = Instant::now();
        }
        self.now.duration_since(self.begun) >= TURN
    }

    fn over(self, receipt: Receipt) -> Done {
        Done {
            locals: self.ran,
            ..Done::of(receipt)
        }
    }
}

fn function(task: &LocalTask) -> Option<fn(Arguments) -> Outcome> {
    match task.template.item.as_function()?.body {
        FunctionBody::Sync(body) => Some(body),
        FunctionBody::Async(_) | FunctionBody::Iter(_) | FunctionBody::Stream(_) => None,
    }
}

/// Runs a method. The error says what is wrong with the instance.
fn called(
    call: &LocalCall,
    host: &LocalActor,
    context: &Arc<TaskContext>,
    arguments: Arguments,
) -> Result<Ended, &'static str> {
    match call.body {
        MethodBody::ExclusiveSync(body) => {
            let mut instance = host.instance.try_write().map_err(|_| "in use")?;
            let instance = instance.as_mut().ok_or("missing")?;
            Ok(caught(context, || body(&mut **instance, arguments)))
        }
        MethodBody::SharedSync(body) => {
            let instance = host.instance.try_read().map_err(|_| "in use")?;
            let instance = instance.as_ref().ok_or("missing")?;
            Ok(caught(context, || body(&**instance, arguments)))
        }
        _ => Err("of another kind"),
    }
}

fn gone(actor: ActorId, task: &LocalTask) -> RayError {
    RayError::ActorDied {
        actor,
        name: task.template.name.as_ref().to_owned(),
        cause: "it has ended".into(),
    }
}
