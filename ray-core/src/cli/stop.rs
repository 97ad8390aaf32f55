//! `ray stop`.

use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::client::{Client, NodeProcess, block_on};
use super::{CliError, Place, say};
use crate::session::connect_to_node;
use crate::wire::Frame;

/// How long a node may take to end its workers and free its memory, the last saves of actors included.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long the kernel may take to end a process that was killed.
const DIES_WITHIN: Duration = Duration::from_secs(10);

/// Which node ends, and how.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    place: Place,
    /// Kills it: no actor saves its state.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &StopArgs) -> Result<(), CliError> {
    let base = args.place.base()?;
    if args.force {
        // It is not asked: it may hang.
        let process = NodeProcess::behind(&connect_to_node(base.as_deref())?)?;
        // It may have ended by itself meanwhile.
        let _ended = pidfd_send_signal(&process.handle, Signal::KILL);
        process.wait(DIES_WITHIN)?;
        say(&format!(
            "the process {} of the node was killed",
            process.pid.as_raw_nonzero()
        ));
        return Ok(());
    }
    block_on(async {
        let client = Client::connect(base.as_deref()).await?;
        client.send(Frame::StopNode {});
        client.process.wait(ENDS_WITHIN)?;
        say(&format!("the node of {} has ended", client.welcome.session_dir));
        Ok(())
    })
}

impl NodeProcess {
    /// Returns when the process has ended.
    fn wait(&self, within: Duration) -> Result<(), CliError> {
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        let ended = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&limit)));
        match ended.map_err(CliError::system("the node's process cannot be watched"))? {
            0 => Err(CliError::Lives {
                pid: self.pid.as_raw_nonzero().get(),
                within,
            }),
            _ => Ok(()),
        }
    }
}
