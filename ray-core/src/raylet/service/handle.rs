//! What others hold of a raylet that runs.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::inputs::{Input, read_frames};
use crate::wire::{Frame, Packet, Receiver, Sender};

/// A raylet that runs.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) hello_within: Duration,
}

impl Handle {
    /// Serves a driver's connection, whose first frame must be a hello, until it ends.
    pub async fn attend(&self, (sender, mut receiver): (Sender, Receiver)) {
        let first = tokio::time::timeout(self.hello_within, receiver.recv()).await;
        let Ok(Some(Packet {
            frame: Frame::Hello { hello },
            ..
        })) = first
        else {
            let within = self.hello_within;
            tracing::error!(target: "ray_core::raylet", "a driver did not introduce itself within {within:?}");
            return;
        };
        let worker = hello.worker;
        if self.inputs.send(Input::Driver { hello, sender }).await.is_ok() {
            read_frames(worker, receiver, self.inputs.clone()).await;
        }
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
