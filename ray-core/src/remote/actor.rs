//! Types that live as actors, and their handles.

use std::any::{Any, type_name};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AnyActor, Instance, TaskError};
use crate::api::object_ref::RawActorHandle;
use crate::registry::{ItemKey, RemoteItem};

/// What an actor's type must be: `Send + Sync + 'static`, since its calls run on several threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an actor",
    label = "must be `Send + Sync + 'static`",
    note = "calls of an actor run on different threads, and `&self` calls at the same time",
    note = "use `Arc` for `Rc`, `Mutex` for `Cell` and `RefCell`, and owned data for references"
)]
pub trait ActorState: Any + Send + Sync {}

#[diagnostic::do_not_recommend]
impl<A: Any + Send + Sync> ActorState for A {}

/// A type with a `#[remote] impl`.
pub trait Actor: Any + Sized {
    /// Its handle.
    type Handle: ActorHandle<Actor = Self>;

    /// Its entry in the table of remote items.
    fn item() -> &'static RemoteItem;
}

/// The handle of an actor, which `#[remote]` generates: `CounterHandle` for `Counter`.
pub trait ActorHandle: Clone + Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static {
    /// The actor's type.
    type Actor: Actor<Handle = Self>;

    /// The handle without its type.
    fn raw(&self) -> &RawActorHandle;

    /// Gives a handle its type. The caller knows that the actor is of that type.
    fn from_raw(raw: RawActorHandle) -> Self;
}

/// A new instance; this is where an actor's type must be an [`ActorState`], so that the compiler says it once.
pub fn instance<A: ActorState>(actor: A) -> Instance {
    Box::new(actor)
}

/// The instance as the type that the body was made for.
///
/// # Errors
///
/// If the runtime called the body on an instance of another type.
pub fn shared<A: Any>(instance: &AnyActor) -> Result<&A, TaskError> {
    instance.downcast_ref().ok_or_else(wrong_instance::<A>)
}

/// The instance as the type that the body was made for.
///
/// # Errors
///
/// If the runtime called the body on an instance of another type.
pub fn exclusive<A: Any>(instance: &mut AnyActor) -> Result<&mut A, TaskError> {
    instance.downcast_mut().ok_or_else(wrong_instance::<A>)
}

#[cold]
pub(super) fn wrong_instance<A>() -> TaskError {
    TaskError::internal(format!("the instance is no `{}`", type_name::<A>()))
}

/// Writes a handle: its type's key and the handle itself.
///
/// # Errors
///
/// If the serializer is not ray-core's own.
pub fn serialize_handle<H: ActorHandle, S: Serializer>(handle: &H, serializer: S) -> Result<S::Ok, S::Error> {
    (H::Actor::item().key(), handle.raw()).serialize(serializer)
}

/// Reads a handle.
///
/// # Errors
///
/// If there is none at this place, or it belongs to another type of actor.
pub fn deserialize_handle<'de, H: ActorHandle, D: Deserializer<'de>>(deserializer: D) -> Result<H, D::Error> {
    let (key, raw) = <(ItemKey, RawActorHandle)>::deserialize(deserializer)?;
    let item = H::Actor::item();
    if key == item.key() {
        return Ok(H::from_raw(raw));
    }
    let expected = item.identity().name;
    Err(serde::de::Error::custom(format_args!(
        "the handle is not of the actor `{expected}`"
    )))
}
