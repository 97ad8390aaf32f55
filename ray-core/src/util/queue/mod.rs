//! [`Queue`]: items in order between any tasks, actors and the driver.

mod actor;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::object_ref::ObjectRef;
use crate::api::{get, get_timeout, kill};
use crate::error::{RayError, Result};
use crate::remote::{ActorHandle, ActorOptions};
use actor::{Item, Placed, QueueActor, QueueActorHandle, Taken};

/// How long [`Queue::shutdown`] waits for those who still wait at the queue.
const GRACE: Duration = Duration::from_secs(5);

/// A queue between any number of tasks, actors and drivers, first in, first out.
///
/// It lives in an actor of its own, which takes no CPU. Clones are the same queue; they can be passed to tasks and stored
/// in values. When the last one is gone, the queue ends, and with it the items in it.
///
/// An item is copied into the queue and out of it. For large ones [`put`](crate::put) the value and queue its
/// [`ObjectRef`]: the queue keeps it alive.
///
/// ```
/// # use ray_core::prelude::*;
/// use std::time::Duration;
///
/// use ray_core::util::Queue;
///
/// #[remote]
/// fn produce(queue: Queue<u64>) -> Result<(), RayError> {
///     (0..3).try_for_each(|number| queue.put(&number))
/// }
///
/// # fn main() -> ray_core::Result<()> {
/// let _ray = init()?;
/// let queue = Queue::new(2);
/// let produced = produce::remote(&queue);
/// let received = [queue.get()?, queue.get()?, queue.get()?];
/// assert_eq!(received, [0, 1, 2]);
/// get(&produced)?;
/// let empty = queue.get_timeout(Duration::from_millis(10));
/// assert!(matches!(empty, Err(RayError::QueueEmpty { .. })));
/// # Ok(()) }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Queue<T> {
    actor: QueueActorHandle,
    maxsize: u64,
    items: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            maxsize: self.maxsize,
            items: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("actor", &self.actor.raw().id())
            .field("maxsize", &self.maxsize)
            .finish_non_exhaustive()
    }
}

impl<T> From<&Queue<T>> for crate::Arg<Queue<T>> {
    fn from(queue: &Queue<T>) -> Self {
        queue.clone().into()
    }
}

impl<T: Serialize + DeserializeOwned> Queue<T> {
    /// A new queue of at most `maxsize` items; of any number with 0. What goes wrong is the error of the first use.
    pub fn new(maxsize: usize) -> Self {
        Self {
            actor: QueueActor::remote(maxsize),
            maxsize: maxsize as u64,
            items: PhantomData,
        }
    }

    /// As [`new`](Self::new), with options for its actor: its name, what it holds, where it runs. How many calls it takes
    /// at once stays the queue's own.
    ///
    /// Under `get_if_exists` it may be a living queue of that name. Its size stays what it was: give the same one.
    pub fn with_options(maxsize: usize, options: ActorOptions) -> Self {
        Self {
            actor: actor::create(maxsize, options),
            maxsize: maxsize as u64,
            items: PhantomData,
        }
    }

    /// Puts an item at the end, waiting for room.
    ///
    /// # Errors
    /// [`RayError::ActorDied`] if the queue was shut down or its process died, [`RayError::Encode`] of an item that cannot
    /// be sent.
    pub fn put(&self, item: &T) -> Result<()> {
        self.placed(1, get(self.send(std::iter::once(item), None)?)?)
    }

