//! The actor behind a queue: items as bytes, and two counts that are waited for.
//!
//! A call that waits holds a place in its concurrency group, so those that put and those that get have a group each: as
//! many getters as there may be cannot keep a putter from its turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use crate::api::object_ref::{ObjectRef, RawRef};
use crate::error::{RayError, Result};
use crate::remote;
use crate::remote::ActorOptions;
use crate::value::{self, Buffer};

/// The type of an item that the queue itself does not know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Opaque {}

/// An item as the queue keeps it: encoded, and what it refers to held alive.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    object: Buffer,
    refs: Vec<ObjectRef<Opaque>>,
}

impl Item {
    pub(super) fn of<T: Serialize>(item: &T) -> Result<Self> {
        let encoded = value::encode(item).map_err(|error| RayError::Encode {
            what: format!("an item of a queue, a `{}`,", std::any::type_name::<T>()),
            why: error.to_string(),
        })?;
        let refs = encoded
            .refs
            .iter()
            .map(|token| Ok(ObjectRef::from_raw(RawRef::adopt(token)?)));
        Ok(Self {
            refs: refs.collect::<Result<_>>()?,
            object: Buffer::from(encoded.to_bytes()),
        })
    }

    /// The item itself. What it refers to is counted by this process before the item's own references are.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        value::decode(&self.object.clone().into()).map_err(|error| RayError::Decode {
            what: "an item of a queue".into(),
            ty: std::any::type_name::<T>().to_owned(),
            why: error.to_string(),
        })
    }
}

/// What came of putting.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Placed {
    Done,
    /// So many items were in the way.
    Full(u64),
    Closed,
}

/// What came of getting.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Taken {
    Items(Vec<Item>),
    /// So many items were there.
    Empty(u64),
    Closed,
}

/// Items in their order. Those who wait are served in the order in which they came.
pub(super) struct QueueActor {
    items: Mutex<VecDeque<Item>>,
    /// One permit for each item.
    filled: Semaphore,
    /// One permit for each item that still fits; none at all where any number fits.
    space: Option<Semaphore>,
}

/// An actor of a queue with these options, but for its groups, which are its own.
pub(super) fn create(maxsize: usize, options: ActorOptions) -> QueueActorHandle {
    let mut builder = QueueActor::options();
    builder.options = Arc::new(ActorOptions {
        num_cpus: options.num_cpus.or(builder.options.num_cpus),
        max_concurrency: builder.options.max_concurrency,
        concurrency_groups: builder.options.concurrency_groups.clone(),
        ..options
    });
    builder.remote(maxsize)
}

/// How a permit was not given.
enum Denied {
    /// Not in time.
    Late,
    Closed,
}

impl From<TryAcquireError> for Denied {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::Closed => Self::Closed,
            TryAcquireError::NoPermits => Self::Late,
        }
    }
}

async fn acquire(
    semaphore: &Semaphore,
    number: u32,
    timeout: Option<Duration>,
) -> std::result::Result<SemaphorePermit<'_>, Denied> {
    let permits = semaphore.acquire_many(number);
    let permit = match timeout {
        None => permits.await,
        // A time of zero only looks, and looks before it gives up.
        Some(Duration::ZERO) => return Ok(semaphore.try_acquire_many(number)?),
        Some(limit) => tokio::time::timeout(limit, permits).await.map_err(|_| Denied::Late)?,
    };
    permit.map_err(|_| Denied::Closed)
}

#[remote(num_cpus = 0, max_concurrency = 1000, concurrency_groups(put = 1000, get = 1000))]
impl QueueActor {
    /// Of at most `maxsize` items; of any number with 0.
    pub(super) fn new(maxsize: usize) -> Self {
        Self {
            items: Mutex::default(),
            filled: Semaphore::new(0),
            space: (maxsize > 0).then(|| Semaphore::new(maxsize.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Puts all of the items or none.
    #[method(concurrency_group = "put")]
    pub(super) async fn put(&self, items: Vec<Item>, timeout: Option<Duration>) -> Placed {
        let Ok(number) = u32::try_from(items.len()) else {
            return Placed::Full(self.qsize());
        };
        if let Some(space) = &self.space {
            match acquire(space, number, timeout).await {
                Ok(permit) => permit.forget(),
                Err(Denied::Late) => return Placed::Full(self.qsize()),
                Err(Denied::Closed) => return Placed::Closed,
            }
        }
        if self.filled.is_closed() {
            return Placed::Closed;
        }
        self.items().extend(items);
        self.filled.add_permits(number as usize);
        Placed::Done
    }

    /// Takes so many items or none.
    #[method(concurrency_group = "get")]
    pub(super) async fn get(&self, number: u32, timeout: Option<Duration>) -> Taken {
        match acquire(&self.filled, number, timeout).await {
            Ok(permit) => permit.forget(),
            Err(Denied::Late) => return Taken::Empty(self.qsize()),
            Err(Denied::Closed) => return Taken::Closed,
        }
        let number = number as usize;
        let mut items = self.items();
        if items.len() < number {
            // There is an item for each permit, unless the queue was closed meanwhile.
            return Taken::Closed;
        }
        let taken = items.drain(..number).collect();
        drop(items);
        if let Some(space) = &self.space {
            space.add_permits(number);
        }
        Taken::Items(taken)
    }

    pub(super) fn qsize(&self) -> u64 {
        self.items().len() as u64
    }

    /// Nothing is put or got any more: those who wait hear of it.
    pub(super) fn close(&self) {
        self.filled.close();
        if let Some(space) = &self.space {
            space.close();
        }
        self.items().clear();
    }

    #[local]
    fn items(&self) -> std::sync::MutexGuard<'_, VecDeque<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
