//! When and how the state of an actor is saved: an exclusive turn between its calls, and a thread that writes.
//!
//! - CK-7: a save is a turn before all that wait: no call runs while the state is encoded. Calls run while it is written.
//! - CK-8: under `every_calls = 1` an answer leaves after a save that contains its call. Answers to the actor itself do
//!   not wait, since they die with it, nor does the end of a stream, whose items have left.
//! - CK-9: under `every_calls = n` a save begins after n calls, and not before the one before it is on disk: a crash loses
//!   fewer than 2 n answered calls, apart from those that ran at the same time.
//! - CK-10: a save that fails ends neither a call nor the actor, and the next one tries again. Under `every_calls = 1` the
//!   callers are told that their calls have run and are not saved.
//! - CK-11: a save never stands in the way of calls for long: if those that run do not end, it gives way and is made when
//!   the actor is quiet. They may wait for the very calls that it holds up.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ledger::Ledger;
use super::place::Place;
use super::record::Record;
use super::{ActorHost, Calls, Kind, Turn};
use crate::error::RayError;
use crate::ids::WorkerId;
use crate::remote::CheckpointVTable;
use crate::wire::{ActorSpec, CheckpointSpec, Frame, GcsRequest, ObjectValue, SaveState, TaskOutcome};
use crate::worker::Worker;
use crate::worker::context::{self, TaskContext};
use crate::worker::execute::{Job, answer, panic};
use crate::worker::state::Dest;

/// How the queue sees a save.
const SAVE: Kind = Kind {
    exclusive: true,
    is_async: false,
    group: 0,
};
/// How long a save stands before waiting calls while others run (CK-11).
const STANDS: Duration = Duration::from_secs(1);
/// How long a save waits for the one before it to be on disk.
const WRITES: Duration = Duration::from_secs(60);

/// What saving an actor takes, apart from what changes with its calls.
#[derive(Debug)]
pub(super) struct Saver {
    pub(super) vtable: CheckpointVTable,
    pub(super) place: Mutex<Place>,
    /// Whether the state is of use after the actor.
    pub(super) lasting: bool,
    /// A write has ended; with the lock of the calls.
    pub(super) written: Condvar,
}

/// What is to be saved, and what became of saves. Under the lock of the calls.
#[derive(Debug)]
pub(super) struct Saving {
    every_calls: u64,
    every: Option<Duration>,
    pub(super) ledger: Ledger,
    /// Calls that have ended and are not in a state on disk.
    unsaved: u64,
    /// Those since the last save began.
    since: u64,
    /// When the last save began.
    begun: Instant,
    /// A save waits for its turn, or has it.
    in_line: bool,
    /// How many saves have been put in line.
    turns: u64,
    /// A state is being written.
    writing: bool,
    /// Writing takes so long that calls no longer wait for it.
    stuck: bool,
    /// CK-11.
    gives_way: bool,
    timer_set: bool,
    /// CK-8.
    held: Vec<(Job, TaskOutcome)>,
    saves: u64,
    error: Option<String>,
    /// The save at the actor's end was tried.
    last_tried: bool,
    /// When the actor ends, whatever is on its way to the disk.
    ends_by: Option<Instant>,
    writer: Option<mpsc::Sender<Write>>,
}

/// A state on its way to the disk.
#[derive(Debug)]
struct Write {
    state: Bytes,
    calls: Bytes,
    attempt: Attempt,
}

/// What depends on a save.
#[derive(Debug)]
struct Attempt {
    held: Vec<(Job, TaskOutcome)>,
    /// Unsaved calls that it contains.
    contains: u64,
}

impl Saving {
    pub(super) fn new(spec: &CheckpointSpec, ledger: Ledger) -> Self {
        Self {
            every_calls: spec.every_calls,
            every: spec.every,
            ledger,
            unsaved: 0,
            since: 0,
            begun: Instant::now(),
            in_line: false,
            turns: 0,
            writing: false,
            stuck: false,
            gives_way: false,
            timer_set: false,
            held: Vec::new(),
            saves: 0,
            error: None,
            last_tried: false,
            ends_by: None,
            writer: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let by_calls = match self.every_calls {
            0 => false,
            // While one is being written, the calls of the next one gather.
            1 => self.since > 0 && !self.writing,
            calls => self.since >= calls && !self.stuck,
        };
        by_calls || (!self.writing && self.time_left(now).is_some_and(|left| left.is_zero()))
    }

    /// Until a save is due by time.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let every = self.every.filter(|_| self.unsaved > 0)?;
        Some(every.saturating_sub(now.saturating_duration_since(self.begun)))
    }

