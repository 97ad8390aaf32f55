//! What the raylet's decisions ask of its edge.

use crate::host::MemoryUsage;
use crate::ids::{JobId, NodeId, WorkerId};
use crate::raylet::memory::Answers;
use crate::wire::{DeathCause, Frame};

pub(in crate::raylet) type Effects = Vec<Effect>;

impl Effect {
    /// Tells a process that another one is dead, or counts as dead.
    pub(in crate::raylet) fn tell_gone(to: WorkerId, worker: WorkerId, cause: DeathCause) -> Self {
        let frame = Frame::PeerGone { worker, cause };
        Self::Send { to, frame }
    }
}

/// What the raylet wants done.
#[derive(Debug)]
pub(in crate::raylet) enum Effect {
    Send {
        to: WorkerId,
        frame: Frame,
    },
    ToGcs(Frame),
    /// To another node, which this one visits from then on.
    ToNode {
        node: NodeId,
        frame: Frame,
    },
    /// Another node is not visited any more.
    LeaveNode {
        node: NodeId,
    },
    /// Connect two processes, and tell each.
    Link {
        a: WorkerId,
        b: WorkerId,
    },
    Spawn {
        worker: WorkerId,
        job: JobId,
        gpus: Vec<u32>,
    },
    Kill {
        worker: WorkerId,
    },
    /// What the worker prints from now on is shown under this name.
    Name {
        worker: WorkerId,
        name: String,
    },
    /// A process is dead: its pins and its objects in the store go.
    ForgetInStore {
        worker: WorkerId,
    },
    /// Everybody has told what they hold.
    Report {
        to: WorkerId,
        request: u64,
        answers: Answers,
    },
    /// Memory is short, and the workers have told what they do.
    Judge {
        usage: MemoryUsage,
        answers: Answers,
    },
}
