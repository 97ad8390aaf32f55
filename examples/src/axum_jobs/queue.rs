//! Jobs that survive the death of the service: each step is on disk before it is answered.
//!
//! - AJ-1: a job that `submit` returned is in the file; no crash loses it.
//! - AJ-2: a job runs at least once: after a crash every job that was running is due again.
//! - AJ-3: a result is kept until it is forgotten by name.
//! - AJ-4: a job that failed is due again after a pause that doubles up to a cap, at most `max_attempts` times.
//! - AJ-5: only the attempt that was claimed last can finish a job; what an earlier one reports is ignored.
//!
//! A job whose process dies on every attempt is also stopped by AJ-4: the crash counts as an attempt.
//!
//! Every call takes the time, so the queue has no clock. Calls write to disk and block: in async code, run them on a
//! blocking thread.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every job, as JSON, so that the file can be read by people and by later versions.
const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
/// Accepted jobs by the time at which they are due.
const DUE: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("due");
/// Jobs that are running: those which a start after a crash finds here are due again.
const RUNNING: TableDefinition<'_, u64, ()> = TableDefinition::new("running");
/// Counters by name.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const NEXT_JOB: &str = "next_job";

/// A point in time: milliseconds since 1970, since it outlives the process.
pub type Timestamp = u64;

/// The name of a job.
pub type JobId = u64;

/// How often and when a failed job runs again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// The pause after `attempts` failed attempts; `None` when there is no further attempt.
    pub fn pause(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let doublings = attempts.saturating_sub(1);
        let pause = 2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.first_pause.checked_mul(factor));
        Some(pause.map_or(self.longest_pause, |pause| pause.min(self.longest_pause)))
    }
}

/// Where a job is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits for its first attempt or for the next.
    Accepted {
        /// It does not run before.
        due: Timestamp,
    },
    /// It runs.
    Running,
    /// It ran to its end.
    Done {
        /// What it returned.
        result: Value,
    },
    /// It failed and is not tried again.
    Failed,
}

/// A job as it stands in the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Job {
    /// What is to be done.
    pub request: Value,
    /// Where it is.
    #[serde(flatten)]
    pub state: State,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// A job that the caller has to run now, and then [`Queue::complete`] or [`Queue::fail`].
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub id: JobId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What is to be done.
    pub request: Value,
}

/// What became of a wish to forget a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forgotten {
    /// It is gone.
    Yes,
    /// It has not ended, so it stays.
    StillGoing,
    /// There is no such job.
    Unknown,
}

/// The queue in one file.
#[derive(Debug)]
pub struct Queue {
    database: Database,
    retry: Retry,
}

impl Queue {
    /// Opens or makes the file; one process at a time may have it open. Jobs that a crash interrupted are due at `now`,
    /// or failed if this was their last attempt.
    pub fn open(path: &Path, retry: Retry, now: Timestamp) -> Result<Self> {
        let database = Database::create(path).with_context(|| format!("opening the queue {}", path.display()))?;
        let queue = Self { database, retry };
        queue.write(|tables| {
            let interrupted: Vec<JobId> = tables
                .running
                .iter()?
                .map(|entry| Ok(entry?.0.value()))
                .collect::<Result<_>>()?;
            for id in interrupted {
                tables.end_attempt(
                    id,
                    "the service ended while the job ran",
                    &queue.retry,
                    now,
                    Duration::ZERO,
                )?;
            }
            Ok(())
        })?;
        Ok(queue)
    }

    /// Accepts a job; when this returns, the job is on disk.
    pub fn submit(&self, request: Value, now: Timestamp) -> Result<JobId> {
        self.write(|tables| {
            let id = tables.counters.get(NEXT_JOB)?.map_or(1, |next| next.value());
            tables.counters.insert(NEXT_JOB, id + 1)?;
            tables.due.insert((now, id), ())?;
            tables.put(
                id,
                &Job {
                    request,
                    state: State::Accepted { due: now },
                    attempts: 0,
                    last_error: None,
                },
            )?;
            Ok(id)
        })
    }

    /// Takes the job that has been due longest, if one is due at `now`.
    pub fn claim(&self, now: Timestamp) -> Result<Option<Claim>> {
        // Most calls find nothing; a look costs no write to disk.
        if self.next_due()?.is_none_or(|due| due > now) {
            return Ok(None);
        }
        self.write(|tables| {
            let first = tables.due.first()?.map(|(key, _)| key.value());
            let Some((due, id)) = first.filter(|&(due, _)| due <= now) else {
                return Ok(None);
            };
            tables.due.remove((due, id))?;
            tables.running.insert(id, ())?;
            let mut job = tables
                .job(id)?
                .with_context(|| format!("job {id} is due and not in the file"))?;
            job.state = State::Running;
            job.attempts += 1;
            tables.put(id, &job)?;
            Ok(Some(Claim {
                id,
                attempt: job.attempts,
                request: job.request,
            }))
        })
    }

