//! Carries frames between the state machine and the raylets.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::state::{Effect, Gcs};
use crate::ids::NodeId;
use crate::wire::{Frame, Packet, Receiver, Sender};

/// Takes new raylets. The GCS ends when all handles and all connections are gone.
#[derive(Debug, Clone)]
pub struct Handle {
    joins: mpsc::Sender<Event>,
}

/// What does not come from a raylet itself.
#[derive(Debug)]
enum Event {
    Joins(Sender, Receiver),
    Lost { node: NodeId, why: String },
}

/// The GCS has ended.
#[derive(Debug, thiserror::Error)]
#[error("the GCS has ended")]
pub struct Ended;

impl Handle {
    /// Gives the GCS a connection to a raylet, whose first frame must be `RegisterNode`.
    pub async fn join(&self, (sender, receiver): (Sender, Receiver)) -> Result<(), Ended> {
        let joins = Event::Joins(sender, receiver);
        self.joins.send(joins).await.map_err(|_| Ended)
    }

    /// Counts a node among the dead, and closes the connection to it.
    pub async fn lost(&self, node: NodeId, why: String) {
        // One that has ended knows no nodes.
        let _ended = self.joins.send(Event::Lost { node, why }).await;
    }
}

/// How long a raylet may take to introduce itself.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

enum Input {
    Joined { sender: Sender, node: NodeId },
    Frame { node: NodeId, frame: Frame },
    Left { node: NodeId },
}

/// Starts the GCS on the current runtime.
pub fn serve() -> Handle {
    let (joins, mut joining) = mpsc::channel::<Event>(64);
    tokio::spawn(async move {
        let (inputs, mut input) = mpsc::channel(1024);
        let mut gcs = Gcs::new();
        let mut raylets: HashMap<NodeId, Sender> = HashMap::new();
        loop {
            let effects = tokio::select! {
                Some(event) = joining.recv() => match event {
                    Event::Joins(sender, receiver) => {
                        tokio::spawn(read(sender, receiver, inputs.clone()));
                        continue;
                    }
                    Event::Lost { node, why } => {
                        if let Some(raylet) = raylets.remove(&node) {
                            raylet.abort();
                        }
                        gcs.node_lost(node, &why)
                    }
                },
                Some(next) = input.recv() => match next {
                    Input::Joined { sender, node } => {
                        raylets.insert(node, sender);
                        continue;
                    }
                    Input::Frame { node, frame } => gcs.handle(node, frame),
                    Input::Left { node } => {
                        raylets.remove(&node);
                        let effects = gcs.node_lost(node, "its connection to the head has ended");
                        if raylets.is_empty() && joining.is_closed() {
                            return;
                        }
                        effects
                    }
                },
                else => return,
            };
            for Effect::Send { node, frame } in effects {
                // It is told of its own death, and hears nothing more.
                let is_last = matches!(&frame, Frame::NodeLeft { node: left, .. } if *left == node);
                if let Some(raylet) = raylets.get(&node) {
                    raylet.send(frame);
                }
                if is_last && let Some(raylet) = raylets.remove(&node) {
                    raylet.close();
                }
            }
        }
    });
    Handle { joins }
}

/// Feeds the frames of one raylet into the state machine.
async fn read(sender: Sender, mut receiver: Receiver, inputs: mpsc::Sender<Input>) {
    let first = match tokio::time::timeout(FIRST_WITHIN, receiver.recv()).await {
        Ok(Some(Packet { frame, .. })) => frame,
        _ => return,
    };
    let Frame::RegisterNode { info } = &first else { return };
    let node = info.node;
    let mut next = Some(Input::Joined { sender, node });
    let mut frame = Some(first);
    while let Some(input) = next.take() {
        if inputs.send(input).await.is_err() {
            return;
        }
        let arrived = match frame.take() {
            Some(frame) => Some(frame),
            None => receiver.recv().await.map(|packet| packet.frame),
        };
        match arrived {
            Some(frame) => next = Some(Input::Frame { node, frame }),
            None => break,
        }
    }
    // The receiver of this message ends only after the last raylet has left.
    let _ended = inputs.send(Input::Left { node }).await;
}
