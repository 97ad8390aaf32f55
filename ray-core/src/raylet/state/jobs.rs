//! The job whose driver is on this node: its driver comes, hosts the job's shared work, and goes.
//!
//! *Absent:* a second job.

use super::{Effect, Effects, State};
use crate::ids::{JobId, WorkerId};
use crate::raylet::workers::Role;
use crate::wire::Frame;

impl State {
    pub(in crate::raylet) fn driver_joined(&mut self, worker: WorkerId, pid: u32) {
        self.workers.add(worker, pid, Role::Driver, Vec::new());
    }

    /// The host of shared work: on the driver's node it is the driver, and there is one as long as its job is.
    pub(super) fn host(&self) -> Option<WorkerId> {
        self.workers.driver()
    }

    /// The driver is dead, and with it its job ends.
    pub(super) fn driver_ended(&self, out: &mut Effects) {
        out.push(Effect::ToGcs(Frame::JobEnded { job: JobId::new(1) }));
    }
}
