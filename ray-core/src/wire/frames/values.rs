//! Values on their way: what goes into a task, what comes out of it, what an owner answers.
//!
//! A small one travels whole; of a large one the frame says that it is in the node's object store. The references inside
//! are handed over with either.

use bytes::Bytes;

use crate::error::RayError;
use crate::ids::{ObjectId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// One argument.
    #[derive(Debug, Clone)]
    enum ArgSpec {
        1 =>
        /// A value, encoded as an object.
        Inline {
            /// The object.
            object: Bytes,
        },
        2 =>
        /// A value in the object store of the node.
        Stored {
            /// The object.
            object: ObjectId,
            /// Its owner.
            owner: WorkerId,
            /// The references inside it, handed over to the receiver of this frame.
            refs: Vec<(ObjectId, WorkerId)>,
        },
    }

    /// What became of a task.
    #[derive(Debug, Clone)]
    enum TaskOutcome {
        1 =>
        /// Its results, in order.
        Returned {
            /// One a result.
            values: Vec<ObjectValue>,
        },
        2 =>
        /// It failed.
        Failed {
            /// Why.
            error: RayError,
            /// Whether the task's retry rule covers this error.
            retry: bool,
        },
        3 =>
        /// A stream ended after this many items.
        StreamEnded {
            /// How many.
            items: u64,
        },
        4 =>
        /// It did not run, because an argument in the store is gone.
        ArgumentUnreadable {
            /// The argument.
            object: ObjectId,
            /// What the store said.
            why: String,
            /// Whether it still is gone: the owner looks again.
            lost: bool,
        },
    }

    /// The value of an object, as it travels.
    #[derive(Debug, Clone)]
    enum ObjectValue {
        1 =>
        /// A small one, whole.
        Inline {
            /// The object.
            object: Bytes,
        },
        2 =>
        /// A large one: in the object store of the node.
        Stored {
            /// Its size.
            size: u64,
            /// The references inside it, handed over to the receiver of this frame.
            refs: Vec<(ObjectId, WorkerId)>,
        },
        3 =>
        /// None, for this reason.
        Failed {
            /// The reason.
            error: RayError,
        },
    }
}

/// The references in an encoded object, with their owners.
fn references_in(object: &Bytes) -> Vec<(ObjectId, WorkerId)> {
    let tokens = crate::value::refs_of(object).unwrap_or_default();
    tokens.into_iter().map(|token| (token.object, token.owner)).collect()
}

impl ArgSpec {
    /// What it adds to a frame.
    pub fn inline_len(&self) -> usize {
        match self {
            Self::Inline { object } => object.len(),
            Self::Stored { .. } => 0,
        }
    }

    /// The references inside the argument, with their owners.
    pub fn references(&self) -> Vec<(ObjectId, WorkerId)> {
        match self {
            Self::Inline { object } => references_in(object),
            Self::Stored { refs, .. } => refs.clone(),
        }
    }
}

/// What the values in one frame come to at most: far less than a frame may (`wire::socket::MAX_FRAME`).
pub const MOST_INLINE: usize = 64 << 20;

/// Larger ones are not even tried by ring.
const LARGEST_PLAIN: usize = 1 << 20;

impl ObjectValue {
    /// The references inside the value, with their owners.
    pub fn references(&self) -> Vec<(ObjectId, WorkerId)> {
        match self {
            Self::Inline { object } => references_in(object),
            Self::Stored { refs, .. } => refs.clone(),
            Self::Failed { .. } => Vec::new(),
        }
    }

    /// What it adds to a frame.
    pub fn inline_len(&self) -> usize {
        match self {
            Self::Inline { object } => object.len(),
            Self::Stored { .. } | Self::Failed { .. } => 0,
        }
    }

    /// Whether it is known to hold no reference, and to be small enough for a ring: not so of bytes that are no object.
    pub(super) fn is_plain(&self) -> bool {
        match self {
            Self::Inline { object } if object.len() > LARGEST_PLAIN => false,
            Self::Inline { object } => crate::value::refs_of(object).is_ok_and(|refs| refs.is_empty()),
            Self::Stored { refs, .. } => refs.is_empty(),
            Self::Failed { .. } => true,
        }
    }
}
