//! What comes to the raylet's loop, and who reads it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::guests::Guest;
use super::handle::Arrival;
use super::hosts::Visit;
use super::ways::Shipped;
use crate::ids::{JobId, NodeId, WorkerId};
use crate::process::{self, Executable, Spawned};
use crate::wire::{DeathCause, Frame, GuestJob, Hello, Receiver, Sender};

/// Something that has happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A driver has introduced itself, or somebody who only asks.
    Arrived(Box<Arrival>),
    Spawned {
        worker: WorkerId,
        spawned: Result<Arc<Spawned>, process::Error>,
    },
    Joined {
        worker: WorkerId,
        hello: Box<Hello>,
        sender: Sender,
    },
    Frame {
        from: WorkerId,
        frame: Frame,
    },
    /// A driver's connection has ended.
    Left {
        worker: WorkerId,
    },
    /// The process of a driver that had left has ended.
    Vanished {
        worker: WorkerId,
    },
    Died {
        worker: WorkerId,
        cause: DeathCause,
    },
    Gcs(Frame),
    GcsGone,
    /// The head gives no signs of life.
    HeadLost(String),
    /// From another node, as its guest.
    Visit {
        node: NodeId,
        visit: u64,
        news: Visit,
    },
    /// Of another node's processes, which are guests here.
    Guest {
        node: NodeId,
        news: Guest,
    },
    ProgramFetched {
        job: JobId,
        fetched: Result<(Box<GuestJob>, Executable), String>,
    },
    /// Another node wants a program.
    Program {
        job: JobId,
        reply: oneshot::Sender<Option<Shipped>>,
    },
    StoreReport(oneshot::Sender<ray_objstore::Report>),
    Shutdown(oneshot::Sender<()>),
}

/// What a wait for an input ends with.
pub(super) enum Next {
    Input(Input),
    /// Nothing has come in time.
    Nothing,
    /// Nothing can come any more.
    End,
}

/// Waits for an input: without an end, or for so long.
pub(super) async fn next(inputs: &mut mpsc::Receiver<Input>, pause: Option<Duration>) -> Next {
    let received = match pause {
        Some(pause) => match tokio::time::timeout(pause, inputs.recv()).await {
            Ok(received) => received,
            Err(_elapsed) => return Next::Nothing,
        },
        None => inputs.recv().await,
    };
    received.map_or(Next::End, Next::Input)
}

/// The raylet has ended: nobody takes what comes.
pub(super) struct Ended;

/// Passes a process's frames on until its connection ends.
pub(super) async fn pass_on(
    from: WorkerId,
    receiver: &mut Receiver,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), Ended> {
    while let Some(packet) = receiver.recv().await {
        let frame = packet.frame;
        inputs.send(Input::Frame { from, frame }).await.map_err(|_| Ended)?;
    }
    Ok(())
}

/// Reads the frames of a process that the raylet did not spawn; the end of its connection is its end.
pub(super) async fn read_frames(worker: WorkerId, mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    if pass_on(worker, &mut receiver, &inputs).await.is_err() {
        return;
    }
    let _ended = inputs.send(Input::Left { worker }).await;
}

/// Reads the frames of the GCS.
pub(super) async fn read_gcs(mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    while let Some(packet) = receiver.recv().await {
        if inputs.send(Input::Gcs(packet.frame)).await.is_err() {
            return;
        }
    }
    let _ended = inputs.send(Input::GcsGone).await;
}
