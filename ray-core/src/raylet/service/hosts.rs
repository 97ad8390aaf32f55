//! Nodes that this one's processes are guests of: the connection to each, and what waits to be sent there.
//!
//! *Absent:* who is a guest where, and why: the state decides (`state/visits`).

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::inputs::Input;
use super::{Raylet, ways};
use crate::clock;
use crate::ids::{JobId, NodeId, WorkerId};
use crate::raylet::state::Effects;
use crate::wire::token::Token;
use crate::wire::{Frame, Packet, Sender, from_bytes};

/// What waits for a node at most; who is that far behind is lost.
const LINE: usize = 100_000;

/// The nodes that are visited.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: HashMap<NodeId, Host>,
    visits: u64,
}

#[derive(Debug)]
struct Host {
    /// Tells it from an earlier one of the same node.
    visit: u64,
    /// As soon as the node is reached.
    sender: Option<Sender>,
    /// The way has ended: nothing is sent any more until the head has said which of the two nodes is dead.
    lost: bool,
    line: Vec<Frame>,
    traveller: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.traveller.abort();
    }
}

/// News of a visit.
#[derive(Debug)]
pub(super) enum Visit {
    Arrived(Sender),
    /// The host has said something.
    Frame(Frame),
    /// A guest has a connection to a process of the host.
    Linked {
        guest: WorkerId,
        worker: WorkerId,
        job: JobId,
        pid: u32,
        socket: OwnedFd,
    },
    /// That could not be made.
    NotLinked {
        guest: WorkerId,
        worker: WorkerId,
        why: String,
    },
    Over(String),
}

impl Raylet {
    /// Sends something to another node, which is visited for that.
    pub(super) fn send_to_node(&mut self, node: NodeId, frame: Frame) {
        if !self.hosts.hosts.contains_key(&node) && !self.set_out(node) {
            return;
        }
        let Some(host) = self.hosts.hosts.get_mut(&node) else {
            return;
        };
        if host.lost {
            return;
        }
        if host.line.len() >= LINE {
            let (visit, why) = (host.visit, format!("{LINE} messages wait for it"));
            return self.visit_ends(node, visit, why);
        }
        host.line.push(frame);
        self.send_on(node);
    }

    fn set_out(&mut self, node: NodeId) -> bool {
        let way = self.state.address_of(node).zip(self.options.token.clone());
        let Some((address, token)) = way.map(|(address, token)| (address.to_owned(), token)) else {
            // It is dead, and whoever waits for it has been told.
            return false;
        };
        self.hosts.visits += 1;
        let traveller = Traveller {
            node,
            visit: self.hosts.visits,
            ours: self.options.node,
            address,
            token,
            inputs: self.inputs.clone(),
        };
        let host = Host {
            visit: traveller.visit,
            sender: None,
            lost: false,
            line: Vec::new(),
            traveller: tokio::spawn(traveller.travel()),
        };
        self.hosts.hosts.insert(node, host);
        true
    }

    /// Sends what can be sent.
    fn send_on(&mut self, node: NodeId) {
        let Some(host) = self.hosts.hosts.get_mut(&node) else {
            return;
        };
        let Some(sender) = host.sender.clone() else { return };
        host.line.drain(..).for_each(|frame| sender.push(frame));
        sender.flush();
    }

    pub(super) fn leave_node(&mut self, node: NodeId) {
        self.hosts.hosts.remove(&node);
    }

    /// News of a visit.
    pub(super) fn visited(&mut self, node: NodeId, visit: u64, news: Visit, out: &mut Effects) {
        if self.hosts.hosts.get(&node).is_none_or(|host| host.visit != visit) {
            return;
        }
        match news {
            Visit::Arrived(sender) => {
                if let Some(host) = self.hosts.hosts.get_mut(&node) {
                    host.sender = Some(sender);
                }
                self.send_on(node);
            }
            Visit::Frame(Frame::Relay { guest, frame }) => match from_bytes(frame) {
                Ok(frame) => self.state.host_frame(node, guest, frame, clock::monotonic(), out),
                Err(error) => {
                    tracing::warn!(target: "ray_core::raylet", %error, %node, %guest, "a host's frame that is none");
                }
            },
            Visit::Frame(other) => {
                tracing::warn!(target: "ray_core::raylet", ?other, %node, "a frame that a host does not send");
            }
            Visit::Linked {
                guest,
                worker,
                job,
                pid,
                socket,
            } => {
                if let Some(sender) = self.processes.sender(guest) {
                    sender.send_with(Frame::PeerLink { worker, job, pid }, vec![socket]);
                    self.state.linked_elsewhere(node, guest, worker);
                }
            }
            Visit::Over(why) => {
                tracing::warn!(target: "ray_core::raylet", %node, why, "the way to another node has ended");
                if let Some(host) = self.hosts.hosts.get_mut(&node) {
                    (host.lost, host.sender) = (true, None);
                    host.line.clear();
                }
                self.state.way_lost(node, why, out);
            }
            Visit::NotLinked { guest, worker, why } => {
                tracing::warn!(target: "ray_core::raylet", %node, %guest, %worker, why, "two processes cannot be linked");
                self.state.link_failed(node, guest, worker, out);
            }
        }
    }

    /// Ends a visit as if the way had ended.
    fn visit_ends(&self, node: NodeId, visit: u64, why: String) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let news = Visit::Over(why);
            // A raylet that has ended visits nobody.
            let _ended = inputs.send(Input::Visit { node, visit, news }).await;
        });
    }
}

/// Goes to another node and tells what is said there.
struct Traveller {
    node: NodeId,
    visit: u64,
    ours: NodeId,
    address: String,
    token: Token,
    inputs: mpsc::Sender<Input>,
}

impl Traveller {
    async fn travel(self) {
        let why = match self.stay().await {
            Ok(()) => "it has closed the connection".to_owned(),
            Err(why) => why,
        };
        self.tell(Visit::Over(why)).await;
    }

    async fn stay(&self) -> Result<(), String> {
        let (sender, mut receiver) = ways::visit(&self.address, &self.token, self.ours).await?;
        self.tell(Visit::Arrived(sender)).await;
        while let Some(Packet { frame, .. }) = receiver.recv().await {
            let news = match frame {
                // What the host says next may be about the process that the guest is linked with: that comes after the link.
                Frame::LinkWanted {
                    ticket,
                    guest,
                    worker,
                    job,
                    pid,
                } => match ways::link(&self.address, &self.token, self.ours, ticket).await {
                    Ok(socket) => Visit::Linked {
                        guest,
                        worker,
                        job,
                        pid,
                        socket,
                    },
                    Err(why) => Visit::NotLinked { guest, worker, why },
                },
                frame => Visit::Frame(frame),
            };
            self.tell(news).await;
        }
        Ok(())
    }

    async fn tell(&self, news: Visit) {
        let (node, visit) = (self.node, self.visit);
        // A raylet that has ended visits nobody.
        let _ended = self.inputs.send(Input::Visit { node, visit, news }).await;
    }
}
