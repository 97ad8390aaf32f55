//! References inside values: what travels of an `ObjectRef` or an actor handle.
//!
//! A value's references stand in a list of their own in its object, so that the runtime can count and pin them without
//! decoding the value ([`refs_of`](super::refs_of)). The place in the value holds only the index.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use super::foreign::{self, Handle};
use crate::ids::{ActorId, ObjectId, WorkerId};

/// What a [`RefToken`] refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefKind {
    /// An object.
    Object,
    /// An actor.
    Actor,
}

/// A reference as it travels in a value: what it refers to and which process owns that.
///
/// It serializes only inside values of ray-core; any other serializer refuses it, since a reference that nobody counts
/// would name an object that may be gone. Data beside it (an actor handle's methods, say) is ordinary data of the type
/// that holds the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefToken {
    /// Whether an object or an actor is referred to.
    pub kind: RefKind,
    /// The object; for an actor, the actor's id and four zeros.
    pub object: ObjectId,
    /// The process that owns what is referred to.
    pub owner: WorkerId,
}

const ID_LEN: usize = 20;
/// Length of a token in an object: kind, id, owner.
pub(super) const TOKEN_LEN: usize = 1 + ID_LEN + 16;

impl RefToken {
    /// A reference to an object.
    pub const fn object(object: ObjectId, owner: WorkerId) -> Self {
        Self {
            kind: RefKind::Object,
            object,
            owner,
        }
    }

    /// A reference to an actor.
    pub fn actor(actor: ActorId, owner: WorkerId) -> Self {
        let mut id = [0; ID_LEN];
        id[..16].copy_from_slice(actor.as_bytes());
        Self {
            kind: RefKind::Actor,
            object: ObjectId::from_bytes(id),
            owner,
        }
    }

    /// The actor referred to, if it is one.
    pub fn actor_id(&self) -> Option<ActorId> {
        let mut id = [0; 16];
        id.copy_from_slice(&self.object.as_bytes()[..16]);
        (self.kind == RefKind::Actor).then(|| ActorId::from_bytes(id))
    }

    pub(super) fn to_bytes(self) -> [u8; TOKEN_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[0] = match self.kind {
            RefKind::Object => 0,
            RefKind::Actor => 1,
        };
        bytes[1..=ID_LEN].copy_from_slice(self.object.as_bytes());
        bytes[1 + ID_LEN..].copy_from_slice(self.owner.as_bytes());
        bytes
    }

    /// The token in these bytes, unless it is of a kind that this program does not know.
    pub(super) fn from_bytes(bytes: &[u8; TOKEN_LEN]) -> Option<Self> {
        let kind = match bytes[0] {
            0 => RefKind::Object,
            1 => RefKind::Actor,
            _ => return None,
        };
        let (mut id, mut owner) = ([0; ID_LEN], [0; 16]);
        id.copy_from_slice(&bytes[1..=ID_LEN]);
        owner.copy_from_slice(&bytes[1 + ID_LEN..]);
        Some(Self {
            kind,
            object: ObjectId::from_bytes(id),
            owner: WorkerId::from_bytes(owner),
        })
    }
}

/// Writes a reference: the `serialize` of every type that is one.
///
/// # Errors
///
/// If `serializer` is not the one of ray-core.
pub fn serialize_ref<S: Serializer>(token: RefToken, serializer: S) -> Result<S::Ok, S::Error> {
    /// What every serializer but ours is asked to write.
    struct Refused(RefKind);

    impl Serialize for Refused {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            let name = match self.0 {
                RefKind::Object => "an ObjectRef",
                RefKind::Actor => "an actor handle",
            };
            Err(ser::Error::custom(format_args!(
                "{name} can only travel in values sent through ray-core (arguments, results, put), \
                 not through another serializer, nor in an enum variant inside an internally tagged enum"
            )))
        }
    }

    foreign::offer(Handle::Ref(token), || {
        serializer.serialize_newtype_struct(foreign::REF_NAME, &Refused(token.kind))
    })
}

/// Reads a reference: the beginning of the `deserialize` of every type that is one. The type then adopts the token in
/// the runtime.
///
/// # Errors
///
/// If `deserializer` is not the one of ray-core, or if there is no reference at this place.
pub fn deserialize_ref<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RefToken, D::Error> {
    deserializer.deserialize_newtype_struct(foreign::REF_NAME, RefVisitor)
}

impl Serialize for RefToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_ref(*self, serializer)
    }
}

impl<'de> Deserialize<'de> for RefToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_ref(deserializer)
    }
}

struct RefVisitor;

impl<'de> Visitor<'de> for RefVisitor {
    type Value = RefToken;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference in a value sent through ray-core")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<RefToken, D::Error> {
        match foreign::take() {
            Some(Handle::Ref(token)) => Ok(token),
            Some(Handle::Buffer(_)) => Err(de::Error::invalid_type(de::Unexpected::Other("a buffer"), &self)),
            None => deserializer.deserialize_bytes(self),
        }
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<RefToken, E> {
        foreign::ref_at(bytes).ok_or_else(|| E::invalid_type(de::Unexpected::Bytes(bytes), &self))
    }
}
