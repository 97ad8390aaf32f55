//! A connection to the node of this machine, for questions.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use super::CliError;
use crate::ids::WorkerId;
use crate::registry::Registry;
use crate::session::connect_to_node;
use crate::wire::connection::over_socket;
use crate::wire::{Frame, Hello, Packet, Receiver, Sender, Welcome};

/// How long a node may take for an answer.
const WITHIN: Duration = Duration::from_secs(30);

/// A connection to a node that has welcomed this process.
pub(super) struct Client {
    sender: Sender,
    receiver: Receiver,
    pub(super) welcome: Box<Welcome>,
    /// The process of the node.
    pub(super) process: NodeProcess,
}

/// The process of a node, whatever becomes of its number.
pub(super) struct NodeProcess {
    pub(super) pid: Pid,
    pub(super) handle: OwnedFd,
}

impl NodeProcess {
    /// The process at the other end of a node's socket.
    pub(super) fn behind(socket: &UnixStream) -> Result<Self, CliError> {
        let peer = rustix::net::sockopt::socket_peercred(socket);
        let pid = peer.map_err(CliError::system("whose socket it is"))?.pid;
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let handle = handle.map_err(CliError::system("a handle of the node's process"))?;
        Ok(Self { pid, handle })
    }
}

impl Client {
    /// Connects to the node of this machine. Must be called within a runtime.
    pub(super) async fn connect(base: Option<&Path>) -> Result<Self, CliError> {
        let socket = connect_to_node(base)?;
        let process = NodeProcess::behind(&socket)?;
        let (sender, mut receiver) =
            over_socket(socket.into()).map_err(CliError::system("the connection to the node"))?;
        let items = Registry::global()?.table_hash();
        let hello = Box::new(Hello::of_this_process(WorkerId::random(), items));
        sender.send(Frame::Attach { hello, job: None });
        match next(&mut receiver).await? {
            Frame::Welcome { welcome } => Ok(Self {
                sender,
                receiver,
                welcome,
                process,
            }),
            Frame::Refused { why } => Err(CliError::Refused(why)),
            _ => Err(CliError::Closed),
        }
    }

    /// Sends what has no answer.
    pub(super) fn send(&self, frame: Frame) {
        self.sender.send(frame);
    }

    /// Asks, and waits for the frame that `answers`.
    pub(super) async fn ask<T>(
        &mut self,
        question: Frame,
        answers: impl Fn(Frame) -> Option<T>,
    ) -> Result<T, CliError> {
        self.sender.send(question);
        loop {
            if let Some(answer) = answers(next(&mut self.receiver).await?) {
                return Ok(answer);
            }
        }
    }
}

async fn next(receiver: &mut Receiver) -> Result<Frame, CliError> {
    match tokio::time::timeout(WITHIN, receiver.recv()).await {
        Ok(Some(Packet { frame, .. })) => Ok(frame),
        Ok(None) => Err(CliError::Closed),
        Err(_elapsed) => Err(CliError::Silent(WITHIN)),
    }
}

/// Runs the work of a command.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::system("no runtime"))?.block_on(work)
}
