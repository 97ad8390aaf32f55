//! Connections of this process: to its raylet, and through it to other workers.
//!
//! A connection to another worker is made when the first frame for it is sent: the raylet is asked for it, and frames
//! wait in line until it comes. A worker that is known to be dead gets nothing.

use std::collections::HashMap;

use crate::ids::{IdHasher, WorkerId};
use crate::wire::{Frame, Sender};
use crate::worker::state::Dest;

#[derive(Debug)]
enum Peer {
    Connecting(Vec<Frame>),
    Up(Sender),
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
        Self { raylet, peers: HashMap::default() }
    }

    /// Puts a frame in line. Returns the connection to flush.
    pub(crate) fn push(&mut self, dest: Dest, frame: Frame) -> Option<Sender> {
        match dest {
            Dest::Raylet => {
                self.raylet.push(frame);
                Some(self.raylet.clone())
            }
            Dest::Worker(worker) => match self.peers.get_mut(&worker) {
                Some(Peer::Up(sender)) => {
                    sender.push(frame);
                    Some(sender.clone())
                }
                Some(Peer::Connecting(line)) => {
                    line.push(frame);
                    None
                }
                Some(Peer::Dead) => None,
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
        if let Some(Peer::Connecting(line)) = self.peers.insert(worker, Peer::Up(sender.clone())) {
            line.into_iter().for_each(|frame| sender.push(frame));
        }
        sender.flush();
    }

    /// A worker is dead.
    pub(crate) fn dead(&mut self, worker: WorkerId) {
        if let Some(Peer::Up(sender)) = self.peers.insert(worker, Peer::Dead) {
            sender.close();
        }
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self) {
        for (_, peer) in self.peers.drain() {
            if let Peer::Up(sender) = peer {
                sender.close();
            }
        }
        self.raylet.close();
    }
}
