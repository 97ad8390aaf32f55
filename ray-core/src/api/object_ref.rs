//! References to objects and actors.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{ActorId, ObjectId};

/// A reference without its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawRef {
    /// The object.
    pub id: ObjectId,
}

/// A reference to an object of type `T` that may not exist yet.
pub struct ObjectRef<T> {
    raw: RawRef,
    object: PhantomData<fn() -> T>,
}

impl<T> ObjectRef<T> {
    /// Gives a reference its type.
    pub fn from_raw(raw: RawRef) -> Self {
        Self {
            raw,
            object: PhantomData,
        }
    }

    /// The reference without its type.
    pub fn raw(&self) -> &RawRef {
        &self.raw
    }

    /// The reference without its type.
    pub fn into_raw(self) -> RawRef {
        self.raw
    }
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        Self::from_raw(self.raw.clone())
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({:?})", self.raw.id)
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawRef::deserialize(deserializer).map(Self::from_raw)
    }
}

/// The references that a streaming call yields, one after another.
pub struct ObjectRefStream<T> {
    raw: RawRef,
    items: PhantomData<fn() -> T>,
}

impl<T> ObjectRefStream<T> {
    /// Gives a stream its type.
    pub fn from_raw(raw: RawRef) -> Self {
        Self {
            raw,
            items: PhantomData,
        }
    }

    /// The stream without its type.
    pub fn raw(&self) -> &RawRef {
        &self.raw
    }
}

impl<T> fmt::Debug for ObjectRefStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRefStream({:?})", self.raw.id)
    }
}

/// An actor's handle without its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawActorHandle {
    /// The actor.
    pub id: ActorId,
}
