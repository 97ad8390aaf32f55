//! Who holds which object: exact distributed reference counts, and the lineage to make lost objects again.
//!
//! # Hand-over counting
//!
//! Each process has a [`RefTable`]. For every object it holds, the table counts the process's own *holds*: by handles,
//! by submitted tasks that have it as an argument, by values that contain it ([`Hold`]). The object's *owner*, the process
//! whose id prefix the object's id carries, also counts a *registration* for every other process.
//!
//! - Process P sends a reference to Q: P tells the owner O [`Effect::SendHandover`], which adds 1 to Q's registration. If P
//!   is O it does so itself; if Q is O nothing is registered. Then P sends the frame, and Q counts it as *received*.
//! - When Q's last hold goes, Q sends [`Effect::SendRelease`] with what it received since it last had none, and O
//!   subtracts that from Q's registration.
//! - The object is in scope at O while O has a hold of its own or *any* registration is not zero. A registration may be
//!   negative for a while: Q's release may overtake P's hand-over.
//!
//! No message is acknowledged, and no process waits. What it takes from the transport:
//!
//! - RC-T1: what P sends to Q arrives in the order in which it was sent, frames, hand-overs and releases alike.
//! - RC-T2: the hand-overs of a frame are sent before the frame, and the frame before P gives up the hold it sent it under.
//! - RC-T3: a process learns of P's death after everything that P sent to it.
//! - RC-T4: a process neither receives nor sends anything after its death was announced.
//!
//! What follows from it:
//!
//! - RC-1 (balance): O's registration for a living Q, plus the hand-overs for Q on their way to O, minus the releases of
//!   Q on their way to O, equals what Q received since its last release, plus the frames on their way to Q. *Each sending
//!   adds 1 on both sides; each arrival moves from one summand to another on its side; a release of n sets Q's count from n
//!   to 0 on the right, and puts n on its way on the left.*
//! - RC-2 (safe): while a living process holds an object, or a frame on its way to one carries it, its living owner
//!   has it in scope. *Say Q holds it, or is to receive it. If Q's registration is not zero, it is in scope. If it is
//!   zero, then by RC-1, whose right side is positive, a hand-over for Q is on its way, from some P that sent it at time t.
//!   P held the object at t (RC-T2), and its later releases, as the news of its death, are behind that hand-over (RC-T1,
//!   RC-T3). So if all hand-overs for P that were sent before t have arrived, P's registration is at least what P had
//!   received at t, which is positive. If one of them has not, it was sent by some P' at an earlier time t', and the
//!   same holds of P'. Times descend, so this ends, at the latest at O, which registers without a message. And if Q is O,
//!   to which a frame is on its way, its sender held the object when it sent it, and the same holds of the sender.*
//! - RC-3 (live): when no living process but O holds an object, and nothing is on its way, every registration is zero.
//!   *RC-1 with a right side of zero.* So it is freed as soon as O's own holds end.
//! - RC-4 (once): an object goes out of scope once. *By RC-2 nobody could bring it back; only [`RefTable::own`] can, for a
//!   task that is run again.*
//! - RC-5 (death of a borrower): O drops its registration, and ignores later hand-overs to it, which are for frames that
//!   were never received.
//! - RC-6 (death of an owner): its borrowers learn it as [`Effect::OwnerDied`], and send it nothing more.
//! - RC-7 (containment): the holds that a value has on the references in it end with the scope of the object whose
//!   value it is, at its owner and at every process that keeps a copy. However long the chain, no recursion.
//!
//! Two limits. A process killed *between* the hand-over and the frame, where it is not the owner, leaves a registration that
//! ends only with Q or O: too long rather than too short. And a cycle, an object whose value contains a reference to
//! itself, is never freed; a value can only contain references that are older than it, except for the result of a task
//! that was sent its own reference.

mod dead;
mod entry;
pub mod lineage;
mod report;
mod table;
#[cfg(test)]
mod tests;

pub use lineage::{LineageTable, Unreconstructable};
pub use report::RefReport;
pub use table::RefTable;

use crate::ids::{ObjectId, TaskId, WorkerId};

/// What a hold on an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// A handle in the program.
    Handle,
    /// A submitted task that has it among its arguments, or inside one.
    Task,
    /// A value in this process that contains it.
    Container,
}

/// What is to be done after an event, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Tell `owner` that `object` was handed over to `to`. Before the frame that carries it (RC-T2).
    SendHandover {
        /// The object's owner.
        owner: WorkerId,
        /// The object.
        object: ObjectId,
        /// Who receives it.
        to: WorkerId,
    },
    /// Tell `owner` that this process no longer holds `object`, of which it was given `count` hand-overs.
    SendRelease {
        /// The object's owner.
        owner: WorkerId,
        /// The object.
        object: ObjectId,
        /// How many hand-overs end with it.
        count: u32,
    },
    /// An object went out of scope here: at its owner the value is to be freed wherever it lies, and its lineage told
    /// ([`LineageTable::out_of_scope`]); at a borrower its copy of the value can go.
    FreeValue {
        /// The object.
        object: ObjectId,
    },
    /// The owner of a held object died: whoever waits for it gets that error.
    OwnerDied {
        /// The object.
        object: ObjectId,
        /// Its owner.
        owner: WorkerId,
    },
    /// Nothing in scope needs this task run again: its specification can go.
    ReleaseSpec {
        /// The task.
        task: TaskId,
    },
}

/// An event that does not fit what the table knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// The object is not, or no longer, in scope here.
    #[error(
        "object {object} is not in scope in this process: its last reference was dropped, or it was never passed here"
    )]
    NotInScope {
        /// The object.
        object: ObjectId,
    },
    /// More holds were ended than there were.
    #[error("object {object} has no hold of kind {hold:?} that could end")]
    NotHeld {
        /// The object.
        object: ObjectId,
        /// The kind of hold.
        hold: Hold,
    },
}
