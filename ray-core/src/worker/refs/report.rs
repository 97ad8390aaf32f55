//! What a table tells of its objects.

use super::RefTable;
use super::entry::{Entry, Role};
use crate::ids::{ObjectId, WorkerId};

/// An object as the `memory` report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefReport<'a> {
    /// The object.
    pub object: ObjectId,
    /// Its owner.
    pub owner: WorkerId,
    /// Handles in this process.
    pub handles: u32,
    /// Submitted tasks of this process that have it as an argument.
    pub tasks: u32,
    /// Values in this process that contain it.
    pub containers: u32,
    /// Where it is borrowed: how often it was handed over since the process's last release.
    pub received: u32,
    /// Where it is owned: the processes that hold it, with their registrations.
    pub borrowers: &'a [(WorkerId, i64)],
    /// The references inside its value.
    pub contained: &'a [ObjectId],
    /// Whether its owner is known to be dead.
    pub owner_died: bool,
}

impl RefTable {
    /// What is known of one object.
    pub fn get(&self, object: &ObjectId) -> Option<RefReport<'_>> {
        self.entries
            .get_key_value(object)
            .map(|(object, entry)| self.report(*object, entry))
    }

    /// All objects in scope here, in no order.
    pub fn iter(&self) -> impl Iterator<Item = RefReport<'_>> {
        self.entries.iter().map(|(object, entry)| self.report(*object, entry))
    }

    fn report<'a>(&self, object: ObjectId, entry: &'a Entry) -> RefReport<'a> {
        let [handles, tasks, containers] = entry.holds;
        let mut report = RefReport {
            object,
            owner: self.me,
            handles,
            tasks,
            containers,
            received: 0,
            borrowers: &[],
            contained: &[],
            owner_died: false,
        };
        match &entry.role {
            Role::Owned(None) => {}
            Role::Owned(Some(lent)) => {
                report.borrowers = &lent.registrations;
                report.contained = &lent.contained;
            }
            Role::Borrowed(borrowed) => {
                report.owner = borrowed.owner;
                report.received = borrowed.received;
                report.contained = &borrowed.contained;
                report.owner_died = borrowed.owner_died;
            }
        }
        report
    }
}