    /// Whether nothing is on its way to the disk or waits for it.
    pub(super) fn is_settled(&self) -> bool {
        !self.in_line && !self.writing && self.held.is_empty()
    }

    fn state(&self) -> SaveState {
        SaveState {
            every_calls: self.every_calls,
            every: self.every,
            saves: self.saves,
            unsaved: self.unsaved,
            error: self.error.clone(),
        }
    }
}

impl Calls {
    /// A call has ended. `None`: its answer waits for a save (CK-8).
    pub(super) fn note_end(&mut self, me: WorkerId, job: Job, outcome: TaskOutcome) -> Option<(Job, TaskOutcome)> {
        let Some((saving, call)) = self.saving.as_mut().zip(job.spec.call.as_ref()) else {
            return Some((job, outcome));
        };
        saving.ledger.ended(job.from, call.sequence, &outcome);
        if matches!(outcome, TaskOutcome::ArgumentUnreadable { .. }) {
            return Some((job, outcome));
        }
        saving.unsaved += 1;
        saving.since += 1;
        if saving.every_calls == 1 {
            if job.from != me && job.spec.stream.is_none() {
                saving.held.push((job, outcome));
                return None;
            }
        } else {
            saving.ledger.trim();
        }
        Some((job, outcome))
    }
}

impl ActorHost {
    /// Puts a save in line if one is due, or sees to it that one will be.
    pub(super) fn consider_save(self: &Arc<Self>, worker: &Arc<Worker>, calls: &mut Calls) {
        let running = calls.queue.running();
        let Some(saving) = calls.saving.as_mut().filter(|saving| !saving.in_line) else {
            return;
        };
        let now = Instant::now();
        if saving.is_due(now) {
            if !saving.gives_way || running == 0 {
                self.line_up_save(worker, calls);
            }
        } else if let Some(left) = saving.time_left(now)
            && !std::mem::replace(&mut saving.timer_set, true)
        {
            self.later(worker, left, |host, worker| {
                let mut calls = host.calls();
                if let Some(saving) = &mut calls.saving {
                    saving.timer_set = false;
                }
                host.consider_save(worker, &mut calls);
            });
        }
    }

    fn line_up_save(self: &Arc<Self>, worker: &Arc<Worker>, calls: &mut Calls) {
        let running = calls.queue.running();
        let Some(saving) = &mut calls.saving else { return };
        saving.in_line = true;
        saving.turns += 1;
        let turn = saving.turns;
        calls.queue.push_front(SAVE, Turn::Save);
        if running > 0 {
            self.later(worker, STANDS, move |host, _| host.give_way(turn));
        }
    }

    /// CK-11.
    fn give_way(&self, turn: u64) {
        let mut calls = self.calls();
        let this_one = calls.saving.as_ref().is_some_and(|saving| saving.turns == turn);
        if this_one
            && calls.queue.remove(|turn| matches!(turn, Turn::Save)).is_some()
            && let Some(saving) = &mut calls.saving
        {
            saving.in_line = false;
            saving.gives_way = true;
        }
    }