    /// When the next job is due; a time in the past means now.
    pub fn next_due(&self) -> Result<Option<Timestamp>> {
        let read = self.database.begin_read()?;
        let due = read.open_table(DUE)?;
        Ok(due.first()?.map(|(key, _)| key.value().0))
    }

    /// The claimed attempt ended well. False if it is no longer the attempt that counts.
    pub fn complete(&self, claim: &Claim, result: Value) -> Result<bool> {
        self.write(|tables| {
            let Some(mut job) = tables.claimed(claim)? else {
                return Ok(false);
            };
            tables.running.remove(claim.id)?;
            job.state = State::Done { result };
            job.last_error = None;
            tables.put(claim.id, &job)?;
            Ok(true)
        })
    }

    /// The claimed attempt failed: the job is due again after a pause, or has failed. False as for `complete`.
    pub fn fail(&self, claim: &Claim, error: &str, now: Timestamp) -> Result<bool> {
        self.write(|tables| {
            let Some(job) = tables.claimed(claim)? else {
                return Ok(false);
            };
            let pause = self.retry.pause(job.attempts).unwrap_or_default();
            tables.end_attempt(claim.id, error, &self.retry, now, pause)?;
            Ok(true)
        })
    }

    /// The job as it stands, with its result if it is done.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        let read = self.database.begin_read()?;
        read.open_table(JOBS)?
            .get(id)?
            .map(|job| decode(id, job.value()))
            .transpose()
    }

    /// Forgets a job that has ended: the caller has its result.
    pub fn forget(&self, id: JobId) -> Result<Forgotten> {
        self.write(|tables| match tables.job(id)?.map(|job| job.state) {
            None => Ok(Forgotten::Unknown),
            Some(State::Accepted { .. } | State::Running) => Ok(Forgotten::StillGoing),
            Some(State::Done { .. } | State::Failed) => {
                tables.jobs.remove(id)?;
                Ok(Forgotten::Yes)
            }
        })
    }

    /// All of `change` or, if it fails, nothing of it; on disk when this returns.
    fn write<T>(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_write()?;
        let changed = change(&mut Tables::open(&transaction)?)?;
        transaction.commit().context("writing the queue to disk")?;
        Ok(changed)
    }
}

/// The tables of one transaction.
struct Tables<'t> {
    jobs: Table<'t, u64, &'static [u8]>,
    due: Table<'t, (u64, u64), ()>,
    running: Table<'t, u64, ()>,
    counters: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            jobs: transaction.open_table(JOBS)?,
            due: transaction.open_table(DUE)?,
            running: transaction.open_table(RUNNING)?,
            counters: transaction.open_table(COUNTERS)?,
        })
    }

    fn job(&self, id: JobId) -> Result<Option<Job>> {
        self.jobs.get(id)?.map(|job| decode(id, job.value())).transpose()
    }

    /// The job of `claim`, if it still runs in that attempt (AJ-5).
    fn claimed(&self, claim: &Claim) -> Result<Option<Job>> {
        Ok(self
            .job(claim.id)?
            .filter(|job| job.state == State::Running && job.attempts == claim.attempt))
    }

    fn put(&mut self, id: JobId, job: &Job) -> Result<()> {
        let text = serde_json::to_vec(job).with_context(|| format!("encoding job {id}"))?;
        self.jobs.insert(id, text.as_slice())?;
        Ok(())
    }

    /// Takes a running job out of its attempt, to the next after `pause` or to its end (AJ-4).
    fn end_attempt(&mut self, id: JobId, error: &str, retry: &Retry, now: Timestamp, pause: Duration) -> Result<()> {
        let mut job = self
            .job(id)?
            .with_context(|| format!("job {id} runs and is not in the file"))?;
        self.running.remove(id)?;
        job.last_error = Some(error.to_owned());
        job.state = if job.attempts < retry.max_attempts {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let due = now.saturating_add(pause);
            self.due.insert((due, id), ())?;
            State::Accepted { due }
        } else {
            State::Failed
        };
        self.put(id, &job)
    }
}

fn decode(id: JobId, job: &[u8]) -> Result<Job> {
    serde_json::from_slice(job).with_context(|| format!("decoding job {id}"))
}

#[cfg(test)]
mod tests;
