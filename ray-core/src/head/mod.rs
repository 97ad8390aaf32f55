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

#[cfg(feature = "cli")]
mod cluster;
mod error;
mod here;
mod main;
#[cfg(feature = "cli")]
mod node;
mod output;
mod plan;
mod printing;
mod process;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::process::Executable;
use crate::raylet;
use crate::session::logs;
use crate::wire::connection::{local_pair, over_socket};
use crate::wire::{HeadSetup, JobSetup, Receiver, Sender};

pub(crate) use error::Error;
#[cfg(feature = "cli")]
pub(crate) use node::{NodeError, Part, run_node};
pub(crate) use plan::{JobPlan, Plan, plan, plan_job};
use printing::Printing;
use process::HeadProcess;

/// The head of this process's session, or the node that it joins.
#[derive(Debug)]
pub(crate) enum Head {
    /// In this process.
    Here(raylet::Handle),
    /// In a process of its own.
    Process(HeadProcess, Printing),
    /// A node that `ray start` has started: it goes on without this process.
    Node(Printing),
}

/// A driver's way to its raylet.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) connection: (Sender, Receiver),
    /// What goes with the driver's introduction.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Head {
    /// Starts a head on the current runtime.
    pub(crate) async fn start(plan: Plan, job: &JobPlan) -> Result<(Self, Way), Error> {
        if plan.own_process {
            let (head, connection) = HeadProcess::start(plan).await?;
            let (printing, descriptors) = introduce(job)?;
            return Ok((
                Self::Process(head, printing),
                Way {
                    connection,
                    descriptors,
                },
            ));
        }
        let logs = job
            .shown
            .clone()
            .map(output::print_here)
            .transpose()
            .map_err(Error::Logs)?;
        let raylet = here::start(plan.setup, plan.session).await?;
        let [connection, far] = local_pair();
        let attending = raylet.clone();
        tokio::spawn(async move { attending.attend(far, None, |_job, _socket| Ok(logs)).await });
        let descriptors = vec![program()?];
        Ok((
            Self::Here(raylet),
            Way {
                connection,
                descriptors,
            },
        ))
    }

    /// Joins a node of this machine on the current runtime.
    pub(crate) fn join(node: UnixStream, job: &JobPlan) -> Result<(Self, Way), Error> {
        let connection = over_socket(node.into())?;
        let (printing, descriptors) = introduce(job)?;
        Ok((
            Self::Node(printing),
            Way {
                connection,
                descriptors,
            },
        ))
    }

    /// Ends all processes of the node and frees its memory, if it is this session's, and shows what workers printed last. The
    /// driver has closed its connection. Returns when that is done.
    pub(crate) async fn shutdown(self) {
        match self {
            Self::Here(raylet) => raylet.shutdown().await,
            Self::Process(head, printing) => head.shutdown(printing).await,
            Self::Node(printing) => printing.end().await,
        }
    }

    /// Why a driver was not welcomed, as far as the head's end says.
    pub(crate) async fn died_of(&self) -> Option<String> {
        match self {
            Self::Here(_) | Self::Node(_) => None,
            Self::Process(head, _) => head.died_of().await,
        }
    }
}

fn program() -> Result<OwnedFd, Error> {
    Ok(Executable::current()?.as_fd().try_clone_to_owned()?)
}

/// What a driver sends along to a raylet in another process.
fn introduce(job: &JobPlan) -> Result<(Printing, Vec<OwnedFd>), Error> {
    let mut descriptors = vec![program()?];
    let mut printing = Printing::default();
    if job.shown.is_some() {
        let (thread, socket) = Printing::start()?;
        descriptors.push(socket);
        printing = thread;
    }
    Ok((printing, descriptors))
}
