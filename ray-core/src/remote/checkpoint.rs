//! Actors whose state outlives their process: [`Checkpoint`].

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AnyActor, Instance, TaskError};
use crate::value::{self, Encoded};

/// An actor whose state is saved between calls, and restored when it is restarted or, if it is named, in a later run.
///
/// It is enough to implement the trait; `#[remote]` finds it. When and where a save happens say the options
/// `checkpoint` (every n calls, every t) and `checkpoint_place`. A save is an exclusive point between calls; calls go on
/// while the state is written. After a restore, calls that the saved state contains are not run again, and their results
/// are known; later ones are sent again where `max_task_retries` allows it. Calls that were answered after the last save
/// are lost, except under `checkpoint = 1`, where an answer leaves after the save. The place is the session's directory,
/// which ends with the session; in a directory or object storage given by `checkpoint_place`, an actor with the same name
/// and namespace goes on where the last one was saved, also in a later run.
///
/// The state holds values: references and handles end with the process that holds them, so a state with any is not
/// saved. A save that fails ends neither the actor nor what was saved before;
/// [`list_actors`](crate::list_actors) shows why, and `checkpoint = 1` tells the callers
/// ([`RayError::Checkpoint`](crate::RayError::Checkpoint)).
///
/// ```
/// use ray_core::Checkpoint;
///
/// struct Tally {
///     total: i64,
///     cache: Vec<String>,
/// }
///
/// impl Checkpoint for Tally {
///     type State = i64;
///
///     fn save(&self) -> i64 {
///         self.total
///     }
///
///     fn restore(total: i64) -> Self {
///         Self { total, cache: Vec::new() }
///     }
/// }
/// ```
pub trait Checkpoint: Sized {
    /// What is saved.
    type State: Serialize + DeserializeOwned;

    /// The state to save. No call of the actor runs meanwhile.
    fn save(&self) -> Self::State;

    /// An instance with a saved state; the constructor is not called.
    fn restore(state: Self::State) -> Self;
}

/// [`Checkpoint`] of a type that the runtime does not know.
#[derive(Clone, Copy)]
pub struct CheckpointVTable {
    /// Saves an instance.
    pub save: fn(&AnyActor) -> Result<Encoded, TaskError>,
    /// Makes an instance of a saved state.
    pub restore: fn(&Bytes) -> Result<Instance, TaskError>,
}

impl fmt::Debug for CheckpointVTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointVTable")
    }
}

/// Asks, in generated code, whether `A` implements [`Checkpoint`].
#[derive(Debug)]
pub struct Probe<A>(PhantomData<fn() -> A>);

impl<A> Probe<A> {
    /// The question.
    #[expect(clippy::new_without_default, reason = "only generated code asks")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// The answer yes, found first because its receiver has one reference more.
pub trait Implemented {
    /// How to save and restore.
    fn vtable(&self) -> Option<CheckpointVTable>;
}

impl<A: Checkpoint + Send + Sync + 'static> Implemented for &Probe<A> {
    fn vtable(&self) -> Option<CheckpointVTable> {
        Some(CheckpointVTable {
            save: save::<A>,
            restore: restore::<A>,
        })
    }
}

/// The answer no.
pub trait NotImplemented {
    /// Nothing.
    fn vtable(&self) -> Option<CheckpointVTable>;
}

impl<A> NotImplemented for Probe<A> {
    fn vtable(&self) -> Option<CheckpointVTable> {
        None
    }
}

fn save<A: Checkpoint + 'static>(instance: &AnyActor) -> Result<Encoded, TaskError> {
    let actor = instance
        .downcast_ref::<A>()
        .ok_or_else(super::actor::wrong_instance::<A>)?;
    value::encode(&actor.save())
        .map_err(|error| TaskError::internal(format!("the state of `{}` cannot be saved: {error}", type_name::<A>())))
}

fn restore<A: Checkpoint + Send + Sync + 'static>(state: &Bytes) -> Result<Instance, TaskError> {
    let state = value::decode(state).map_err(|error| {
        TaskError::internal(format!(
            "the checkpoint is not a state of `{}`: {error}",
            type_name::<A>()
        ))
    })?;
    Ok(Box::new(A::restore(state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Saved(u32);
    struct Unsaved;

    impl Checkpoint for Saved {
        type State = u32;

        fn save(&self) -> u32 {
            self.0
        }

        fn restore(state: u32) -> Self {
            Self(state)
        }
    }

    #[test]
    #[expect(
        clippy::needless_borrow,
        reason = "the references choose the answer, as in generated code"
    )]
    fn the_probe_finds_exactly_the_types_that_implement_it() {
        assert!((&&Probe::<Unsaved>::new()).vtable().is_none());
        let vtable = (&&Probe::<Saved>::new()).vtable().unwrap();
        let bytes = (vtable.save)(&Saved(7)).unwrap().to_bytes();
        let restored = (vtable.restore)(&bytes).unwrap();
        assert_eq!(restored.downcast_ref::<Saved>().unwrap().0, 7);
        assert!((vtable.save)(&Unsaved).is_err());
    }
}
