//! What others hold of a raylet that runs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::guests::Guest;
use super::inputs::{Input, read_frames};
use super::{Error, JobOutput, ways};
use crate::ids::{JobId, NodeId, WorkerId};
use crate::process::Executable;
use crate::wire::{Frame, Hello, JobSetup, Packet, Receiver, Sender};

/// A raylet that runs.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) hello_within: Duration,
    pub(super) node: NodeId,
    /// Rung when somebody asks the node to end.
    pub(super) stop: Arc<Notify>,
}

/// A process that may live on without the raylet, as the kernel knows it.
#[derive(Debug)]
pub struct Peer {
    /// Its number.
    pub pid: u32,
    /// Says when it ends.
    pub handle: OwnedFd,
}

/// A driver that has introduced itself, or a process that only asks how the node stands.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) hello: Box<Hello>,
    pub(super) sender: Sender,
    /// Its job; who only asks has none.
    pub(super) begins: Option<Beginning>,
    /// A handle of its process, if that may live on without the raylet.
    pub(super) process: Option<OwnedFd>,
}

/// A job that is to begin.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) setup: JobSetup,
    pub(super) executable: Executable,
    pub(super) output: Option<JobOutput>,
}

impl Arrival {
    /// Whether the two can talk. What it can run is its own business: its workers run the same program.
    pub(super) fn check(&self) -> Result<(), String> {
        self.hello
            .check(&Hello::of_this_process(WorkerId::default(), self.hello.items))
    }
}

fn begin(
    setup: JobSetup,
    fds: Vec<OwnedFd>,
    show: impl FnOnce(&JobSetup, Option<OwnedFd>) -> io::Result<Option<JobOutput>>,
) -> Result<Beginning, String> {
    let mut fds = fds.into_iter();
    let executable = fds.next().ok_or("the driver's program is missing")?;
    let output = show(&setup, fds.next()).map_err(|error| format!("worker logs cannot be followed: {error}"))?;
    Ok(Beginning {
        setup,
        executable: Executable::received(executable),
        output,
    })
}

impl Handle {
    /// Serves a driver's connection, whose first frame must be `Attach`, until it ends. `show` makes what follows the output
    /// of its workers, given the driver's descriptor for that, if it sent one. `peer` is the driver's process, where that may
    /// live on without the raylet: then its own word on its number counts for nothing.
    pub async fn attend(
        &self,
        (sender, mut receiver): (Sender, Receiver),
        peer: Option<Peer>,
        show: impl FnOnce(&JobSetup, Option<OwnedFd>) -> io::Result<Option<JobOutput>>,
    ) {
        let first = tokio::time::timeout(self.hello_within, receiver.recv()).await;
        let Ok(Some(Packet {
            frame: Frame::Attach { mut hello, job },
            fds,
        })) = first
        else {
            let within = self.hello_within;
            tracing::error!(target: "ray_core::raylet", "a driver did not introduce itself within {within:?}");
            return;
        };
        let begins = match job.map(|job| begin(*job, fds, show)).transpose() {
            Ok(begins) => begins,
            Err(why) => return sender.send(Frame::Refused { why }),
        };
        let process = peer.map(|peer| {
            hello.pid = peer.pid;
            peer.handle
        });
        // Whatever it has called itself: from now on the node can be told from its id.
        hello.worker = WorkerId::random_on(self.node);
        let worker = hello.worker;
        let arrival = Arrival {
            hello,
            sender,
            begins,
            process,
        };
        if self.inputs.send(Input::Arrived(Box::new(arrival))).await.is_ok() {
            read_frames(worker, receiver, self.inputs.clone()).await;
        }
    }

    /// Returns when somebody has asked the node to end. Safe to drop and call again.
    pub async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// The processes of another node become guests, by this connection.
    pub(crate) async fn guests_come(&self, node: NodeId, (sender, receiver): (Sender, Receiver)) {
        let news = Guest::Came(sender, receiver);
        // One that has ended has no guests.
        let _ended = self.inputs.send(Input::Guest { node, news }).await;
    }

    /// The connection for a link with a guest.
    pub(crate) async fn link(&self, node: NodeId, ticket: u64, socket: OwnedFd) {
        let news = Guest::Link { ticket, socket };
        // As above.
        let _ended = self.inputs.send(Input::Guest { node, news }).await;
    }

    /// Sends the program of a job to another node.
    pub(crate) async fn send_program(&self, job: JobId, to: TcpStream) {
        let (reply, found) = oneshot::channel();
        if self.inputs.send(Input::Program { job, reply }).await.is_ok()
            && let Ok(shipped) = found.await
            && let Err(error) = ways::send_program(to, shipped).await
        {
            tracing::warn!(target: "ray_core::raylet", %error, %job, "a program was not sent to another node");
        }
    }

    /// The head cannot be reached any more: the node ends. For a thread outside the runtime.
    pub(crate) fn head_lost(&self, why: String) {
        // One that has ended needs no news.
        let _ended = self.inputs.blocking_send(Input::HeadLost(why));
    }

    /// What the node's store holds.
    pub async fn store_report(&self) -> Result<ray_objstore::Report, Error> {
        let (reply, report) = oneshot::channel();
        self.inputs
            .send(Input::StoreReport(reply))
            .await
            .map_err(|_| Error::Ended)?;
        report.await.map_err(|_| Error::Ended)
    }

    /// Ends all processes of the node and frees its memory. Returns when that is done.
    pub async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.inputs.send(Input::Shutdown(done)).await.is_ok() {
            // An error means that it has ended already.
            let _ended = finished.await;
        }
    }
}
