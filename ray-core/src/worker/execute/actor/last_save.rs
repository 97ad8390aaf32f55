//! The end of a saved actor that is to end now: its session is over, its job, or who created it.
//!
//! - CK-14: no further call begins, and those that wait are given up, since nobody waits for their answers. What was
//!   answered and is in no saved state is saved once the calls that run have ended; the raylet bounds the time. Where there is
//!   nothing to save, the process ends at once, whatever runs.

use std::sync::Arc;

use super::{ActorHost, Turn};
use crate::worker::Worker;
use crate::worker::execute::ending::end_process;

impl ActorHost {
    /// Saves what is not saved, and ends the process.
    pub(in crate::worker::execute) fn save_and_exit(self: &Arc<Self>, worker: &Arc<Worker>) {
        let given_up = {
            let mut calls = self.calls();
            calls.ending = true;
            calls.parting = true;
            let mut given_up = Vec::new();
            while let Some(turn) = calls.queue.remove(|turn| matches!(turn, Turn::Call(_))) {
                given_up.push(turn);
            }
            // Their turn has come, and no thread has taken them.
            for (kind, turn) in std::mem::take(&mut calls.ready) {
                match turn {
                    Turn::Save => calls.ready.push_back((kind, turn)),
                    turn @ Turn::Call(_) => {
                        calls.queue.ended(kind);
                        given_up.push(turn);
                    }
                }
            }
            given_up
        };
        drop(given_up);
        if self.has_last_save() {
            // The main thread saves as soon as nothing runs.
            self.start(worker, 0);
            return;
        }
        let host = self.clone();
        // What an actor leaves may lie in object storage, and this thread carries frames.
        let leaving = std::thread::Builder::new()
            .name("ray-checkpoint".into())
            .spawn(move || {
                host.leave_place();
                end_process();
            });
        if let Err(error) = leaving {
            tracing::warn!(target: "ray_core::worker", %error, "no thread to remove the states of an actor");
            end_process();
        }
    }

    /// Whether something is to be saved, or on its way to be, that is of use after the actor.
    fn has_last_save(&self) -> bool {
        let lasting = self.saver.as_ref().is_some_and(|saver| saver.lasting);
        let calls = self.calls();
        let saving = calls.saving.as_ref().filter(|_| lasting);
        saving.is_some_and(|saving| saving.unsaved > 0 || !saving.is_settled())
    }
}