    /// As [`put`](Self::put), for this long at most. The time counts from when the queue hears of it.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`RayError::QueueFull`] when the time is over: the item is not in the queue.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<()> {
        self.placed(1, get(self.send(std::iter::once(item), Some(timeout))?)?)
    }

    /// Puts an item at the end if there is room now.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_nowait(&self, item: &T) -> Result<()> {
        self.put_timeout(item, Duration::ZERO)
    }

    /// Puts all of the items if there is room for all of them now; else none.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_nowait_batch<'a>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<()>
    where
        T: 'a,
    {
        let items: Vec<&T> = items.into_iter().collect();
        let number = items.len();
        self.placed(number, get(self.send(items.into_iter(), Some(Duration::ZERO))?)?)
    }

    /// As [`put_timeout`](Self::put_timeout), without blocking; without a limit as [`put`](Self::put). Dropping the future
    /// does not take the item back.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub async fn put_async(&self, item: &T, timeout: Option<Duration>) -> Result<()> {
        self.placed(1, self.send(std::iter::once(item), timeout)?.await?)
    }

    /// Takes the first item, waiting until there is one.
    ///
    /// # Errors
    /// [`RayError::ActorDied`] if the queue was shut down or its process died, [`RayError::Decode`] if the item is no `T`.
    pub fn get(&self) -> Result<T> {
        self.first(get(self.ask(1, None))?)
    }

    /// As [`get`](Self::get), for this long at most. The time counts from when the queue hears of it.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`RayError::QueueEmpty`] when the time is over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T> {
        self.first(get(self.ask(1, Some(timeout)))?)
    }

    /// Takes the first item if there is one now.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_nowait(&self) -> Result<T> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first so many items if there are that many now; else none.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_nowait_batch(&self, number: usize) -> Result<Vec<T>> {
        // No queue holds more.
        let asked = u32::try_from(number).unwrap_or(u32::MAX);
        self.taken(number, get(self.ask(asked, Some(Duration::ZERO)))?)
    }

    /// As [`get_timeout`](Self::get_timeout), without blocking; without a limit as [`get`](Self::get). An item that comes
    /// after the future was dropped is lost.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub async fn get_async(&self, timeout: Option<Duration>) -> Result<T> {
        self.first(self.ask(1, timeout).await?)
    }

    /// How many items are in the queue.
    ///
    /// # Errors
    /// [`RayError::ActorDied`] if the queue was shut down or its process died.
    pub fn qsize(&self) -> Result<usize> {
        let size = get(self.actor.qsize())?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// Whether the queue is empty.
    ///
    /// # Errors
    /// As [`qsize`](Self::qsize).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.qsize()? == 0)
    }

    /// Whether the queue is full; one without a `maxsize` never is.
    ///
    /// # Errors
    /// As [`qsize`](Self::qsize).
    pub fn is_full(&self) -> Result<bool> {
        Ok(self.maxsize > 0 && self.qsize()? as u64 >= self.maxsize)
    }

    /// The most items that it holds; 0 for any number.
    pub fn maxsize(&self) -> usize {
        usize::try_from(self.maxsize).unwrap_or(usize::MAX)
    }

    /// Ends the queue for all its clones: its items are dropped, and who waits at it, or uses it later, gets
    /// [`RayError::ActorDied`]. Without `force` those who wait are told first, for at most five seconds.
    ///
    /// # Errors
    /// [`RayError::Disconnected`], [`RayError::SessionEnded`].
    pub fn shutdown(&self, force: bool) -> Result<()> {
        if !force {
            match get_timeout(self.actor.close(), GRACE) {
                // It is dead already, or does not answer: it ends all the same.
                Ok(())
                | Err(RayError::ActorDied { .. } | RayError::ActorUnavailable { .. } | RayError::GetTimeout { .. }) => {
                }
                Err(error) => return Err(error),
            }
        }
        kill(&self.actor, true)
    }

    fn send<'a>(&self, items: impl Iterator<Item = &'a T>, timeout: Option<Duration>) -> Result<ObjectRef<Placed>>
    where
        T: 'a,
    {
        let items: Vec<Item> = items.map(Item::of).collect::<Result<_>>()?;
        Ok(self.actor.put(items, timeout))
    }

    fn ask(&self, number: u32, timeout: Option<Duration>) -> ObjectRef<Taken> {
        self.actor.get(number, timeout)
    }

    fn placed(&self, number: usize, placed: Placed) -> Result<()> {
        match placed {
            Placed::Done => Ok(()),
            Placed::Full(held) => Err(RayError::QueueFull {
                held,
                maxsize: self.maxsize,
                given: number as u64,
            }),
            Placed::Closed => Err(self.closed()),
        }
    }

    fn first(&self, taken: Taken) -> Result<T> {
        let mut items = self.taken(1, taken)?;
        items
            .pop()
            .ok_or_else(|| RayError::internal("a queue gave no item for one that was asked for"))
    }

    fn taken(&self, number: usize, taken: Taken) -> Result<Vec<T>> {
        match taken {
            Taken::Items(items) => items.iter().map(Item::read).collect(),
            Taken::Empty(held) => Err(RayError::QueueEmpty {
                held,
                wanted: number as u64,
            }),
            Taken::Closed => Err(self.closed()),
        }
    }

    fn closed(&self) -> RayError {
        RayError::ActorDied {
            actor: self.actor.raw().id(),
            name: self.actor.raw().type_name.to_string(),
            cause: "the queue was shut down".into(),
        }
    }
}