    /// Does something later, and then starts what may start.
    fn later(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        pause: Duration,
        then: impl FnOnce(&Arc<Self>, &Arc<Worker>) + Send + 'static,
    ) {
        let (host, worker_then) = (Arc::downgrade(self), Arc::downgrade(worker));
        worker.io.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some((host, worker)) = host.upgrade().zip(worker_then.upgrade()) {
                then(&host, &worker);
                host.start(&worker, 0);
            }
        });
    }

    /// The turn of a save (CK-7).
    pub(super) fn run_save(self: &Arc<Self>, worker: &Arc<Worker>) {
        let Some(saver) = &self.saver else { return };
        {
            // CK-9.
            let writing = |calls: &mut Calls| calls.saving.as_ref().is_some_and(|saving| saving.writing);
            let waited = saver.written.wait_timeout_while(self.calls(), WRITES, writing);
            let (mut calls, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out()
                && let Some(saving) = &mut calls.saving
            {
                saving.stuck = true;
                saving.in_line = false;
                tracing::error!(target: "ray_core::worker", actor = %self.spec.actor, "the state of an actor has been on its way to the disk for {WRITES:?}; its calls go on, and are not saved");
                calls.queue.ended(SAVE);
                drop(calls);
                return self.start(worker, 1);
            }
        }
        let state = self.encode_state(saver.vtable);
        let started = self.begin_write(worker, state);
        if let Err((attempt, why)) = started {
            self.save_ended(worker, attempt, Err(why));
        }
        self.calls().queue.ended(SAVE);
        self.start(worker, 1);
    }

    fn encode_state(&self, vtable: CheckpointVTable) -> Result<Bytes, String> {
        let context = Arc::new(TaskContext {
            name: format!("{}::save", self.type_name).into(),
            actor: Some(self.spec.actor),
            exclusive: true,
            started: Some(Instant::now()),
            ..TaskContext::default()
        });
        let instance = self.instance.blocking_read();
        let _entered = context::enter(context);
        let saved = std::panic::catch_unwind(AssertUnwindSafe(|| (vtable.save)(&**instance)));
        let encoded = match saved {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(error)) => return Err(format!("cannot be saved: {}", error.chain().join(": "))),
            Err(_payload) => {
                let panic = panic::take_last();
                return Err(format!(
                    "cannot be saved: `save` panicked: {}, at {}",
                    panic.message, panic.location
                ));
            }
        };
        if !encoded.refs.is_empty() {
            let why = "cannot be saved: it holds references or handles, which end with the actor's process; save the values instead";
            return Err(why.to_owned());
        }
        Ok(encoded.to_bytes())
    }

    /// Hands the state to the thread that writes, with all answers that wait for it.
    fn begin_write(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        state: Result<Bytes, String>,
    ) -> Result<(), (Attempt, String)> {
        let mut calls = self.calls();
        let Some(saving) = &mut calls.saving else { return Ok(()) };
        saving.in_line = false;
        saving.begun = Instant::now();
        saving.since = 0;
        saving.writing = true;
        let attempt = Attempt {
            held: std::mem::take(&mut saving.held),
            contains: saving.unsaved,
        };
        let state = match state {
            Ok(state) => state,
            Err(why) => return Err((attempt, why)),
        };
        let calls_saved = crate::wire::to_bytes(&saving.ledger.saved());
        if saving.writer.is_none() {
            match self.start_writer(worker) {
                Ok(writer) => saving.writer = Some(writer),
                Err(error) => return Err((attempt, format!("cannot be saved: no thread to write it: {error}"))),
            }
        }
        let write = Write {
            state,
            calls: calls_saved,
            attempt,
        };
        match saving.writer.as_ref().map(|writer| writer.send(write)) {
            Some(Err(mpsc::SendError(write))) => {
                saving.writer = None;
                let why = "cannot be saved: the thread that writes it has ended".to_owned();
                Err((write.attempt, why))
            }
            _ => Ok(()),
        }
    }

    fn start_writer(self: &Arc<Self>, worker: &Arc<Worker>) -> std::io::Result<mpsc::Sender<Write>> {
        let (writer, writes) = mpsc::channel::<Write>();
        let (host, worker) = (self.clone(), worker.clone());
        std::thread::Builder::new()
            .name("ray-checkpoint".into())
            .spawn(move || {
                while let Ok(Write { state, calls, attempt }) = writes.recv() {
                    let written = host.write(state, calls);
                    host.save_ended(&worker, attempt, written);
                    host.start(&worker, 0);
                }
            })?;
        Ok(writer)
    }

    fn write(&self, state: Bytes, calls: Bytes) -> Result<(), String> {
        let Some(saver) = &self.saver else { return Ok(()) };
        let mut place = saver.place.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Record {
            number: place.next(),
            actor: self.spec.actor,
            type_name: self.spec.type_name.clone(),
            state,
            calls,
        };
        place.write(&record)
    }

    /// A save has succeeded or failed: answers that waited for it leave.
    fn save_ended(self: &Arc<Self>, worker: &Arc<Worker>, attempt: Attempt, ended: Result<(), String>) {
        let why = ended.err();
        if let Some(why) = &why {
            tracing::error!(target: "ray_core::worker", actor = %self.spec.actor, "the state of actor `{}` {why}; the next save tries again", shown_name(&self.spec));
        }
        let news = {
            let mut calls = self.calls();
            let Some(saving) = &mut calls.saving else { return };
            saving.writing = false;
            saving.stuck = false;
            saving.gives_way = false;
            if why.is_none() {
                saving.saves += 1;
                saving.unsaved = saving.unsaved.saturating_sub(attempt.contains);
            }
            saving.error.clone_from(&why);
            saving.state()
        };
        let body = Box::new(GcsRequest::ActorSaved {
            actor: self.spec.actor,
            saves: news,
        });
        let (request, from) = (0, worker.identity.worker);
        worker.with(|_, _, out| out.send(Dest::Raylet, Frame::GcsRequest { request, from, body }));
        for (job, outcome) in attempt.held {
            let outcome = match &why {
                Some(why) => self.unsaved(worker, &job, outcome, why),
                None => outcome,
            };
            answer(worker, job, outcome, true);
        }
        {
            let mut calls = self.calls();
            if let Some(saving) = &mut calls.saving {
                // The answers have left.
                saving.ledger.trim();
            }
            self.consider_save(worker, &mut calls);
        }
        if let Some(saver) = &self.saver {
            saver.written.notify_all();
        }
    }

    /// CK-10: what the caller of a call is told that has run and could not be saved.
    fn unsaved(&self, worker: &Arc<Worker>, job: &Job, outcome: TaskOutcome, why: &str) -> TaskOutcome {
        let TaskOutcome::Returned { values } = outcome else {
            // It is told of a failure already.
            return outcome;
        };
        let stored = (1..).zip(&values).filter_map(|(index, value)| {
            let stored = matches!(value, ObjectValue::Stored { .. });
            stored.then(|| job.spec.task.object(index))
        });
        let stored: Vec<_> = stored.collect();
        // These will never leave.
        worker.with(|state, _, out| {
            values.iter().for_each(|value| state.let_go(value, out));
            out.free.extend(stored);
        });
        let why = format!("{why}; the call has run, and is lost if the actor dies before the next save");
        TaskOutcome::Failed {
            error: self.checkpoint_error(why),
            retry: false,
        }
    }

    /// What becomes of a call that the restored state contains (CK-5).
    pub(super) fn known_outcome(&self, worker: &Arc<Worker>, job: &Job, known: Option<TaskOutcome>) -> TaskOutcome {
        let is_whole = match &known {
            None => false,
            Some(TaskOutcome::Returned { values }) => (1..).zip(values).all(|(index, value)| {
                !matches!(value, ObjectValue::Stored { .. }) || worker.is_stored(job.spec.task.object(index))
            }),
            Some(TaskOutcome::StreamEnded { items }) => job.spec.stream.is_some_and(|stream| stream.received >= *items),
            Some(_) => true,
        };
        match known.filter(|_| is_whole) {
            Some(outcome) => outcome,
            None => {
                let why = "contains this call, which is not run again; its result is lost".to_owned();
                TaskOutcome::Failed {
                    error: self.checkpoint_error(why),
                    retry: false,
                }
            }
        }
    }

    fn checkpoint_error(&self, why: String) -> RayError {
        RayError::Checkpoint {
            actor: self.spec.actor,
            name: shown_name(&self.spec),
            why,
        }
    }

    /// The actor is about to end and quiet. `true`: nothing is left to be saved.
    pub(super) fn save_at_end(self: &Arc<Self>, worker: &Arc<Worker>) -> bool {
        let Some(saver) = &self.saver else { return true };
        let mut calls = self.calls();
        let Some(saving) = calls.saving.as_mut() else {
            return true;
        };
        let now = Instant::now();
        if !saving.is_settled() {
            let ends_by = match saving.ends_by {
                Some(ends_by) => ends_by,
                None => {
                    // Then this thread looks again.
                    self.later(worker, WRITES, |_, _| {});
                    *saving.ends_by.insert(now + WRITES)
                }
            };
            if now >= ends_by {
                tracing::error!(target: "ray_core::worker", actor = %self.spec.actor, "an actor ends, and its last state has not come to the disk within {WRITES:?}");
            }
            return now >= ends_by;
        }
        if saving.unsaved == 0 || saving.last_tried || !saver.lasting {
            return true;
        }
        saving.last_tried = true;
        self.line_up_save(worker, &mut calls);
        drop(calls);
        self.start(worker, 1);
        false
    }

    /// The actor has ended as it was told to: a state that nobody can take over goes.
    pub(super) fn leave_place(&self) {
        if let Some(saver) = self.saver.as_ref().filter(|saver| !saver.lasting) {
            saver.place.lock().unwrap_or_else(PoisonError::into_inner).remove();
        }
    }
}

pub(super) fn shown_name(spec: &ActorSpec) -> String {
    spec.name.clone().unwrap_or_else(|| spec.type_name.clone())
}
