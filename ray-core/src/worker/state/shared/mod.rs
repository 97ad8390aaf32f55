//! Shared work: tasks and actor calls that run in this process itself, on its own threads.
//!
//! Work stands in *lines*: one for each shape of tasks, and one for the calls of actors that live here and for what other
//! processes have sent. A task takes a *permit* of its line to run: a lease of the raylet, or one of [`CALLS`] slots.
//!
//! Work is put in line and taken out of it (`queue`), starts with its arguments and its permit (`start`), and ends (`done`).
//! `turns` says what a thread does next, `threads` which of them rest, `leases` what is asked of the raylet.
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
mod done;
mod leases;
mod line;
mod local;
mod queue;
mod start;
mod threads;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub(crate) use actors::{LocalActor, LocalHost, NewActor};
pub(crate) use done::{Done, LocalOutcome, Receipt};
pub(crate) use line::Permit;
use line::{CALL_LINE, CALLS, Entry, Line};
pub(crate) use local::Service;
pub(crate) use start::{OwnRun, RunArg, Started, What};
use threads::Threads;
pub(crate) use threads::{Look, Next};

use super::{Common, Out, State};
use crate::ids::{IdHasher, TaskId};
use crate::worker::context::TaskContext;
use crate::worker::shape::Shape;

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

impl State {
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
}
