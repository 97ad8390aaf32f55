//! Shared work: tasks and actor calls that run in this process itself, on its own threads.
//!
//! Work stands in *lines*: one for each shape of tasks, and one for the calls of actors that live here and for what other
//! processes have sent. A task takes a *permit* of its line to run: a lease of the raylet, or one of [`CALLS`] slots.
//!
//! - SH-1: a piece of work is started once: by a thread of the pool, or by the very caller that waits for it (which then
//!   needs no other thread), whoever comes first.
//! - SH-2: a permit serves one running piece of work. A task that waits lends its own to the task that it waits for.
//! - SH-3: work never stays unseen: where it and a permit are there, a thread of the pool runs, is on its way, or dozes,
//!   and looks again within [`threads::TICK`].
//! - SH-4: lines take turns.
//!
//! *Waking a thread costs more than most of what is run here*, so a thread is woken only where that can help: not for work
//! that is shorter than a wake-up while a thread runs, or dozes and nobody waits; nor for a single task of a shape whose
//! last one its caller came to run itself. These are guesses; the dozing thread makes good what was guessed wrongly.

mod actors;
mod leases;
mod local;
mod threads;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

pub(crate) use actors::{LocalActor, LocalHost, NewActor};
pub(crate) use local::Service;
use threads::Threads;
pub(crate) use threads::{Look, Next};

use super::{Common, Out, State};
use crate::error::RayError;
use crate::ids::{ActorId, IdHasher, ObjectId, TaskId};
use crate::remote;
use crate::wire::{ArgSpec, TaskOutcome, TaskSpec};
use crate::worker::context::{Hosting, Resources, TaskContext};
use crate::worker::execute::actor_queue::Kind;
use crate::worker::local::{Called, LocalLine};
use crate::worker::native::NativeValue;
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;
use crate::worker::shape::Shape;
use crate::worker::task::{Phase, Template};

/// Calls of actors that run on threads at once. Those that wait for an object do not count.
const CALLS: usize = 64;
/// The line of actor calls, and of what other processes have sent.
const CALL_LINE: usize = 0;
/// Work that is shorter than this is done sooner by the thread that runs already than by one that must be woken.
const SHORT: Duration = Duration::from_micros(4);

/// The right to run one piece of work of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    line: usize,
    /// The raylet's number of the lease; 0 for a call.
    pub(crate) lease: u64,
}

impl Permit {
    /// The lease of another process, under which it has sent a task here.
    pub(crate) fn foreign(lease: u64) -> Self {
        Self { line: CALL_LINE, lease }
    }
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Task(TaskId),
    /// A task of another process, by the executor's number.
    Foreign(u64),
    /// A call that its actor's queue has started.
    Call(ActorId, Kind, Called),
}

#[derive(Debug, Default)]
struct Line {
    shape: Option<Shape>,
    waiting: VecDeque<Entry>,
    /// How many of `waiting` have not been started by their own caller or cancelled.
    live: usize,
    /// Tasks of this shape that are outside the state stand here.
    local: Option<Arc<LocalLine>>,
    /// Local tasks were served last.
    local_was_last: bool,
    leases: SmallVec<[leases::Lease; 2]>,
    /// Permits that are free.
    free: usize,
    requests: Vec<u64>,
    /// The shortest run time lately.
    run_time: Option<Duration>,
    /// The last piece of work was run by the caller that waited for it.
    inlined: bool,
}

impl Line {
    fn is_short(&self) -> bool {
        self.run_time.is_some_and(|time| time < SHORT)
    }

    /// Falls at once and rises slowly: what is measured may include waiting for the lock.
    fn note_run_time(&mut self, time: Duration) {
        self.run_time = Some(match self.run_time {
            Some(known) if known < time => known + (time - known) / 16,
            _ => time,
        });
        if let Some(local) = &self.local {
            local.set_short(self.is_short());
        }
    }

    /// How much stands in line, local tasks included.
    fn in_line(&self) -> usize {
        self.live + self.local.as_ref().map_or(0, |local| local.waiting())
    }

    fn has_local_work(&self) -> bool {
        self.free > 0 && self.local.as_ref().is_some_and(|local| local.has_work())
    }

    fn has_work(&self) -> bool {
        (self.live > 0 && self.free > 0) || self.has_local_work()
    }
}

