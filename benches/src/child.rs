//! The second process: this program again, in a role, with a socket to its parent as standard input.
//!
//! Its standard output is the parent's standard error, so that nothing a row prints mixes with the report.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::context::Context;
use crate::floors::{busy, ping_pong};
use crate::rows;

/// What a second process does.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Sends each 64-byte message back.
    Echo,
    /// Computes once for each byte received, and answers with a byte.
    Busy,
    /// Measures one row and sends its sample as JSON.
    Measure {
        /// The row.
        metric: String,
        /// How often.
        repeats: usize,
    },
}

impl Role {
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Echo => vec!["echo".into()],
            Self::Busy => vec!["busy".into()],
            Self::Measure { metric, repeats } => vec!["measure".into(), metric.clone(), repeats.to_string()],
        }
    }
}

/// Plays `role` until the parent hangs up.
pub(crate) fn run(role: &Role) -> Result<()> {
    let socket: OwnedFd = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("taking the socket to the parent")?;
    let mut socket = UnixStream::from(socket);
    match role {
        Role::Echo => ping_pong::echo(&mut socket),
        Role::Busy => busy::serve(&mut socket),
        Role::Measure { metric, repeats } => {
            let sample = rows::find(metric)?.measure(&Context { repeats: *repeats })?;
            serde_json::to_writer(&mut socket, &sample).context("sending the sample to the parent")
        }
    }
}

/// A running second process; dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// The socket to it.
    pub(crate) socket: UnixStream,
}

impl Child {
    /// Starts this program again in `role`.
    pub(crate) fn start(role: &Role) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("making the socket to a second process")?;
        let errors = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .context("sharing standard error")?;
        let process = Command::new("/proc/self/exe")
            .arg("child")
            .args(role.arguments())
            .stdin(OwnedFd::from(theirs))
            .stdout(errors)
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting this program a second time from /proc/self/exe")?;
        Ok(Self { process, socket: ours })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends one byte.
    pub(crate) fn signal(&mut self) -> Result<()> {
        self.socket.write_all(&[0]).context("signalling the second process")
    }

    /// Waits for one byte.
    pub(crate) fn wait_for_signal(&mut self) -> Result<()> {
        self.socket
            .read_exact(&mut [0])
            .context("waiting for the second process")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has already been reaped.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
