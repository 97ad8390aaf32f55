//! The table of remote functions and actors that the linker collects from the whole program.
//!
//! Every `#[remote]` adds one [`RemoteItem`] to [`REMOTE_ITEMS`], a constant without allocation, complete before `main`.
//! Between processes an item is named by its [`ItemKey`]; its *name* is for people.

mod identity;
mod item;
mod suggest;
mod table;

pub use identity::{Identity, ItemKey};
pub use item::{ActorMethod, ActorType, ItemKind, Parameter, Receiver, RemoteFunction, RemoteItem};
pub(crate) use suggest::near_misses;
pub use table::{Registry, RegistryError};

/// Where the linker puts the items.
#[linkme::distributed_slice]
pub static REMOTE_ITEMS: [RemoteItem];
