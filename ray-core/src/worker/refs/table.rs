//! One process's part in the reference counts. The rules, and why they are right, stand in the parent module.

use super::dead::DeadWorkers;
use super::entry::{Borrowed, Entry, Lent, Registration, Role};
use super::{Effect, Hold, RefError};
use crate::id_hash::IdMap;
use crate::ids::{ObjectId, WorkerId};

/// The references of one process. Methods take an event and push what is to be done about it.
#[derive(Debug)]
pub struct RefTable {
    pub(super) me: WorkerId,
    pub(super) entries: IdMap<ObjectId, Entry>,
    /// In how many owned objects each process is registered.
    lent_to: IdMap<WorkerId, usize>,
    dead: DeadWorkers,
}

impl RefTable {
    /// The empty table of process `me`.
    pub fn new(me: WorkerId) -> Self {
        Self {
            me,
            entries: IdMap::default(),
            lent_to: IdMap::default(),
            dead: DeadWorkers::default(),
        }
    }

    /// The process whose table it is.
    pub fn me(&self) -> WorkerId {
        self.me
    }

    /// A new object of this process, held once; or one that is made again because a task needs it again.
    pub fn own(&mut self, object: ObjectId, hold: Hold) {
        self.entries
            .entry(object)
            .or_insert_with(|| Entry::new(Role::Owned(None)))
            .hold(hold);
    }

    /// One more hold on an object that is held already.
    ///
    /// # Errors
    /// [`RefError::NotInScope`].
    pub fn add(&mut self, object: ObjectId, hold: Hold) -> Result<(), RefError> {
        let entry = self.entries.get_mut(&object).ok_or(RefError::NotInScope { object })?;
        entry.hold(hold);
        Ok(())
    }

    /// Ends a hold. When it was the last, the object is freed here, or released at its owner.
    ///
    /// # Errors
    /// [`RefError::NotInScope`], [`RefError::NotHeld`]: nothing was changed.
    pub fn remove(&mut self, object: ObjectId, hold: Hold, effects: &mut Vec<Effect>) -> Result<(), RefError> {
        let entry = self.entries.get_mut(&object).ok_or(RefError::NotInScope { object })?;
        if !entry.unhold(hold) {
            return Err(RefError::NotHeld { object, hold });
        }
        if !entry.is_in_scope() {
            self.free(object, effects);
        }
        Ok(())
    }

