//! Connections of this process: to its raylet, and through it to other workers.
//!
//! A connection to another worker is made when the first frame for it is sent: the raylet is asked for it, and frames
//! wait in line until it comes. A worker that is known to be dead gets nothing.

use std::collections::HashMap;

use crate::ids::{IdHasher, WorkerId};
use crate::wire::{DeathCause, Frame, Sender};
use crate::worker::state::Dest;

#[derive(Debug)]
enum Peer {
    Connecting(Vec<Frame>),
    Up {
        sender: Sender,
        gone: Option<DeathCause>,
    },
    /// Its last frame was read; the raylet has not told its death yet.
    Drained,
    Dead,
}

/// The sending halves of all connections.
#[derive(Debug)]
pub(crate) struct Links {
    raylet: Sender,
    peers: HashMap<WorkerId, Peer, IdHasher>,
}

impl Links {
    pub(crate) fn new(raylet: Sender) -> Self {
        Self {
            raylet,
            peers: HashMap::default(),
        }
    }

    /// Puts a frame in line. Returns the connection to flush.
    pub(crate) fn push(&mut self, dest: Dest, frame: Frame) -> Option<Sender> {
        match dest {
            Dest::Raylet => {
                self.raylet.push(frame);
                Some(self.raylet.clone())
            }
            Dest::Worker(worker) => match self.peers.get_mut(&worker) {
                Some(Peer::Up { sender, .. }) => {
                    sender.push(frame);
                    Some(sender.clone())
                }
                Some(Peer::Connecting(line)) => {
                    line.push(frame);
                    None
                }
                Some(Peer::Drained | Peer::Dead) => None,
                None => {
                    self.peers.insert(worker, Peer::Connecting(vec![frame]));
                    self.raylet.push(Frame::Connect { worker });
                    Some(self.raylet.clone())
                }
            },
        }
    }

    /// The raylet has made a connection.
    pub(crate) fn up(&mut self, worker: WorkerId, sender: Sender) {
        if let Some(Peer::Connecting(line)) = self.peers.insert(
            worker,
            Peer::Up {
                sender: sender.clone(),
                gone: None,
            },
        ) {
            line.into_iter().for_each(|frame| sender.push(frame));
        }
        sender.flush();
    }

    /// The raylet says that a worker is dead. Returns the cause when nothing of it is left to be read.
    pub(crate) fn dead(&mut self, worker: WorkerId, cause: DeathCause) -> Option<DeathCause> {
        match self.peers.get_mut(&worker) {
            Some(Peer::Up { gone, .. }) => {
                *gone = Some(cause);
                None
            }
            Some(Peer::Dead) => None,
            Some(Peer::Connecting(_) | Peer::Drained) | None => {
                self.peers.insert(worker, Peer::Dead);
                Some(cause)
            }
        }
    }

    /// The last frame of a worker was read. Returns the cause of its death if it is known.
    pub(crate) fn drained(&mut self, worker: WorkerId) -> Option<DeathCause> {
        match self.peers.insert(worker, Peer::Drained) {
            Some(Peer::Up { gone: Some(cause), .. }) => {
                self.peers.insert(worker, Peer::Dead);
                Some(cause)
            }
            _ => None,
        }
    }

    /// Sends what is in line.
    pub(crate) fn flush(&self) {
        self.raylet.flush();
        for peer in self.peers.values() {
            if let Peer::Up { sender, .. } = peer {
                sender.flush();
            }
        }
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self) {
        for (_, peer) in self.peers.drain() {
            if let Peer::Up { sender, .. } = peer {
                sender.close();
            }
        }
        self.raylet.close();
    }
}