/// All shared work of this process.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whether shared tasks of this process run here; else in the driver.
    pub(crate) hosts: bool,
    lines: Vec<Line>,
    by_shape: HashMap<Shape, usize, IdHasher>,
    last: Option<(Shape, usize)>,
    requests: HashMap<u64, usize>,
    threads: Threads,
    /// The line whose turn it is.
    turn: usize,
}

impl Shared {
    pub(super) fn new(common: Arc<Common>) -> Self {
        let calls = Line {
            free: CALLS,
            ..Line::default()
        };
        Self {
            hosts: false,
            lines: vec![calls],
            by_shape: HashMap::default(),
            last: None,
            requests: HashMap::new(),
            threads: Threads::new(common),
            turn: 0,
        }
    }
}

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

/// How a task of this process ended.
#[derive(Debug)]
pub(crate) enum LocalOutcome {
    Returned(SmallVec<[Slot; 1]>),
    Constructed,
    Other(TaskOutcome),
}

/// What is to be told of a piece of work when it has ended.
#[derive(Debug)]
pub(crate) struct Receipt {
    call: Option<(ActorId, Kind)>,
    permit: Option<Permit>,
    at: Instant,
}

/// The end of a piece of work.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    /// For a task of this process; others have been answered.
    pub(crate) own: Option<(TaskId, u32, LocalOutcome)>,
    /// How many local tasks it was.
    pub(crate) locals: u32,
}

impl Done {
    /// The end of work that has been answered.
    pub(crate) fn of(receipt: Receipt) -> Self {
        Self {
            receipt,
            own: None,
            locals: 0,
        }
    }
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
    /// Puts a task of this process in line.
    pub(super) fn shared_enqueue(&mut self, shape: &Shape, task: TaskId, out: &mut Out) {
        let line = self.shared.line_of(shape);
        self.shared_push(line, Entry::Task(task), out);
    }

    /// A task of another process has arrived. Returns the number under which it will start.
    pub(crate) fn shared_foreign(&mut self, out: &mut Out) -> u64 {
        let number = self.new_number();
        self.shared_push(CALL_LINE, Entry::Foreign(number), out);
        number
    }