    /// A frame from another process carried the reference; it is held from now on, as `hold`.
    ///
    /// # Errors
    /// [`RefError::NotInScope`] at the owner, when the object was freed. By RC-2 this does not happen between processes
    /// that live.
    pub fn receive(
        &mut self,
        object: ObjectId,
        owner: WorkerId,
        hold: Hold,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RefError> {
        if owner == self.me {
            return self.add(object, hold);
        }
        let owner_died = self.dead.contains(&owner);
        let entry = self.entries.entry(object).or_insert_with(|| {
            if owner_died {
                effects.push(Effect::OwnerDied { object, owner });
            }
            Entry::new(Role::Borrowed(Box::new(Borrowed {
                owner,
                received: 0,
                owner_died,
                contained: Vec::new(),
            })))
        });
        entry.hold(hold);
        if let Role::Borrowed(borrowed) = &mut entry.role {
            borrowed.received = borrowed.received.saturating_add(1);
        }
        Ok(())
    }

    /// The reference is about to be sent to another process. Call it for every occurrence that the receiver will
    /// [`receive`](Self::receive), while the object is held, and carry out the effects before sending (RC-T2).
    ///
    /// # Errors
    /// [`RefError::NotInScope`].
    pub fn hand_over(&mut self, object: ObjectId, to: WorkerId, effects: &mut Vec<Effect>) -> Result<(), RefError> {
        let entry = self.entries.get_mut(&object).ok_or(RefError::NotInScope { object })?;
        match &mut entry.role {
            Role::Owned(lent) => {
                if to != self.me && !self.dead.contains(&to) {
                    register(&mut self.lent_to, lent, to, 1);
                }
            }
            Role::Borrowed(borrowed) => {
                let owner = borrowed.owner;
                if to != owner && !borrowed.owner_died {
                    effects.push(Effect::SendHandover { owner, object, to });
                }
            }
        }
        Ok(())
    }

    /// [`Effect::SendHandover`] arrived at the owner.
    ///
    /// # Errors
    /// [`RefError::NotInScope`].
    pub fn handover_received(
        &mut self,
        object: ObjectId,
        to: WorkerId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RefError> {
        self.change_registration(object, to, 1, effects)
    }

    /// [`Effect::SendRelease`] of process `from` arrived at the owner.
    ///
    /// # Errors
    /// [`RefError::NotInScope`].
    pub fn release_received(
        &mut self,
        object: ObjectId,
        from: WorkerId,
        count: u32,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RefError> {
        self.change_registration(object, from, -i64::from(count), effects)
    }

    fn change_registration(
        &mut self,
        object: ObjectId,
        worker: WorkerId,
        change: i64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RefError> {
        if self.dead.contains(&worker) {
            return Ok(());
        }
        let entry = self.entries.get_mut(&object).ok_or(RefError::NotInScope { object })?;
        let Role::Owned(lent) = &mut entry.role else {
            return Err(RefError::NotInScope { object });
        };
        register(&mut self.lent_to, lent, worker, change);
        if !entry.is_in_scope() {
            self.free(object, effects);
        }
        Ok(())
    }

    /// This process has a value of `outer`, its own or a copy, that contains these references. The value takes over one
    /// [`Hold::Container`] on each, which the caller has taken: by [`add`](Self::add), or by [`receive`](Self::receive)
    /// if they came with the value. A value that was here before is replaced; if `outer` is out of scope already, the
    /// holds end at once.
    pub fn contain(&mut self, outer: ObjectId, inner: impl IntoIterator<Item = ObjectId>, effects: &mut Vec<Effect>) {
        let mut contained: Vec<ObjectId> = inner.into_iter().collect();
        if let Some(entry) = self.entries.get_mut(&outer) {
            if contained.is_empty() && matches!(entry.role, Role::Owned(None)) {
                return;
            }
            contained.shrink_to_fit();
            std::mem::swap(entry.contained_mut(), &mut contained);
        }
        self.end_containment(contained, effects);
    }

    /// Whether the worker is known to be dead.
    pub fn is_dead(&self, worker: &WorkerId) -> bool {
        self.dead.contains(worker)
    }

    /// A process died. What it held it holds no more; what it owned is lost.
    pub fn worker_died(&mut self, worker: WorkerId, effects: &mut Vec<Effect>) {
        if worker == self.me || !self.dead.insert(worker) {
            return;
        }
        let lent = self.lent_to.remove(&worker).unwrap_or(0);
        let mut unregistered: Vec<ObjectId> = Vec::with_capacity(lent);
        for (object, entry) in &mut self.entries {
            match &mut entry.role {
                Role::Owned(Some(lent)) => {
                    let before = lent.registrations.len();
                    lent.registrations.retain(|(borrower, _)| *borrower != worker);
                    if lent.registrations.len() < before {
                        unregistered.push(*object);
                    }
                }
                Role::Borrowed(borrowed) if borrowed.owner == worker => {
                    borrowed.owner_died = true;
                    effects.push(Effect::OwnerDied {
                        object: *object,
                        owner: worker,
                    });
                }
                Role::Owned(None) | Role::Borrowed(_) => {}
            }
        }
        for object in unregistered {
            if self.entries.get(&object).is_some_and(|entry| !entry.is_in_scope()) {
                self.free(object, effects);
            }
        }
    }

    /// RC-7: frees an object that is out of scope, and with it what only it contains, and so on.
    fn free(&mut self, object: ObjectId, effects: &mut Vec<Effect>) {
        if let Some(contained) = self.free_one(object, effects) {
            self.end_containment(contained, effects);
        }
    }

    fn end_containment(&mut self, contained: Vec<ObjectId>, effects: &mut Vec<Effect>) {
        let mut ending = contained;
        while let Some(object) = ending.pop() {
            let Some(entry) = self.entries.get_mut(&object) else {
                continue;
            };
            entry.unhold(Hold::Container);
            if !entry.is_in_scope()
                && let Some(contained) = self.free_one(object, effects)
            {
                ending.extend(contained);
            }
        }
    }

    /// Takes out one object, and gives what it contained.
    fn free_one(&mut self, object: ObjectId, effects: &mut Vec<Effect>) -> Option<Vec<ObjectId>> {
        let contained = match self.entries.remove(&object)?.role {
            Role::Owned(lent) => lent.map_or_else(Vec::new, |lent| lent.contained),
            Role::Borrowed(borrowed) => {
                let Borrowed {
                    owner,
                    received: count,
                    owner_died,
                    contained,
                } = *borrowed;
                if !owner_died {
                    effects.push(Effect::SendRelease { owner, object, count });
                }
                contained
            }
        };
        effects.push(Effect::FreeValue { object });
        Some(contained)
    }

    /// Whether this hold, once, is all that keeps an object of this process.
    pub fn is_only_hold(&self, object: &ObjectId, hold: Hold) -> bool {
        self.entries.get(object).is_some_and(|entry| {
            let alone = matches!(&entry.role, Role::Owned(lent) if lent.as_ref().is_none_or(|lent| lent.registrations.is_empty()));
            alone && entry.holds.iter().sum::<u32>() == 1 && entry.holds[hold as usize] == 1
        })
    }

    /// How many objects are in scope here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in scope here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the object is in scope here.
    pub fn contains(&self, object: &ObjectId) -> bool {
        self.entries.contains_key(object)
    }

    /// Whether other processes hold objects of this one: then it is not idle, and ending it would lose them.
    pub fn is_lending(&self) -> bool {
        !self.lent_to.is_empty()
    }
}

/// Changes the registration of `worker` at an object of ours, and counts at how many it is registered.
fn register(lent_to: &mut IdMap<WorkerId, usize>, lent: &mut Option<Box<Lent>>, worker: WorkerId, change: i64) {
    match lent.get_or_insert_default().register(worker, change) {
        Registration::New => *lent_to.entry(worker).or_default() += 1,
        Registration::Changed => {}
        Registration::Gone => {
            if let Some(objects) = lent_to.get_mut(&worker) {
                *objects -= 1;
                if *objects == 0 {
                    lent_to.remove(&worker);
                }
            }
        }
    }
}

#[cfg(test)]
impl RefTable {
    /// What an owned object takes in the table, without its part of the empty buckets.
    pub(super) fn entry_bytes(&self) -> usize {
        size_of::<(ObjectId, Entry)>()
    }
}
