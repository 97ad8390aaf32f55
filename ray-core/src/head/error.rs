//! A head that cannot start.

use std::io;

use crate::{config, process, raylet, session};

/// A head that cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Raylet(#[from] raylet::Error),
    #[error("the GCS has ended")]
    Gcs,
    #[error("its settings: {0}")]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Process(#[from] process::Error),
    #[error("the session directory: {0}")]
    Session(#[from] session::Error),
    #[error("the machine's memory: {0}")]
    Memory(io::Error),
    #[error("worker logs cannot be followed: {0}")]
    Logs(io::Error),
    #[error("no connection to the head's process: {0}; if too many files are open, raise `ulimit -n`")]
    Connection(#[from] io::Error),
    #[error("its runtime cannot start: {0}")]
    Runtime(io::Error),
    #[error("the driver did not say what the head is to be")]
    NoSetup,
}
