//! The objects that this process knows: their values or where they are, and who waits for them here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, TaskId, WorkerId};
use crate::worker::native::NativeValue;
use crate::worker::state::Out;
use crate::worker::waiter::Waiter;

/// What is known of an object's value.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    /// Its task has not ended, or its owner has not answered.
    Pending,
    /// A small value, encoded as an object.
    Inline(Bytes),
    /// A large value, in the object store of the node.
    Stored { size: u64 },
    /// A value that has not left this process.
    Native(Arc<NativeValue>),
    /// There is no value, for this reason.
    Failed(Box<RayError>),
}

impl Slot {
    pub(crate) fn failed(error: RayError) -> Self {
        Self::Failed(Box::new(error))
    }

    pub(crate) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

/// Who wants to know when an object is ready.
#[derive(Debug)]
pub(crate) enum Interest {
    /// A thread or future of this process.
    Waiter(Weak<Waiter>),
    /// A pending task of this process that takes the object as an argument.
    Dependent(TaskId),
    /// An actor of this process that is to be created with the object.
    Creation(ActorId),
    /// This process, for the actor that the object stands for.
    Handle,
    /// Another process.
    Subscriber(WorkerId),
}

#[derive(Debug)]
struct Object {
    slot: Slot,
    /// Rarely more than one.
    interests: SmallVec<[Interest; 1]>,
    /// This process has asked the owner to be told.
    subscribed: bool,
    /// The store has lost it, and remembers that until it is freed, whatever becomes of the object.
    lost: bool,
}

/// All objects that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    table: HashMap<ObjectId, Object, crate::ids::IdHasher>,
}

impl Objects {
    /// Makes an object known whose value is to come.
    pub(crate) fn expect(&mut self, object: ObjectId) {
        self.table.entry(object).or_insert_with(|| Object {
            slot: Slot::Pending,
            interests: SmallVec::new(),
            subscribed: false,
            lost: false,
        });
    }

    /// What is known of the value; `None` if the object itself is not known.
    pub(crate) fn slot(&self, object: &ObjectId) -> Option<&Slot> {
        self.table.get(object).map(|entry| &entry.slot)
    }

    /// Whether somebody has to ask the owner for the object now: true once.
    pub(crate) fn begin_subscription(&mut self, object: &ObjectId) -> bool {
        let first = |entry: &mut Object| !std::mem::replace(&mut entry.subscribed, true);
        self.table.get_mut(object).is_some_and(first)
    }

    /// Adds an interest in a pending object. Returns it if the object is not pending (or not known).
    pub(crate) fn add_interest(&mut self, object: &ObjectId, interest: Interest) -> Result<(), Interest> {
        match self.table.get_mut(object) {
            Some(entry) if entry.slot.is_pending() => {
                if matches!(interest, Interest::Waiter(_)) && entry.interests.len() >= 16 {
                    entry
                        .interests
                        .retain(|one| !matches!(one, Interest::Waiter(waiter) if waiter.strong_count() == 0));
                }
                entry.interests.push(interest);
                Ok(())
            }
            _ => Err(interest),
        }
    }

    /// Sets the value and returns who wanted to know, and what was there before.
    pub(crate) fn settle(&mut self, object: ObjectId, slot: Slot) -> (SmallVec<[Interest; 1]>, Option<Slot>) {
        match self.table.get_mut(&object) {
            Some(entry) => {
                let before = std::mem::replace(&mut entry.slot, slot);
                (std::mem::take(&mut entry.interests), Some(before))
            }
            // Nobody holds the object any more.
            None => (SmallVec::new(), Some(slot)),
        }
    }

    /// The encoded form of a native value is needed: whoever wants it is told when it is there.
    pub(crate) fn want_encoded(&mut self, object: ObjectId, interest: Interest, out: &mut Out) {
        if let Some(entry) = self.table.get_mut(&object) {
            entry.interests.push(interest);
            out.encode.push(object);
        }
    }

    /// A value that is here as it is.
    pub(crate) fn native(&self, object: &ObjectId) -> Option<Arc<NativeValue>> {
        match &self.table.get(object)?.slot {
            Slot::Native(native) => Some(native.clone()),
            _ => None,
        }
    }

    /// Takes a value out that is here as it is; nobody else can ask for it.
    pub(crate) fn take_native(&mut self, object: &ObjectId) -> Option<Arc<NativeValue>> {
        let entry = self.table.get_mut(object)?;
        match std::mem::replace(&mut entry.slot, Slot::Pending) {
            Slot::Native(native) => Some(native),
            other => {
                entry.slot = other;
                None
            }
        }
    }

    /// Makes a value that was in the store pending again: it is being made anew, or asked for anew.
    pub(crate) fn reset(&mut self, object: &ObjectId) {
        if let Some(entry) = self.table.get_mut(object)
            && matches!(entry.slot, Slot::Stored { .. })
        {
            entry.slot = Slot::Pending;
            entry.subscribed = false;
            entry.lost = true;
        }
    }

    /// Forgets an object. Returns whether the store knows it, and what must be dropped without the lock: a native value may
    /// hold references.
    pub(crate) fn remove(&mut self, object: &ObjectId) -> Option<(bool, Slot)> {
        let entry = self.table.remove(object)?;
        let stored = entry.lost || matches!(entry.slot, Slot::Stored { .. });
        Some((stored, entry.slot))
    }

    /// Every object and its slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Slot)> {
        self.table.iter().map(|(id, entry)| (id, &entry.slot))
    }
}
