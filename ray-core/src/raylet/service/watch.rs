//! Looks at the memory, and reports of it: what the kernel and the store say goes to the decisions and comes back from them.
//!
//! *Absent:* what follows from the numbers (`raylet/memory.rs`), and the questions to workers (`census`).

use super::Raylet;
use crate::clock;
use crate::host::MemoryUsage;
use crate::ids::WorkerId;
use crate::raylet::memory::{self, Answers};
use crate::raylet::state::Effects;
use crate::wire::Frame;

impl Raylet {
    /// Looks at the memory.
    pub(super) fn look_at_memory(&mut self, out: &mut Effects) {
        match self.watched.usage(&self.processes.own(), self.store.used_bytes()) {
            Ok(usage) if usage.fraction() > self.options.config.memory_usage_threshold.get() => {
                self.state.memory_short(usage, clock::monotonic(), out);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(target: "ray_core::raylet", %error, "the memory cannot be watched"),
        }
    }

    pub(super) fn judge(&mut self, usage: MemoryUsage, answers: &Answers) {
        let threshold = self.options.config.memory_usage_threshold.get();
        if let Some(verdict) = memory::verdict(usage, threshold, self.state.suspects(), answers) {
            let mut out = Effects::new();
            self.state
                .kill_for_memory(verdict.victim, verdict.report.to_string(), &mut out);
            self.carry_out(out);
        }
    }

    /// Puts the `memory` report together beside the loop: the kernel takes its time to count pages.
    pub(super) fn report(&self, to: WorkerId, request: u64, answers: Answers) {
        let Some(sender) = self.processes.sender(to).cloned() else {
            return;
        };
        let (node, workers, store) = (self.options.node, self.state.report().workers, self.store.report());
        tokio::task::spawn_blocking(move || {
            let report = Box::new(memory::report(node, workers, answers, store));
            sender.send(Frame::MemoryReportReply { request, report });
        });
    }
}
