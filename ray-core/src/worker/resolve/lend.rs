//! The CPU of a task that waits: meanwhile it serves others.

use std::sync::Arc;

use crate::wire::Frame;
use crate::worker::context::Hosting;
use crate::worker::state::Dest;
use crate::worker::{Worker, context, execute};

impl Worker {
    /// While a task waits, its CPU serves others.
    pub(crate) fn release_cpu(self: &Arc<Self>) -> Option<Blocked> {
        let hosting = context::hosting()?;
        Some(self.lend_cpu(hosting))
    }

    /// Lets the CPU of the running task serve others until the guard drops; tasks that were sent ahead go elsewhere.
    pub(crate) fn lend_cpu(self: &Arc<Self>, hosting: Hosting) -> Blocked {
        let in_pool = execute::shared::is_pool_thread();
        let owners = match hosting {
            Hosting::Process => self.rings.owners(),
            Hosting::Shared(_) => Vec::new(),
        };
        self.with(|state, _, out| match hosting {
            Hosting::Process => {
                out.send(Dest::Raylet, Frame::Blocked { lease: 0 });
                for owner in owners {
                    out.send(Dest::Worker(owner), Frame::Stalled {});
                }
            }
            Hosting::Shared(permit) => state.shared_blocked(permit, in_pool, out),
        });
        Blocked {
            worker: self.clone(),
            hosting,
            in_pool,
        }
    }
}

/// Takes the CPU back when the wait is over.
#[derive(Debug)]
pub(crate) struct Blocked {
    worker: Arc<Worker>,
    hosting: Hosting,
    in_pool: bool,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.worker.with(|state, _, out| match self.hosting {
            Hosting::Process => out.send(Dest::Raylet, Frame::Unblocked { lease: 0 }),
            Hosting::Shared(permit) => state.shared_unblocked(permit, self.in_pool, out),
        });
    }
}
