//! The end of this process: when it has nothing to do, when it is told to, or with its raylet.

use std::sync::Arc;

use super::Executor;
use super::orders::Order;
use crate::worker::{Worker, current};

impl Executor {
    /// Ends the process once nothing runs or waits, and nobody uses what it owns.
    pub(crate) fn exit_when_idle(&self, worker: &Worker) {
        match self.actor.get() {
            Some(host) => host.exit_when_idle(),
            None => self.orders().ending = true,
        }
        self.look_again(worker);
    }

    /// Looks again whether the process may end: a reference has come back.
    pub(crate) fn recheck_exit(&self, worker: &Worker) {
        if self.orders().ending || self.actor.get().is_some_and(|host| host.is_ending()) {
            self.look_again(worker);
        }
    }

    /// Ends the process now, but for the last save of an actor that is saved.
    pub(crate) fn save_and_exit(&self, worker: &Arc<Worker>) {
        match self.actor.get() {
            Some(host) => host.save_and_exit(worker),
            None => end_process(),
        }
    }

    /// Ends the process now, with this code.
    pub(super) fn exit_now(&self, code: i32) {
        self.orders().line.push_front(Order::Exit(code));
    }

    /// The raylet is gone. A worker process ends with it; a driver goes on.
    pub(crate) fn raylet_gone(&self) {
        let worker_process = current().is_ok_and(|worker| !worker.identity.is_driver());
        if worker_process {
            // At once: the main thread may be in a task that never ends.
            std::process::exit(1);
        }
    }
}

/// Ends this process as if it were killed: what runs in it has no say.
pub(super) fn end_process() {
    let itself = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(itself, rustix::process::Signal::KILL) {
        tracing::error!(target: "ray_core::worker", %error, "a worker cannot end itself");
    }
}
