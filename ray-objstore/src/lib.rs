//! One node's shared-memory object store: segments, index, pins, spilling. It knows bytes, not tasks.
//!
//! A [`Store`] lives in one process and serves [`Client`]s in the same process or others. An object is created, written
//! in place, sealed, and from then on read in place by every process of its job: a [`View`] is a pointer and a pin.
//!
//! ```
//! use ray_objstore::{Client, ClientId, Key, Options, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spill = tempfile::tempdir()?;
//! let store = Store::start(Options::new(64 << 20, spill.path()))?;
//! // The descriptor may as well go to another process.
//! let client = Client::new(store.connect(1, ClientId([1; 16]), std::process::id())?)?;
//!
//! let key = Key(*b"owner 01 object 0001");
//! let mut writer = client.create(key, 5)?;
//! writer.copy_from_slice(b"hello");
//! writer.seal()?;
//!
//! let view = client.get(&key)?;
//! client.free(&[key]); // the view stays valid
//! assert_eq!(&view[..], b"hello");
//! let bytes = bytes::Bytes::from_owner(view); // as anything that reads `Bytes` likes it
//! assert_eq!(bytes.slice(1..3), "el");
//! # Ok(()) }
//! ```
//!
//! # Trust
//!
//! Processes of one job trust each other's code, not each other's life: a process may die at any point, but a writer
//! does not write after it sealed. Control words in shared memory are read once and checked against their bounds. A
//! process receives the descriptors of its own job only.
//!
//! # Small objects
//!
//! Objects up to 128 KiB are created, sealed, read and freed by their process without the store's help, in arenas that
//! it leases. Other processes find them as soon as they are sealed: who misses an object asks the store, which first
//! takes over what its clients have published.
//!
//! # Space
//!
//! Above a threshold, sealed objects that nobody reads are spilled to disk, the least recently used first, and restored
//! by [`Client::get`]. An object that is read is neither moved nor freed. When nothing can make way, [`Client::create`]
//! waits, then fails with what holds the memory.

mod guard;
mod handover;
mod sync;

#[cfg(not(ray_loom))]
mod alloc;
#[cfg(not(ray_loom))]
mod client;
#[cfg(not(ray_loom))]
mod error;
#[cfg(not(ray_loom))]
mod handshake;
#[cfg(not(ray_loom))]
mod ids;
#[cfg(not(ray_loom))]
mod index;
#[cfg(not(ray_loom))]
mod memory;
#[cfg(not(ray_loom))]
mod pins;
#[cfg(not(ray_loom))]
mod publish;
#[cfg(not(ray_loom))]
mod server;
#[cfg(not(ray_loom))]
mod wire;

#[cfg(not(ray_loom))]
pub use client::{Client, View, Writer};
#[cfg(not(ray_loom))]
pub use error::{Error, Holder, Usage};
#[cfg(not(ray_loom))]
pub use ids::{ClientId, Key};
#[cfg(not(ray_loom))]
pub use server::{ObjectReport, ObjectState, Options, PinReport, Report, Store};
