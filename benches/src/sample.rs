//! What one measurement found.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::stats;

/// The values of all repeats, and who did the work.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// One value for each repeat, in the row's unit.
    pub(crate) values: Vec<f64>,
    /// Threads of the measuring process when the last repeat had ended.
    pub(crate) driver_threads: usize,
    /// The other processes that did the work.
    pub(crate) pids: Vec<u32>,
    /// What a reader of the row has to know.
    pub(crate) note: Option<String>,
}

impl Sample {
    /// The sample of `values`; call it while the runtime that was measured still lives, since it counts the threads.
    pub(crate) fn new(values: Vec<f64>) -> Result<Self> {
        Ok(Self {
            values,
            driver_threads: threads_of_this_process()?,
            pids: Vec::new(),
            note: None,
        })
    }

    /// Names the processes that did the work; a process named twice counts once.
    pub(crate) fn by(mut self, pids: impl IntoIterator<Item = u32>) -> Self {
        self.pids.extend(pids);
        self.pids.sort_unstable();
        self.pids.dedup();
        self
    }

    /// Adds what a reader of the row has to know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The sample of all repeats of `parts`; `None` of none.
    pub(crate) fn join(parts: Vec<Self>) -> Option<Self> {
        parts.into_iter().reduce(|all, part| {
            let values = [all.values, part.values].concat();
            let (driver_threads, note) = (part.driver_threads, part.note.or(all.note));
            Self {
                values,
                driver_threads,
                pids: all.pids,
                note,
            }
            .by(part.pids)
        })
    }

    /// The median of the repeats.
    pub(crate) fn median(&self) -> f64 {
        stats::median(&self.values)
    }

    /// The least and the greatest repeat.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, greatest)
    }
}

fn threads_of_this_process() -> Result<usize> {
    let tasks = fs::read_dir("/proc/self/task").context("reading /proc/self/task")?;
    Ok(tasks.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_samples_have_the_values_and_processes_of_all_parts() {
        let part = |value, pid| Sample::new(vec![value]).unwrap().by([pid]).note("note");
        let joined = Sample::join(vec![part(1.0, 8), part(3.0, 4), part(2.0, 8)]).unwrap();
        assert_eq!((joined.values, joined.pids), (vec![1.0, 3.0, 2.0], vec![4, 8]));
        assert_eq!(Sample::join(Vec::new()), None);
    }

    #[test]
    fn a_sample_names_each_process_once_and_counts_this_ones_threads() {
        let sample = Sample::new(vec![2.0, 1.0, 4.0]).unwrap().by([7, 3, 7]);
        assert_eq!(sample.pids, [3, 7]);
        assert!(sample.driver_threads >= 1);
        assert_eq!(sample.median(), 2.0);
        assert_eq!(sample.spread(), (1.0, 4.0));
    }
}
