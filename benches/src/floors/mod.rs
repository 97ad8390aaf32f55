//! Floors: what the machine itself charges for what a row does, measured in the same run.

pub(crate) mod busy;
mod copy;
pub(crate) mod ping_pong;
mod spawn;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::sample::Sample;

/// A thing that the machine can do, which a row is compared with. Times are in seconds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Floor {
    /// A blocking round trip of 64 bytes over a Unix socket between two processes, one after another.
    SocketTight,
    /// The same with 1 ms between two round trips.
    SocketPaced,
    /// GiB/s of the better of one and two threads that copy 1 GiB into shared memory whose pages exist.
    CopyTouched,
    /// GiB/s of one thread that copies 1 GiB into a memfd without pages.
    CopyFresh,
    /// Spawn of a small static executable until it is reaped.
    Spawn,
    /// Two plain processes that compute at the same time, until both are done.
    TwoBusyProcesses,
}

impl Floor {
    /// The name of the floor in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SocketTight => "unix_socket_64b_p50",
            Self::SocketPaced => "unix_socket_64b_paced_1ms_p50",
            Self::CopyTouched => "copy_1gib_touched",
            Self::CopyFresh => "copy_1gib_fresh_memfd",
            Self::Spawn => "spawn_static_binary_p50",
            Self::TwoBusyProcesses => "two_busy_plain_processes",
        }
    }

    fn measure(self, context: &Context) -> Result<Sample> {
        match self {
            Self::SocketTight => ping_pong::tight(context),
            Self::SocketPaced => ping_pong::paced(context),
            Self::CopyTouched => copy::into_touched(context),
            Self::CopyFresh => copy::into_fresh(context),
            Self::Spawn => spawn::static_binary(context),
            Self::TwoBusyProcesses => busy::two_processes(context),
        }
    }
}

/// The floors of one run; each is measured when the first row asks for it, so that a run of one row stays short.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    measured: HashMap<Floor, Sample>,
}

impl Floors {
    /// The sample of `floor`.
    pub(crate) fn get(&mut self, floor: Floor, context: &Context) -> Result<&Sample> {
        match self.measured.entry(floor) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let sample = floor
                    .measure(context)
                    .with_context(|| format!("measuring the floor {}", floor.name()))?;
                Ok(unknown.insert(sample))
            }
        }
    }
}
