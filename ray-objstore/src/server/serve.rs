//! The edge of the server: sockets, the epoll loop, the clock. It feeds [`State`] and carries its effects out.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::disk::Disk;
use super::state::{Effect, PeerId, State};
use crate::error::Error;
use crate::handshake;
use crate::ids::ClientId;
use crate::wire::{Hello, MAX_PACKET, Request};

/// Tokens of the epoll set: peers count from 1; rings carry their job.
const WAKE: u64 = 0;
const RING: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct Server {
    inner: Mutex<Inner>,
    disk: Mutex<Option<Disk>>,
    epoll: OwnedFd,
    wake: OwnedFd,
    stopping: AtomicBool,
    born: Instant,
}

#[derive(Debug)]
struct Inner {
    state: State,
    links: HashMap<PeerId, Link>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    /// Replies the socket had no room for.
    outbox: VecDeque<Vec<u8>>,
}

impl Server {
    pub(super) fn start(state: State) -> Result<Arc<Self>, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::os("creating an epoll set"))?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, flags).map_err(Error::os("creating an eventfd"))?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)
            .map_err(Error::os("watching an eventfd"))?;
        let inner = Mutex::new(Inner {
            state,
            links: HashMap::new(),
        });
        let (disk, stopping) = (Mutex::new(None), AtomicBool::new(false));
        let server = Arc::new(Self {
            inner,
            disk,
            epoll,
            wake,
            stopping,
            born: Instant::now(),
        });
        let weak: Weak<Self> = Arc::downgrade(&server);
        let disk = Disk::start(move |done| {
            if let Some(server) = weak.upgrade() {
                server.with(|state| state.disk_done(done));
            }
        })?;
        *server.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk);
        Ok(server)
    }

    /// Runs a step of the state machine and carries its effects out. From any thread.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.state.next_tick();
        inner.state.now = self.born.elapsed().as_millis() as u64;
        let result = step(&mut inner.state);
        inner.state.settle();
        self.carry_out(&mut inner);
        if inner.state.next_tick() != before {
            // The loop sleeps until the old time.
            self.ring_loop();
        }
        result
    }

    pub(super) fn connect(&self, job: u32, client: ClientId, pid: u32) -> Result<OwnedFd, Error> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(Error::os("creating a socket pair"))?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let new_job = !inner.state.jobs.contains_key(&job);
        let (peer, tables) = inner.state.connect(job, client, pid)?;
        let Some(entry) = inner.state.jobs.get(&job) else {
            return Err(Error::StoreGone);
        };
        let geometry = entry.index.geometry();
        let hello = Hello {
            segment_len: entry.segment.len(),
            huge: entry.segment.is_huge(),
            buckets: geometry.buckets,
            slots: geometry.slots,
        };
        let shared = [
            entry.segment.fd(),
            entry.index.fd(),
            tables.pins.as_fd(),
            tables.published.as_fd(),
            entry.ring.as_fd(),
        ];
        let greeted = handshake::greet(ours.as_fd(), &hello, shared);
        let watched = greeted.and_then(|()| {
            if new_job {
                let token = EventData::new_u64(RING | u64::from(job));
                epoll::add(&self.epoll, &entry.ring, token, EventFlags::IN).map_err(Error::os("watching a ring"))?;
            }
            epoll::add(&self.epoll, &ours, EventData::new_u64(peer), EventFlags::IN)
                .map_err(Error::os("watching a client"))
        });
        if let Err(error) = watched {
            inner.state.request(peer, Request::Bye);
            return Err(error);
        }
        inner.links.insert(
            peer,
            Link {
                socket: ours,
                outbox: VecDeque::new(),
            },
        );
        Ok(theirs)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring_loop();
    }

    /// Ends the disk threads, then closes what clients wait on.
    pub(super) fn join_disk(&self) {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(disk);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state.recall_for_ever();
        inner.links.clear();
    }

    fn ring_loop(&self) {
        if let Err(error) = rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            tracing::trace!(%error, "the store's loop is awake already");
        }
    }

    pub(super) fn run(&self) {
        let mut events = Vec::with_capacity(64);
        while !self.stopping.load(Ordering::SeqCst) {
            let next = self
                .inner
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .state
                .next_tick();
            let now = self.born.elapsed().as_millis() as u64;
            let timeout = next.map(|at| {
                let millis = at.saturating_sub(now);
                rustix::event::Timespec {
                    tv_sec: (millis / 1000) as i64,
                    tv_nsec: (millis % 1000 * 1_000_000) as i64,
                }
            });
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the object store cannot wait for its clients and ends");
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => drain(&self.wake),
                    token if token & RING != 0 => self.rung(token as u32),
                    peer => self.serve_peer(peer, event.flags),
                }
            }
            if next.is_some_and(|at| at <= self.born.elapsed().as_millis() as u64) {
                self.with(State::tick);
            }
        }
    }

    fn rung(&self, job: u32) {
        self.with(|state| {
            if let Some(entry) = state.jobs.get(&job) {
                drain(&entry.ring);
            }
            state.unsettled.insert(job);
        });
    }

    fn serve_peer(&self, peer: PeerId, flags: EventFlags) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state.now = self.born.elapsed().as_millis() as u64;
        let mut packet = [0u8; MAX_PACKET];
        if flags.contains(EventFlags::OUT) {
            flush(&self.epoll, peer, &mut inner);
        }
        // A bound, so that one busy peer does not keep the others waiting.
        for _ in 0..64 {
            let Some(link) = inner.links.get(&peer) else { break };
            match rustix::net::recv(&link.socket, &mut packet, RecvFlags::DONTWAIT) {
                Ok((len, _)) if len > 0 => match Request::decode(&packet[..len]) {
                    Some(request) => inner.state.request(peer, request),
                    None => inner.state.effects.push(Effect::Close(peer)),
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Ok(_) | Err(_) => {
                    inner.links.remove(&peer);
                    inner.state.disconnected(peer);
                }
            }
            self.carry_out(&mut inner);
        }
        inner.state.settle();
        self.carry_out(&mut inner);
    }

    fn carry_out(&self, inner: &mut Inner) {
        for effect in std::mem::take(&mut inner.state.effects) {
            match effect {
                Effect::Reply(peer, reply) => {
                    if let Some(link) = inner.links.get_mut(&peer) {
                        link.outbox.push_back(reply.encode());
                        flush(&self.epoll, peer, inner);
                    }
                }
                Effect::Close(peer) => {
                    inner.links.remove(&peer);
                }
                Effect::Unwatch(ring) => {
                    if let Err(error) = epoll::delete(&self.epoll, &ring) {
                        tracing::warn!(%error, "a ring is still watched");
                    }
                }
                Effect::Disk(task) => {
                    if let Some(disk) = &*self.disk.lock().unwrap_or_else(PoisonError::into_inner) {
                        disk.push(task);
                    }
                }
            }
        }
    }
}

/// Sends what waits for a peer, and watches for room if there is none.
fn flush(epoll: &OwnedFd, peer: PeerId, inner: &mut Inner) {
    let Some(link) = inner.links.get_mut(&peer) else { return };
    let had_to_wait = link.outbox.len() > 1;
    while let Some(packet) = link.outbox.front() {
        match rustix::net::send(&link.socket, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => {
                link.outbox.pop_front();
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            // The peer is gone; its end of file follows.
            Err(_) => link.outbox.clear(),
        }
    }
    let waits = !link.outbox.is_empty();
    if waits || had_to_wait {
        let flags = if waits {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        if let Err(error) = epoll::modify(epoll, &link.socket, EventData::new_u64(peer), flags) {
            tracing::warn!(%error, "a client's socket cannot be watched");
        }
    }
}

fn drain(eventfd: &OwnedFd) {
    let mut count = [0u8; 8];
    if let Err(error) = rustix::io::read(eventfd, &mut count) {
        tracing::trace!(%error, "nobody rang");
    }
}
