//! When the state of an actor is saved, and what waits for that. [`save`](super::save) does it.
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

use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::place::Place;
use super::save::Write;
use super::{ActorHost, Calls, Kind, Turn};
use crate::ids::WorkerId;
use crate::remote::CheckpointVTable;
use crate::wire::{ActorSpec, CheckpointSpec, SaveState, TaskOutcome};
use crate::worker::Worker;
use crate::worker::execute::Job;

/// How the queue sees a save.
const SAVE: Kind = Kind {
    exclusive: true,
    is_async: false,
    group: 0,
};
/// How long a save stands before waiting calls while others run (CK-11).
const STANDS: Duration = Duration::from_secs(1);
/// How long a save waits for the one before it to be on disk.
pub(super) const WRITES: Duration = Duration::from_secs(60);

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
    pub(super) unsaved: u64,
    /// Those since the last save began.
    pub(super) since: u64,
    /// When the last save began.
    pub(super) begun: Instant,
    /// A save waits for its turn, or has it.
    pub(super) in_line: bool,
    /// How many saves have been put in line.
    turns: u64,
    /// A state is being written.
    pub(super) writing: bool,
    /// Writing takes so long that calls no longer wait for it.
    pub(super) stuck: bool,
    /// CK-11.
    pub(super) gives_way: bool,
    timer_set: bool,
    /// CK-8.
    pub(super) held: Vec<(Job, TaskOutcome)>,
    pub(super) saves: u64,
    pub(super) error: Option<String>,
    /// The save at the actor's end was tried.
    last_tried: bool,
    /// When the actor ends, whatever is on its way to the disk.
    ends_by: Option<Instant>,
    pub(super) writer: Option<mpsc::Sender<Write>>,
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

    pub(super) fn state(&self) -> SaveState {
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
    /// A save has had its turn, and others may have theirs.
    pub(super) fn save_turn_ended(&mut self) {
        self.queue.ended(SAVE);
        self.pace.left();
    }

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