    fn shared_push(&mut self, line: usize, entry: Entry, out: &mut Out) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        queue.waiting.push_back(entry);
        queue.live += 1;
        self.shared_request_leases(line, out);
        self.shared.summon(line, false, out);
    }

    /// A task that waits in line is not to be started any more.
    pub(super) fn shared_leave(&mut self, shape: &Shape, out: &mut Out) {
        let line = self.shared.line_of(shape);
        if let Some(queue) = self.shared.lines.get_mut(line) {
            queue.live = queue.live.saturating_sub(1);
        }
        self.shared_request_leases(line, out);
        self.shared_tidy(line);
    }

    /// Takes out what was started or cancelled out of turn, where it is most of the line.
    fn shared_tidy(&mut self, line: usize) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        if queue.waiting.len() > 2 * queue.live + 32 {
            let mut waiting = std::mem::take(&mut queue.waiting);
            waiting.retain(|entry| self.is_startable(entry));
            waiting.shrink_to_fit();
            if let Some(queue) = self.shared.lines.get_mut(line) {
                queue.live = waiting.len();
                queue.waiting = waiting;
            }
        }
    }

    fn is_startable(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Task(task) => self
                .tasks
                .get(task)
                .is_some_and(|pending| pending.phase == Phase::Queued),
            Entry::Call(_, _, Called::Own(task)) => {
                self.tasks.get(task).is_some_and(|pending| pending.context.is_none())
            }
            Entry::Foreign(_) | Entry::Call(_, _, Called::Foreign(_)) => true,
        }
    }

    /// The next piece of work of a line that has some.
    fn shared_take(&mut self, line: usize, now: Instant, out: &mut Out) -> Option<Started> {
        loop {
            let queue = self.shared.lines.get_mut(line)?;
            if queue.free == 0 {
                return None;
            }
            let entry = queue.waiting.pop_front()?;
            if !self.is_startable(&entry) {
                continue;
            }
            let queue = self.shared.lines.get_mut(line)?;
            queue.live = queue.live.saturating_sub(1);
            queue.inlined = false;
            if let Some(started) = self.shared_start(line, entry, None, now, out) {
                return Some(started);
            }
        }
    }

    /// Takes the very task that the caller is about to wait for, to be run by the caller itself. `loan` is the permit of
    /// the caller, if it is itself a piece of shared work.
    pub(crate) fn shared_take_for(
        &mut self,
        task: TaskId,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        let pending = self.tasks.get(&task)?;
        if let Some(actor) = pending.actor {
            let (call, kind) = self.shared_call_in_line(actor, task)?;
            return self.shared_take_out(CALL_LINE, Entry::Call(actor, kind, Called::Own(call)), None, now, out);
        }
        let shape = &pending.template.shape;
        if !(shape.shared && self.shared.hosts && pending.phase == Phase::Queued && pending.template.runs_on_caller) {
            return None;
        }
        let shape = shape.clone();
        let line = self.shared.line_of(&shape);
        let loan = loan.filter(|loan| loan.line == line && loan.lease != 0);
        self.shared_take_out(line, Entry::Task(task), loan, now, out)
    }

    fn shared_take_out(
        &mut self,
        line: usize,
        entry: Entry,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        let queue = self.shared.lines.get_mut(line)?;
        if queue.free == 0 && loan.is_none() {
            return None;
        }
        let same = |other: Option<&Entry>| match (other, &entry) {
            (Some(Entry::Task(other)), Entry::Task(task)) => other == task,
            (Some(Entry::Call(_, _, Called::Own(other))), Entry::Call(_, _, Called::Own(task))) => other == task,
            _ => false,
        };
        if same(queue.waiting.back()) {
            queue.waiting.pop_back();
        } else if same(queue.waiting.front()) {
            queue.waiting.pop_front();
        }
        // Elsewhere it stays, and is passed over when its turn comes.
        queue.live = queue.live.saturating_sub(1);
        queue.inlined = true;
        let started = self.shared_start(line, entry, loan, now, out);
        self.shared_request_leases(line, out);
        self.shared_tidy(line);
        started
    }

    fn shared_start(
        &mut self,
        line: usize,
        entry: Entry,
        loan: Option<Permit>,
        now: Instant,
        out: &mut Out,
    ) -> Option<Started> {
        self.shared.threads.note_start();
        let (call, own) = match entry {
            Entry::Task(task) => (None, Ok(task)),
            Entry::Foreign(number) => (None, Err(number)),
            Entry::Call(actor, kind, called) => {
                let host = self.local_actor(actor);
                let own = match called {
                    Called::Own(task) => Ok(task),
                    Called::Foreign(number) => Err(number),
                };
                (host.map(|host| (host, kind)), own)
            }
        };
        let is_async_call = call.as_ref().is_some_and(|(_, kind)| kind.is_async);
        // A future takes no thread, so that its actor's own limits do.
        let permit = match loan {
            None if !is_async_call => self.shared.permit(line),
            _ => None,
        };
        let what = match own {
            Err(number) => What::Foreign(number),
            Ok(task) => {
                if call.is_none() && matches!(entry, Entry::Call(..)) {
                    return None;
                }
                let hosting = loan.or(permit).unwrap_or(Permit { line, lease: 0 });
                let exclusive = call.as_ref().is_some_and(|(_, kind)| kind.exclusive);
                let actor = call.as_ref().map(|(actor, _)| actor.actor);
                What::Own(self.own_run(task, actor, exclusive, hosting, out)?)
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
        actor: Option<ActorId>,
        exclusive: bool,
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
        let context = Arc::new(TaskContext {
            task,
            attempt: spec.attempt,
            name,
            actor,
            exclusive,
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

    /// A piece of work has ended.
    pub(crate) fn shared_done(&mut self, done: Done, now: Instant, out: &mut Out) {
        let Receipt { call, permit, at } = done.receipt;
        self.locals_ended(done.locals, out);
        if let Some((task, attempt, outcome)) = done.own {
            self.local_task_done(task, attempt, outcome, now, out);
        }
        if let Some((actor, kind)) = call {
            self.local_call_ended(actor, kind, out);
        }
        if let Some(permit) = permit {
            if let Some(line) = self.shared.lines.get_mut(permit.line) {
                line.note_run_time(now.saturating_duration_since(at) / done.locals.max(1));
            }
            self.shared_permit_back(permit, now, out);
        }
    }

    fn local_task_done(&mut self, task: TaskId, attempt: u32, outcome: LocalOutcome, now: Instant, out: &mut Out) {
        let Some(pending) = self.tasks.get_mut(&task) else {
            out.garbage.push(Box::new(outcome));
            return;
        };
        if pending.spec.attempt != attempt {
            out.garbage.push(Box::new(outcome));
            return;
        }
        pending.context = None;
        let actor = pending.actor;
        match outcome {
            LocalOutcome::Returned(slots) if pending.cancelled => {
                out.garbage.push(Box::new(slots));
                self.forget_task(task, now, out);
            }
            LocalOutcome::Returned(slots) => {
                let (results, again) = (pending.results(), pending.runs > 0);
                for (object, slot) in results.zip(slots) {
                    if again && self.objects.slot(&object).is_some_and(|there| !there.is_pending()) {
                        // It ran again for another of its results; this one is there.
                        out.garbage.push(Box::new(slot));
                        continue;
                    }
                    self.settle(object, slot, now, out);
                }
                self.forget_task(task, now, out);
            }
            LocalOutcome::Constructed => {
                if let Some(actor) = actor {
                    self.local_actor_constructed(actor);
                }
                self.forget_task(task, now, out);
            }
            LocalOutcome::Other(TaskOutcome::Failed { error, .. }) if self.is_constructor(actor, task) => {
                self.finish_failed(task, &error, now, out);
                if let Some(actor) = actor {
                    self.bury_local(actor, &error, now, out);
                }
            }
            LocalOutcome::Other(outcome) => {
                let me = self.me;
                self.task_done(me, (task, attempt), outcome, (true, 0), out);
            }
        }
    }

    /// The next piece of work for a thread of the pool, or how long it rests. `worked`: it comes from one.
    pub(crate) fn shared_next(&mut self, look: &mut Look, worked: bool, now: Instant, out: &mut Out) -> Next {
        let mut timed_out = self.shared.threads.arrive(look, worked);
        let mut worked = worked;
        if self.ended.is_some() {
            self.shared.threads.leave();
            return Next::End;
        }
        loop {
            if let Some(next) = self.shared_look(look, worked, now, out) {
                return next;
            }
            let next = self.shared.threads.rest(look, timed_out, now);
            if !self.shared.must_look_again() {
                return next;
            }
            self.shared.threads.stay(look, &next);
            (timed_out, worked) = (false, false);
        }
    }

    /// Work for a thread of the pool, if there is some that it should do.
    fn shared_look(&mut self, look: &mut Look, worked: bool, now: Instant, out: &mut Out) -> Option<Next> {
        let moving = self.shared.threads.has_moved_since(look);
        for step in 0..self.shared.lines.len() {
            let line = (self.shared.turn + step) % self.shared.lines.len();
            let Some(queue) = self.shared.lines.get(line) else {
                continue;
            };
            if queue.in_line() > 0 && queue.free == 0 && !moving && !worked {
                self.shared_request_more(line, out);
                continue;
            }
            // SH-3: a thread that has just come leaves short work to the one that runs, as long as that moves on.
            let left_to_others = !worked && moving && queue.is_short() && self.shared.threads.runs_any();
            if !queue.has_work() || left_to_others {
                continue;
            }
            let next = match self.shared_serve(line, now) {
                Some(service) => Some(Next::Serve(service)),
                None => self.shared_take(line, now, out).map(Next::Run),
            };
            if let Some(next) = next {
                self.shared.turn = line + 1;
                self.shared.threads.begins(look);
                return Some(next);
            }
        }
        None
    }

    /// The thread of a piece of work waits for an object.
    pub(crate) fn shared_blocked(&mut self, permit: Permit, in_pool: bool, out: &mut Out) {
        if permit.lease != 0 {
            out.send(super::Dest::Raylet, crate::wire::Frame::Blocked { lease: permit.lease });
        } else if let Some(line) = self.shared.lines.get_mut(permit.line)
            && permit.line == CALL_LINE
        {
            line.free += 1;
        }
        if in_pool {
            self.shared.threads.blocks(true);
        }
        self.shared_waits(out);
    }

    /// It goes on.
    pub(crate) fn shared_unblocked(&mut self, permit: Permit, in_pool: bool, out: &mut Out) {
        if permit.lease != 0 {
            out.send(
                super::Dest::Raylet,
                crate::wire::Frame::Unblocked { lease: permit.lease },
            );
        } else if let Some(line) = self.shared.lines.get_mut(permit.line)
            && permit.line == CALL_LINE
        {
            line.free = line.free.saturating_sub(1);
        }
        if in_pool {
            self.shared.threads.blocks(false);
        }
    }

    /// Somebody is about to wait: what was left for its caller to run must go its way without it.
    pub(crate) fn shared_waits(&mut self, out: &mut Out) {
        for line in 0..self.shared.lines.len() {
            if self.shared.lines.get(line).is_some_and(Line::has_work) {
                self.shared.summon(line, true, out);
            }
        }
    }

    /// The session is over: threads end, and instances of actors go.
    pub(super) fn shared_end(&mut self, out: &mut Out) {
        self.shared.threads.rouse_all(out);
        for line in &mut self.shared.lines {
            line.waiting = VecDeque::new();
            line.live = 0;
        }
        let clients = std::mem::take(&mut self.actors);
        out.garbage.push(Box::new(clients));
    }

    /// No further thread can be started; those that run come to the work.
    pub(crate) fn shared_thread_failed(&mut self) {
        self.shared.threads.leave();
    }

    /// The cancel flag of a task that runs in this process.
    pub(crate) fn running_here(&self, task: TaskId) -> Option<Arc<TaskContext>> {
        self.tasks.get(&task)?.context.clone()
    }

    /// Fails what stands in line for a lease that will not come.
    fn shared_fail_line(&mut self, line: usize, error: &RayError, now: Instant, out: &mut Out) {
        let Some(queue) = self.shared.lines.get_mut(line) else {
            return;
        };
        queue.live = 0;
        if let Some(local) = &queue.local {
            out.refused.push((local.clone(), error.clone()));
        }
        for entry in std::mem::take(&mut queue.waiting) {
            let Entry::Task(task) = entry else { continue };
            let Some(pending) = self.tasks.get(&task).filter(|pending| pending.phase == Phase::Queued) else {
                continue;
            };
            let error = error.named_for(pending.name());
            self.finish_failed(task, &error, now, out);
        }
    }
}

impl Shared {
    /// Calls a thread for a line that has got work or a permit, where that helps. `now_waited_for`: no caller will come.
    fn summon(&mut self, line: usize, now_waited_for: bool, out: &mut Out) {
        let Some(queue) = self.lines.get(line) else { return };
        let in_line = queue.in_line();
        if in_line == 0 {
            return;
        }
        if self.threads.runs_any() && queue.is_short() {
            self.threads.ensure_watch(out);
            return;
        }
        if queue.free == 0 {
            return;
        }
        // What is short is left, also in numbers, until somebody waits for it or the dozing thread looks.
        let can_wait = (in_line == 1 && queue.inlined) || queue.is_short();
        if can_wait && !now_waited_for && self.threads.is_watched() {
            return;
        }
        self.threads.call(in_line.min(queue.free), out);
    }

    fn line_of(&mut self, shape: &Shape) -> usize {
        if let Some((last, line)) = &self.last
            && last == shape
        {
            return *line;
        }
        let line = match self.by_shape.get(shape) {
            Some(line) => *line,
            None => self.new_line(shape),
        };
        self.last = Some((shape.clone(), line));
        line
    }

    fn new_line(&mut self, shape: &Shape) -> usize {
        let new = Line {
            shape: Some(shape.clone()),
            ..Line::default()
        };
        let unused = self.lines.iter().skip(1).position(|line| line.shape.is_none());
        let line = unused.map_or(self.lines.len(), |place| place + 1);
        match self.lines.get_mut(line) {
            Some(place) => *place = new,
            None => self.lines.push(new),
        }
        self.by_shape.insert(shape.clone(), line);
        line
    }

    fn permit(&mut self, line: usize) -> Option<Permit> {
        let queue = self.lines.get_mut(line).filter(|queue| queue.free > 0)?;
        let lease = match line {
            CALL_LINE => 0,
            _ => {
                let lease = queue.leases.iter_mut().find(|lease| lease.is_free())?;
                lease.busy = true;
                lease.id
            }
        };
        queue.free -= 1;
        Some(Permit { line, lease })
    }
}
