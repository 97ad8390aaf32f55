//! The threads of the pool: who runs, who rests, and whether one more is called.
//!
//! At most one thread dozes: it sleeps for [`TICK`] at a time and looks by itself, for [`DOZE`] after the last work was
//! started. The others sleep until they are called, and end when nobody has called them for [`IDLE`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::super::{Common, Out};
use super::{Service, Started};

/// How long the dozing thread sleeps at a time: the longest that work waits where it was left to others wrongly.
pub(super) const TICK: Duration = Duration::from_micros(100);
/// How long a thread dozes after the last work.
const DOZE: Duration = Duration::from_millis(2);
/// How long a thread is kept that nobody calls.
const IDLE: Duration = Duration::from_secs(5);
/// Threads at once, those that wait for objects not counted.
const MOST: usize = 512;

#[derive(Debug)]
pub(super) struct Threads {
    common: Arc<Common>,
    total: usize,
    running: usize,
    blocked: usize,
    resting: Vec<Resting>,
    last_number: u64,
    /// How often work was started, by whomever.
    starts: u64,
}

#[derive(Debug)]
struct Resting {
    number: u64,
    thread: Thread,
    dozes: bool,
}

/// What one thread remembers from look to look.
#[derive(Debug)]
pub(crate) struct Look {
    number: Option<u64>,
    seen: u64,
    doze_until: Option<Instant>,
}

impl Look {
    pub(crate) const fn new() -> Self {
        Self {
            number: None,
            seen: u64::MAX,
            doze_until: None,
        }
    }
}

/// What a thread does next.
#[derive(Debug)]
pub(crate) enum Next {
    Run(Started),
    /// Sleep, for this long at most.
    Rest(Duration),
    End,
    /// Local tasks of a line.
    Serve(Service),
}

impl Threads {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            common,
            total: 0,
            running: 0,
            blocked: 0,
            resting: Vec::new(),
            last_number: 0,
            starts: 0,
        }
    }

    /// Who adds work outside of the state looks here whether somebody will see it.
    fn publish(&self) {
        let watched = self.is_watched();
        if self.common.watched.load(Ordering::Relaxed) != watched {
            self.common.watched.store(watched, Ordering::SeqCst);
        }
    }

    pub(super) fn note_start(&mut self) {
        self.starts = self.starts.wrapping_add(1);
    }

    pub(super) fn has_moved_since(&self, look: &Look) -> bool {
        self.starts != look.seen
    }

    pub(super) fn runs_any(&self) -> bool {
        self.running > 0
    }

    /// Threads that are neither at work nor at rest: they look for work any moment.
    fn arriving(&self) -> usize {
        self.total
            .saturating_sub(self.resting.len() + self.running + self.blocked)
    }

    pub(super) fn is_watched(&self) -> bool {
        self.arriving() > 0 || self.resting.iter().any(|resting| resting.dozes)
    }

    /// A thread looks for work. Returns whether it slept until its time was over.
    pub(super) fn arrive(&mut self, look: &mut Look, worked: bool) -> bool {
        if worked {
            self.running = self.running.saturating_sub(1);
        }
        let number = *look.number.get_or_insert_with(|| {
            self.last_number += 1;
            self.last_number
        });
        let place = self.resting.iter().position(|resting| resting.number == number);
        let timed_out = place.is_some_and(|place| !self.resting.swap_remove(place).dozes);
        self.publish();
        timed_out
    }

    pub(super) fn begins(&mut self, look: &mut Look) {
        self.running += 1;
        look.seen = self.starts;
        self.publish();
    }

    pub(super) fn blocks(&mut self, blocks: bool) {
        if blocks {
            self.running = self.running.saturating_sub(1);
            self.blocked += 1;
        } else {
            self.running += 1;
            self.blocked = self.blocked.saturating_sub(1);
        }
        self.publish();
    }

    /// A thread ends.
    pub(super) fn leave(&mut self) {
        self.total = self.total.saturating_sub(1);
        self.publish();
    }

    /// It looks for work once more instead of doing this.
    pub(super) fn stay(&mut self, look: &mut Look, instead: &Next) {
        match instead {
            Next::End => self.total += 1,
            Next::Rest(_) | Next::Run(_) | Next::Serve(_) => {
                let number = look.number;
                self.resting.retain(|resting| Some(resting.number) != number);
            }
        }
        self.publish();
    }

    /// There is nothing for it to do.
    pub(super) fn rest(&mut self, look: &mut Look, timed_out: bool, now: Instant) -> Next {
        if self.has_moved_since(look) || look.doze_until.is_none() {
            look.doze_until = Some(now + DOZE);
        }
        look.seen = self.starts;
        let dozes =
            !self.resting.iter().any(|resting| resting.dozes) && look.doze_until.is_some_and(|until| now < until);
        if timed_out && !dozes {
            self.leave();
            return Next::End;
        }
        self.resting.push(Resting {
            number: look.number.unwrap_or_default(),
            thread: std::thread::current(),
            dozes,
        });
        self.publish();
        Next::Rest(if dozes { TICK } else { IDLE })
    }

    /// Sees to it that as many threads as can help are on their way.
    pub(super) fn call(&mut self, can_help: usize, out: &mut Out) {
        if self.arriving() < can_help {
            self.call_one(out);
        }
    }

    /// Sees to it that a thread looks from time to time.
    pub(super) fn ensure_watch(&mut self, out: &mut Out) {
        if !self.is_watched() {
            self.call_one(out);
        }
    }

    fn call_one(&mut self, out: &mut Out) {
        // The one that dozes is the cheapest to wake; of the others, the one that has rested least.
        let dozing = self.resting.iter().position(|resting| resting.dozes);
        if let Some(place) = dozing.or_else(|| self.resting.len().checked_sub(1)) {
            out.rouse.push(self.resting.swap_remove(place).thread);
        } else if self.total.saturating_sub(self.blocked) < MOST {
            self.total += 1;
            out.start_threads += 1;
        }
        self.publish();
    }

    pub(super) fn rouse_all(&mut self, out: &mut Out) {
        out.rouse.extend(self.resting.drain(..).map(|resting| resting.thread));
        self.publish();
    }
}
