//! The client half: creates, seals and reads objects of one job.

mod arena;
mod calls;
mod copy;
mod view;
mod writer;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::net::SendFlags;

use crate::error::Error;
use crate::guard;
use crate::handshake;
use crate::ids::Key;
use crate::index::{Geometry, IndexReader, Located};
use crate::memory::{Mapping, WriteMap, reserve};
use crate::pins::{LIMIT, PinTable};
use crate::publish::{ARENA, SMALL};
use crate::wire::{Answer, KEYS_PER_PACKET, Request};
use arena::{Arenas, Claimed, Found, Lease, Published};
use calls::Calls;
use view::{Pin, Place};
use writer::{Creation, Grant};

pub use view::View;
pub use writer::Writer;

/// How often a local object is looked up again when it changes under the reader, before the server is asked.
const TRIES: usize = 4;

/// One process's door to a store. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    calls: Calls,
    segment: OwnedFd,
    segment_len: usize,
    /// The segment's memory comes in huge pages.
    huge: bool,
    objects: Mapping,
    writable: OnceLock<Arc<WriteMap>>,
    making_writable: Mutex<()>,
    index: IndexReader,
    pins: PinTable,
    arenas: Arenas,
    ring: OwnedFd,
}

impl Client {
    /// Takes the descriptor that [`Store::connect`](crate::Store::connect) gave, in this process or another.
    pub fn new(socket: OwnedFd) -> Result<Self, Error> {
        let (hello, [segment, index, pins, published, ring]) = handshake::receive(socket.as_fd())?;
        let segment_len =
            usize::try_from(hello.segment_len).map_err(|_| Error::corrupt("a segment over all memory"))?;
        let geometry = Geometry {
            buckets: hello.buckets,
            slots: hello.slots,
        };
        let shared = Shared {
            calls: Calls::new(socket),
            objects: Mapping::read_only(segment.as_fd(), segment_len)?,
            segment,
            segment_len,
            huge: hello.huge,
            writable: OnceLock::new(),
            making_writable: Mutex::new(()),
            index: IndexReader::new(index.as_fd(), geometry)?,
            pins: PinTable::new(pins.as_fd())?,
            arenas: Arenas::new(published.as_fd())?,
            ring,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Memory for a new object of `size` bytes. Blocks while the store is full, until there is space or the store's
    /// patience ends in [`Error::Full`]. Up to 128 KiB there is rarely a message to the store, neither here nor at the
    /// seal nor at the free.
    ///
    /// Sealing under a key that is sealed already replaces the old object; those who read it keep it.
    pub fn create(&self, key: Key, size: usize) -> Result<Writer, Error> {
        let shared = &self.shared;
        let mut lease = size <= SMALL;
        for attempt in 0.. {
            // Recalls and other threads can take a lease away at once; then the object gets a grant of its own.
            lease &= attempt < TRIES;
            if lease {
                match shared.arenas.claim(key, size) {
                    Claimed::Made(claim) => return Writer::new(shared, Creation::Claimed(claim)),
                    Claimed::NeedsLease => {}
                    Claimed::NeedsSync => {
                        shared.sync()?;
                        lease &= attempt == 0;
                    }
                }
            }
            let size = size as u64;
            match shared.calls.call(|id| Request::Create { id, key, size, lease })? {
                Answer::Granted {
                    generation,
                    offset,
                    backed,
                } => {
                    let grant = Grant {
                        generation,
                        offset,
                        size: size as usize,
                        backed,
                    };
                    return Writer::new(shared, Creation::Granted(grant));
                }
                Answer::Leased {
                    lease,
                    generation,
                    offset,
                    backed,
                } => {
                    if !backed {
                        reserve(shared.segment.as_fd(), offset, ARENA)?;
                    }
                    shared.writable()?.populate(offset, ARENA);
                    shared.arenas.install(Lease {
                        number: lease,
                        generation,
                        offset,
                    });
                }
                other => return Err(Error::corrupt(format!("{other:?} for a creation"))),
            }
        }
        Err(Error::StoreGone)
    }

    /// The object, read in place. Blocks only if it has to be restored from disk.
    pub fn get(&self, key: &Key) -> Result<View, Error> {
        loop {
            if let Some(view) = self.try_get(key)? {
                return Ok(view);
            }
            let answer = self.shared.calls.call(|id| Request::Get { id, key: *key })?;
            let Answer::Found {
                generation,
                slot,
                offset,
                size,
            } = answer
            else {
                return Err(Error::corrupt(format!("{answer:?} for a get")));
            };
            let view = self.shared.view(Located {
                slot,
                generation,
                offset,
                size,
            });
            self.shared.calls.send(&Request::Unhold { generation })?;
            // The entry can be dying for a moment while the server tries to move the object out.
            if let Some(view) = view? {
                return Ok(view);
            }
        }
    }

    /// The object if it is in memory: no wait, no system call. `None` if it is absent or spilled; then
    /// [`get`](Self::get) tells which.
    pub fn try_get(&self, key: &Key) -> Result<Option<View>, Error> {
        for _ in 0..TRIES {
            if let Some(located) = self.shared.index.find(*key) {
                if let Some(view) = self.shared.view(located)? {
                    return Ok(Some(view));
                }
                continue;
            }
            match self.shared.published(key)? {
                Ok(view) => return Ok(Some(view)),
                Err(false) => return Ok(None),
                // It is in the index by now, unless it was freed meanwhile.
                Err(true) => {}
            }
        }
        Ok(None)
    }

    /// Whether a sealed object of that key is in memory or on disk.
    pub fn contains(&self, key: &Key) -> Result<bool, Error> {
        if self.shared.index.find(*key).is_some() || self.shared.arenas.contains(key) {
            return Ok(true);
        }
        match self.shared.calls.call(|id| Request::Contains { id, key: *key })? {
            Answer::Contains(yes) => Ok(yes),
            other => Err(Error::corrupt(format!("{other:?} for a question"))),
        }
    }

    /// Frees objects, without an answer. Views of them stay valid. Unknown keys are ignored, a store that has ended
    /// too: then everything is free.
    pub fn free(&self, keys: &[Key]) {
        let index = &self.shared.index;
        // What only this client ever knew needs no message, unless an older object of that key may be elsewhere.
        let is_over = |key: &Key| self.shared.arenas.free(key) && index.is_complete() && index.find(*key).is_none();
        let keys: Vec<Key> = keys.iter().copied().filter(|key| !is_over(key)).collect();
        for keys in keys.chunks(KEYS_PER_PACKET) {
            let (keys, freed_at) = (keys.to_vec(), arena::clock());
            if let Err(error) = self.shared.calls.send(&Request::Free { keys, freed_at }) {
                tracing::debug!(%error, "objects not freed");
            }
        }
    }
}

impl Shared {
    /// Pins what was located, if it is still what it was.
    fn view(self: &Arc<Self>, located: Located) -> Result<Option<View>, Error> {
        let Located {
            slot,
            generation,
            offset,
            size,
        } = located;
        let pin = Pin::take(self, Place::Entry(slot), generation)?;
        let entry = self
            .index
            .entry_word(slot)
            .ok_or_else(|| Error::corrupt(format!("index slot {slot}")))?;
        if !guard::pin(pin.word()?, entry, generation) {
            return Ok(None);
        }
        View::new(pin, offset, size).map(Some)
    }

    /// A view of what this process has published and nobody else knows; `Err(true)` if the server has it by now.
    fn published(self: &Arc<Self>, key: &Key) -> Result<Result<View, bool>, Error> {
        let pin_slot = self.pin_slot()?;
        let pin = |published: &Published| {
            Pin::taken(self, pin_slot, Place::Publication(published.slot), published.generation)
        };
        let word = self
            .pins
            .word(pin_slot)
            .ok_or_else(|| Error::corrupt("a pin outside its table"))?;
        match self.arenas.find(key, word) {
            Found::Here(published) => View::new(pin(&published), published.offset, published.size).map(Ok),
            Found::Late(published) => {
                drop(pin(&published));
                Ok(Err(true))
            }
            found @ (Found::Taken | Found::Nothing) => {
                self.pins.give_back(pin_slot);
                Ok(Err(matches!(found, Found::Taken)))
            }
        }
    }

    /// Has the server take over what is published.
    fn sync(&self) -> Result<(), Error> {
        match self.calls.call(|id| Request::Sync { id })? {
            Answer::Synced => Ok(()),
            other => Err(Error::corrupt(format!("{other:?} for a sync"))),
        }
    }

    /// The writable mapping, made at the first creation.
    fn writable(&self) -> Result<&Arc<WriteMap>, Error> {
        if let Some(map) = self.writable.get() {
            return Ok(map);
        }
        let _one = self.making_writable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = self.writable.get() {
            return Ok(map);
        }
        let map = WriteMap::new(self.segment.as_fd(), self.segment_len)?;
        Ok(self.writable.get_or_init(|| map))
    }

    fn pin_slot(&self) -> Result<u32, Error> {
        self.pins.take().ok_or(Error::TooManyPins {
            limit: u64::from(LIMIT),
        })
    }

    /// Tells the server that a dying object may have lost its last pin. Never blocks.
    fn ring(&self) {
        if let Err(error) = rustix::io::write(&self.ring, &1u64.to_ne_bytes()) {
            tracing::trace!(%error, "the ring is full: the server is on its way");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Views and writers hold this, so none is left. Without room the server keeps the record until it hears of
        // the process's death.
        if let Err(error) = self.calls.send_with(&Request::Bye, SendFlags::DONTWAIT) {
            tracing::debug!(%error, "left without a farewell");
        }
    }
}
