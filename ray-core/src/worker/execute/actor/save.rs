//! One save: the state is encoded in its turn (CK-7), a thread writes it, and the answers that wait for it leave.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Instant;

use bytes::Bytes;

use super::record::Record;
use super::saving::{WRITES, shown_name};
use super::{ActorHost, Calls};
use crate::error::RayError;
use crate::remote::CheckpointVTable;
use crate::wire::{Frame, GcsRequest, ObjectValue, StreamSpec, TaskOutcome};
use crate::worker::Worker;
use crate::worker::context::{self, TaskContext};
use crate::worker::execute::{Job, answer, panic};
use crate::worker::state::Dest;

/// A state on its way to the disk.
#[derive(Debug)]
pub(super) struct Write {
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

impl ActorHost {
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
                calls.save_turn_ended();
                drop(calls);
                return self.start(worker, 1);
            }
        }
        let state = self.encode_state(saver.vtable);
        let started = self.begin_write(worker, state);
        if let Err((attempt, why)) = started {
            self.save_ended(worker, attempt, Err(why));
        }
        self.calls().save_turn_ended();
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
            number: 0,
            actor: self.spec.actor,
            type_name: self.spec.type_name.clone(),
            state,
            calls,
        };
        place.write(record)
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
            Some(TaskOutcome::StreamEnded { items }) => {
                let has_all = |stream: &StreamSpec| stream.received >= *items && stream.missing.is_empty();
                job.spec.stream.as_deref().is_some_and(has_all)
            }
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
}
