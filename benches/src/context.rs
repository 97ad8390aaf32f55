//! What a measurement is told.

use anyhow::Result;

/// The settings of a run, handed to every floor and every row.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// How often each measurement is repeated.
    pub(crate) repeats: usize,
}

impl Context {
    /// Runs `once` for each repeat and collects what it measured.
    pub(crate) fn repeat(&self, mut once: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
        (0..self.repeats).map(|_| once()).collect()
    }
}
