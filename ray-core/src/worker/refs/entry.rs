//! What a process knows of one object: who holds it here, and whose it is.

use smallvec::{SmallVec, smallvec};

use super::Hold;
use crate::ids::{ObjectId, WorkerId};

/// What is known of an object. An owned one that was never lent nor filled with references takes no heap.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) holds: [u32; 3],
    pub(super) role: Role,
}

#[derive(Debug)]
pub(super) enum Role {
    Owned(Option<Box<Lent>>),
    Borrowed(Box<Borrowed>),
}

/// What only few owned objects have.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Registrations, none of them zero.
    pub(super) registrations: SmallVec<[(WorkerId, i64); 1]>,
    pub(super) contained: Vec<ObjectId>,
}

#[derive(Debug)]
pub(super) struct Borrowed {
    pub(super) owner: WorkerId,
    pub(super) received: u32,
    pub(super) owner_died: bool,
    pub(super) contained: Vec<ObjectId>,
}

impl Entry {
    pub(super) fn new(role: Role) -> Self {
        Self { holds: [0; 3], role }
    }

    pub(super) fn hold(&mut self, hold: Hold) {
        // Saturated, the object lives as long as its process: too long rather than too short.
        let count = &mut self.holds[hold as usize];
        *count = count.saturating_add(1);
    }

    /// Tells whether there was such a hold.
    pub(super) fn unhold(&mut self, hold: Hold) -> bool {
        let count = &mut self.holds[hold as usize];
        match *count {
            0 => false,
            u32::MAX => true,
            _ => {
                *count -= 1;
                true
            }
        }
    }

    pub(super) fn is_in_scope(&self) -> bool {
        self.holds != [0; 3] || matches!(&self.role, Role::Owned(Some(lent)) if !lent.registrations.is_empty())
    }

    pub(super) fn contained_mut(&mut self) -> &mut Vec<ObjectId> {
        match &mut self.role {
            Role::Owned(lent) => &mut lent.get_or_insert_default().contained,
            Role::Borrowed(borrowed) => &mut borrowed.contained,
        }
    }
}

/// How the registration of a process at an object of ours changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registration {
    /// It is registered, and was not.
    New,
    Changed,
    /// It was registered, and is not any more.
    Gone,
}

impl Lent {
    /// Changes the registration of `worker`, and forgets it when it becomes zero.
    pub(super) fn register(&mut self, worker: WorkerId, change: i64) -> Registration {
        let Some(at) = self.registrations.iter().position(|(borrower, _)| *borrower == worker) else {
            if self.registrations.is_empty() {
                self.registrations = smallvec![(worker, change)];
            } else {
                self.registrations.push((worker, change));
            }
            return Registration::New;
        };
        let count = &mut self.registrations[at].1;
        *count += change;
        if *count != 0 {
            return Registration::Changed;
        }
        self.registrations.swap_remove(at);
        Registration::Gone
    }
}
