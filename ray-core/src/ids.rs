//! Identities of nodes, workers, jobs, tasks, actors and objects.
//!
//! All are plain values of fixed width, written as lower-case hex. A [`TaskId`] carries the first eight bytes of the
//! [`WorkerId`] that owns it, and an [`ObjectId`] carries its task, so the owner of any object can be told from its id.

use std::fmt;
use std::str::FromStr;

pub(crate) use crate::id_hash::IdHasher;
use serde::{Deserialize, Serialize};

/// Text that is not the hex form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: expected {digits} hex digits")]
pub struct ParseIdError {
    /// The type of id that was expected.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// How many hex digits the id has.
    pub digits: usize,
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(kind: &'static str, text: &str) -> Result<[u8; N], ParseIdError> {
    let malformed = || ParseIdError {
        kind,
        text: text.chars().take(80).collect(),
        digits: 2 * N,
    };
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| malformed())?;
    }
    Ok(bytes)
}

/// Sixteen random bytes from the kernel.
fn random_bytes() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        // Only where the system call is forbidden: the standard library's hasher keys are random per process and thread.
        for half in bytes.chunks_mut(8) {
            let mut hasher = std::hash::RandomState::new().build_hasher();
            hasher.write_u32(std::process::id());
            half.copy_from_slice(&hasher.finish().to_le_bytes());
        }
    }
    bytes
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        pub struct $name(pub(crate) [u8; $len]);

        impl $name {
            /// The id made of these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Whether this is the all-zero id, which names nothing.
            pub fn is_nil(&self) -> bool {
                self.0 == [0; $len]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(stringify!($name), text).map(Self)
            }
        }
    };
}

byte_id!(
    /// A node of the cluster, for as long as its raylet lives.
    NodeId, 16);
byte_id!(
    /// A worker process (or a driver), for as long as the process lives. Also the address of the objects it owns.
    WorkerId, 16);
byte_id!(
    /// An actor, across its restarts.
    ActorId, 16);
byte_id!(
    /// A placement group.
    PlacementGroupId, 16);
byte_id!(
    /// A task: the first eight bytes of its owner's [`WorkerId`] and a counter of that owner. Attempts share the id.
    TaskId, 16);
byte_id!(
    /// An object: the task that made it and an index (results from 1, puts from 2^31).
    ObjectId, 20);

macro_rules! random_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                Self(random_bytes())
            }
        }
    )*};
}
random_id!(NodeId, WorkerId, ActorId, PlacementGroupId);

/// The first index of objects made by `put`; results of tasks are counted from 1.
pub const FIRST_PUT_INDEX: u32 = 1 << 31;

/// The first eight bytes of a [`WorkerId`]: what a task or object id tells of its owner.
pub type OwnerPrefix = [u8; 8];

impl WorkerId {
    /// A new id of a process on this node: the node can be told from it.
    pub fn random_on(node: NodeId) -> Self {
        let mut bytes = random_bytes();
        bytes[8..].copy_from_slice(&first_eight(&node.0));
        Self(bytes)
    }

    /// Whether this process is on the node.
    pub fn is_on(&self, node: NodeId) -> bool {
        self.0[8..] == first_eight(&node.0)
    }

    /// The part of this id that the ids of its tasks and objects carry.
    pub fn prefix(&self) -> OwnerPrefix {
        first_eight(&self.0)
    }
}

impl TaskId {
    /// The `counter`-th task of `owner`.
    pub fn new(owner: WorkerId, counter: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&owner.prefix());
        bytes[8..].copy_from_slice(&counter.to_le_bytes());
        Self(bytes)
    }

    /// The first eight bytes of the owner's id.
    pub fn owner_prefix(&self) -> OwnerPrefix {
        first_eight(&self.0)
    }

    /// The object with this index among the task's results (from 1) or puts (from [`FIRST_PUT_INDEX`]).
    pub fn object(&self, index: u32) -> ObjectId {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&self.0);
        bytes[16..].copy_from_slice(&index.to_le_bytes());
        ObjectId(bytes)
    }
}

impl ObjectId {
    /// The task that made the object.
    pub fn task(&self) -> TaskId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        TaskId(bytes)
    }

    /// The object's index among the results or puts of its task.
    pub fn index(&self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[16..]);
        u32::from_le_bytes(bytes)
    }

    /// Whether the object was made by `put`, so that no task can make it again.
    pub fn is_put(&self) -> bool {
        self.index() >= FIRST_PUT_INDEX
    }

    /// The first eight bytes of the owner's id.
    pub fn owner_prefix(&self) -> OwnerPrefix {
        first_eight(&self.0)
    }
}

fn first_eight(bytes: &[u8]) -> OwnerPrefix {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&bytes[..8]);
    prefix
}

/// A job: one driver's run, numbered by the GCS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct JobId(pub(crate) u32);

impl JobId {
    /// The job with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The job's number.
    pub const fn number(&self) -> u32 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex::<4>("JobId", text).map(|bytes| Self(u32::from_be_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_tells_its_task_index_and_owner() {
        let owner = WorkerId::random();
        let task = TaskId::new(owner, 7);
        let object = task.object(3);
        assert_eq!(object.task(), task);
        assert_eq!(object.index(), 3);
        assert_eq!(object.owner_prefix(), owner.prefix());
        assert!(!object.is_put());
        assert!(task.object(FIRST_PUT_INDEX).is_put());
    }

    #[test]
    fn text_and_id_turn_into_each_other() {
        let id = ActorId::random();
        assert_eq!(id.to_string().parse::<ActorId>(), Ok(id));
        assert_eq!(JobId::new(258).to_string(), "00000102");
        assert_eq!("00000102".parse::<JobId>(), Ok(JobId::new(258)));
        assert!(
            "xyz"
                .parse::<NodeId>()
                .unwrap_err()
                .to_string()
                .contains("32 hex digits")
        );
    }
}
