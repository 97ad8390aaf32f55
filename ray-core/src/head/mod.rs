//! The head of a session: GCS, raylet and object store, in the driver's process or in one of their own.
//!
//! Either way the driver is connected by a pair of ends that carry the frames of [`wire`](crate::wire), says hello and is
//! welcomed; all that differs is where the other end is. A head of its own is the driver's executable in the role `head`,
//! connected by an inherited socket pair, so nobody else can reach it. It lives no longer than its driver: it ends when the
//! connection does, and the kernel kills it when the driver is killed (PR-1), which kills its workers in turn.
//!
//! - HE-1: the session's directory belongs to the driver, which removes it after the head has ended; the head holds the
//!   same lock (SE-2).
//! - HE-2: the head follows the files that workers print to, and the driver prints the lines (FOLLOW-1 needs the follower
//!   beside the raylet, and only the driver may write to its terminal). The connection for lines is one of its own that
//!   blocks, so that a slow terminal stops the follower and nothing else.

mod error;
mod here;
mod main;
mod output;
mod plan;
mod process;

use crate::ids::WorkerId;
use crate::raylet;
use crate::session::logs;
use crate::wire::connection::local_pair;
use crate::wire::{HeadSetup, Receiver, Sender};

pub(crate) use error::Error;
pub(crate) use plan::{Plan, plan};
use process::HeadProcess;

/// A head that runs.
#[derive(Debug)]
pub(crate) enum Head {
    /// In this process.
    Here(raylet::Handle),
    /// In a process of its own.
    Process(HeadProcess),
}

impl Head {
    /// Starts a head on the current runtime. Returns the driver's connection to it.
    pub(crate) async fn start(plan: Plan) -> Result<(Self, (Sender, Receiver)), Error> {
        if plan.own_process {
            let (head, connection) = HeadProcess::start(plan).await?;
            return Ok((Self::Process(head), connection));
        }
        let Plan {
            setup, session, shown, ..
        } = plan;
        let logs = shown.map(output::print_here).transpose().map_err(Error::Logs)?;
        let raylet = here::start(setup, session, logs).await?;
        let [near, far] = local_pair();
        let attending = raylet.clone();
        tokio::spawn(async move { attending.attend(far).await });
        Ok((Self::Here(raylet), near))
    }

    /// Ends all processes of the node, frees its memory, and shows what workers printed last. The driver has closed its
    /// connection. Returns when that is done.
    pub(crate) async fn shutdown(self) {
        match self {
            Self::Here(raylet) => raylet.shutdown().await,
            Self::Process(head) => head.shutdown().await,
        }
    }

    /// Why a driver was not welcomed, as far as the head's end says.
    pub(crate) async fn died_of(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Process(head) => head.died_of().await,
        }
    }
}
