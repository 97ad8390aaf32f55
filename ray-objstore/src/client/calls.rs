//! Calls to the server from any number of threads over one socket.
//!
//! One of those who wait, the leader, reads replies for all, so that an answer costs one wake-up where a reading
//! thread would cost two. A leader that has its own reply hands over to another.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::error::Error;
use crate::wire::{Answer, MAX_REPLY, Reply, Request};

#[derive(Debug)]
pub(super) struct Calls {
    socket: OwnedFd,
    ids: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    led: bool,
    over: bool,
    replies: HashMap<u64, Result<Answer, Error>>,
}

impl Calls {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            ids: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Sends what needs no answer.
    pub(super) fn send(&self, request: &Request) -> Result<(), Error> {
        self.send_with(request, SendFlags::empty())
    }

    pub(super) fn send_with(&self, request: &Request, flags: SendFlags) -> Result<(), Error> {
        let packet = request.encode();
        loop {
            match rustix::net::send(&self.socket, &packet, flags | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(Error::StoreGone),
                Err(error) => return Err(Error::os("sending to the object store")(error)),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call(&self, request: impl FnOnce(u64) -> Request) -> Result<Answer, Error> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.send(&request(id))?;
        let mut state = self.lock();
        loop {
            if let Some(result) = state.replies.remove(&id) {
                return result;
            }
            if state.over {
                return Err(Error::StoreGone);
            }
            if state.led {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.led = true;
            drop(state);
            let received = self.receive();
            state = self.lock();
            state.led = false;
            match received {
                Some(reply) if reply.id == id => {
                    self.changed.notify_all();
                    return reply.result;
                }
                Some(reply) => {
                    state.replies.insert(reply.id, reply.result);
                }
                None => state.over = true,
            }
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next reply, or `None` when the store has ended or sends what no store sends.
    fn receive(&self) -> Option<Reply> {
        let mut packet = [0u8; MAX_REPLY];
        loop {
            match rustix::net::recv(&self.socket, &mut packet, RecvFlags::empty()) {
                Ok((len, _)) if len > 0 => return Reply::decode(packet.get(..len)?),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }
}
