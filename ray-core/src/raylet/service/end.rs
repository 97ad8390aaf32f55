//! The end of a session: what can be saved is saved, and then no process and no memory of the node is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Raylet;
use super::inputs::{self, Input, Next};
use crate::clock;
use crate::ids::WorkerId;
use crate::process::{self, Spawned};
use crate::raylet::state::{Effects, warn_unsaved};

/// How long each step of the births and deaths of processes is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

impl Raylet {
    /// Has the actors saved that can be, and waits until these have ended, or their time is over.
    async fn save_actors(&mut self, inputs: &mut mpsc::Receiver<Input>) {
        let mut out = Effects::new();
        let (mut saving, until) = self.state.save_all(clock::monotonic(), &mut out);
        self.carry_out(out);
        while !saving.is_empty() {
            let left = until.saturating_sub(clock::monotonic());
            match inputs::next(inputs, Some(left)).await {
                Next::Input(Input::Died { worker, .. }) => {
                    saving.remove(&worker);
                }
                Next::Input(Input::Spawned { worker, spawned }) => self.born(worker, spawned),
                // What else comes is of a session that is over. In particular, nothing is restarted.
                Next::Input(_) => {}
                Next::Nothing | Next::End => break,
            }
        }
        let within = Duration::from_millis(self.options.config.checkpoint_at_end_ms);
        saving.values().for_each(|actor| warn_unsaved(actor, within));
    }

    /// A worker whose birth the session's end has overtaken.
    fn born(&mut self, worker: WorkerId, spawned: Result<Arc<Spawned>, process::Error>) {
        self.births -= 1;
        if let Some(process) = self.processes.get_mut(worker) {
            process.spawned = spawned.ok();
        }
    }

    /// Kills what still runs and waits until it is gone.
    pub(super) async fn end(mut self, inputs: &mut mpsc::Receiver<Input>) {
        self.save_actors(inputs).await;
        // Those that are being born are not known yet.
        while self.births > 0 {
            match inputs::next(inputs, Some(PATIENCE)).await {
                Next::Input(Input::Spawned { worker, spawned }) => self.born(worker, spawned),
                Next::Input(_) => {}
                Next::Nothing | Next::End => break,
            }
        }
        let running = self.processes.take_spawned();
        running.iter().for_each(|spawned| spawned.kill());
        for spawned in running {
            // An error means that it cannot be watched; it was killed all the same.
            let _death = tokio::time::timeout(PATIENCE, spawned.wait()).await;
        }
        for output in self.jobs.take_outputs() {
            self.show_rest(output);
        }
        while self.showing.join_next().await.is_some() {}
        // The store frees a node's memory here, which takes time in the size of what was touched.
        let freed = tokio::task::spawn_blocking(move || drop(self.store)).await;
        if let Err(error) = freed {
            tracing::error!(target: "ray_core::raylet", %error, "the store did not end cleanly");
        }
    }
}
