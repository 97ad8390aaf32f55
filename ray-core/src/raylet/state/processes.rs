//! Births and deaths of the node's processes, and links between them.
//!
//! RL-3 is kept here: whoever was linked with, or asks for, a process that is dead hears of it once.
//!
//! *Absent:* what processes serve (`leases`, `actors`), and the table of them (`workers`).

use std::collections::HashMap;
use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{JobId, WorkerId};
use crate::raylet::workers::{Process, Role};
use crate::wire::{DeathCause, Frame};

/// So many workers in a row may die of themselves before they are up. From then on each such death fails a request.
const STILLBORN: u32 = 5;

/// How many idle workers there are to be, and how many did not come up.
#[derive(Debug)]
pub(super) struct Births {
    keep_idle: usize,
    /// An idle worker beyond those that are kept ends after this time.
    idle_time: Duration,
    /// Workers of each job that died before they were up, since its last that came up.
    stillborn: HashMap<JobId, u32>,
}

impl Births {
    pub(super) fn new(keep_idle: usize, idle_time: Duration) -> Self {
        Self {
            keep_idle,
            idle_time,
            stillborn: HashMap::new(),
        }
    }

    /// A job is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.stillborn.remove(&job);
    }
}

impl State {
    /// Starts workers of a job before they are asked for: as many as may wait for work on this node and do not yet, for
    /// whatever job, so that many drivers do not bring up many times what the node has CPUs for.
    pub(super) fn prestart(&mut self, job: JobId, out: &mut Effects) {
        for _ in self.workers.ready_count()..self.births.keep_idle {
            self.spawn(job, Vec::new(), out);
        }
    }

    pub(super) fn spawn(&mut self, job: JobId, gpus: Vec<u32>, out: &mut Effects) {
        let worker = WorkerId::random_on(self.node);
        self.workers.add(worker, job, 0, Role::Starting, gpus.clone());
        out.push(Effect::Spawn { worker, job, gpus });
    }

    /// The process exists; it has not said hello yet. If it was to be killed meanwhile, now it can be.
    pub(in crate::raylet) fn spawned(&mut self, worker: WorkerId, pid: u32, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.pid = pid;
            if process.ended_for.is_some() {
                out.push(Effect::Kill { worker });
            }
        }
    }

    pub(in crate::raylet) fn worker_joined(&mut self, worker: WorkerId, now: Duration, out: &mut Effects) {
        let Some(process) = self.workers.get(&worker).filter(|process| process.ended_for.is_none()) else {
            // It is being killed.
            return;
        };
        self.births.stillborn.remove(&process.job);
        self.workers.set_idle(worker, now);
        self.schedule(now, out);
    }

    /// What a worker is from now on, and under which name its output is shown.
    pub(super) fn serves(&mut self, worker: WorkerId, role: Role, name: String, now: Duration, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.role = role;
            process.since = now;
            process.serves.clone_from(&name);
            out.push(Effect::Name { worker, name });
        }
    }

    /// A process asks for a link with another one.
    pub(super) fn connect(&mut self, from: WorkerId, worker: WorkerId, out: &mut Effects) {
        if self.workers.get(&worker).is_some() {
            self.link(from, worker, out);
        } else {
            out.push(Effect::tell_gone(from, worker, self.workers.death_of(&worker)));
        }
    }

    pub(super) fn link(&mut self, a: WorkerId, b: WorkerId, out: &mut Effects) {
        if self.workers.link(a, b) {
            out.push(Effect::Link { a, b });
        }
    }

    /// Whether there are more idle workers than are kept.
    pub(super) fn has_spare_workers(&self) -> bool {
        self.workers.spare_count() > self.births.keep_idle
    }

    /// Ends workers that have had nothing to do for long.
    pub(super) fn retire_superfluous(&mut self, now: Duration, out: &mut Effects) {
        let Some(before) = now.checked_sub(self.births.idle_time) else {
            return;
        };
        for worker in self.workers.superfluous(self.births.keep_idle, before) {
            self.retire(worker, out);
        }
    }

    /// Asks an idle worker to end. One that has begun to lend does so when it has ceased to (RL-4).
    pub(super) fn retire(&mut self, worker: WorkerId, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.role = Role::Ending;
            process.ended_for = Some(DeathCause::Intended {});
            out.push(Effect::Send {
                to: worker,
                frame: Frame::Exit {},
            });
        }
    }

    pub(in crate::raylet) fn kill(&mut self, worker: WorkerId, cause: DeathCause, out: &mut Effects) {
        if let Some(process) = self.workers.get_mut(&worker)
            && !matches!(process.role, Role::Driver | Role::Observer | Role::Guest(_))
        {
            process.ended_for.get_or_insert(cause);
            self.workers.set_aside(worker);
            out.push(Effect::Kill { worker });
        }
    }

    /// A process of this node has ended, or could not be started.
    pub(in crate::raylet) fn process_ended(
        &mut self,
        worker: WorkerId,
        seen: DeathCause,
        now: Duration,
        out: &mut Effects,
    ) {
        let intended = self
            .workers
            .get_mut(&worker)
            .and_then(|process| process.ended_for.take());
        let by_itself = intended.is_none();
        let cause = intended.unwrap_or(seen);
        self.censuses.died(&worker);
        self.end_censuses(now, out);
        if self.victim == Some(worker) {
            self.victim = None;
        }
        self.last_saves.died(worker);
        let Some((process, peers)) = self.workers.remove(worker, &cause) else {
            return;
        };
        // RL-3.
        let told = peers.into_iter();
        out.extend(told.map(|to| Effect::tell_gone(to, worker, cause.clone())));
        self.end_leases_with(worker, out);
        self.cancel_requests_of(worker);
        let actor = self.remove_actor_of(&process);
        if process.role == Role::Starting {
            self.not_up(&process, by_itself, &cause, out);
        }
        self.hosted_actors_lost(worker, &cause, out);
        out.push(Effect::ForgetInStore { worker });
        if !matches!(process.role, Role::Guest(_)) {
            self.visits_end(worker, &cause, out);
            out.push(Effect::ToGcs(Frame::WorkerEnded { worker, actor, cause }));
        }
        if process.role == Role::Driver {
            self.driver_ended(process.job, out);
        }
        self.schedule(now, out);
    }

    /// A worker has died before it was up.
    fn not_up(&mut self, process: &Process, by_itself: bool, cause: &DeathCause, out: &mut Effects) {
        // SIGKILL comes from outside and says nothing of the program.
        let by_itself = by_itself && !matches!(cause, DeathCause::Signalled { signal } if *signal == libc::SIGKILL);
        let stillborn = self.births.stillborn.entry(process.job).or_default();
        *stillborn += u32::from(by_itself);
        let hopeless = by_itself && *stillborn >= STILLBORN;
        if hopeless || matches!(cause, DeathCause::NotStarted { .. }) {
            self.grant_failed(process.job, &process.gpus, cause, out);
        }
    }
}
