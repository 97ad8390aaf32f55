//! The threads of an actor: the main one, which sees to what comes by ring too, and as many more as calls overlap.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::{ActorHost, Turn};
use crate::registry::Receiver;
use crate::worker::Worker;
use crate::worker::execute::actor_pace::LOOK_AFTER;

impl ActorHost {
    /// Starts what may start: futures on the runtime, the rest on threads. `free` threads of the actor, such as the caller,
    /// will look for a call next.
    pub(super) fn start(self: &Arc<Self>, worker: &Arc<Worker>, free: usize) {
        let mut futures = Vec::new();
        let mut missing_threads = 0;
        {
            let mut calls = self.calls();
            for (kind, turn) in calls.queue.start() {
                match turn {
                    Turn::Call(job) if kind.is_async => futures.push((kind, job)),
                    turn => calls.ready.push_back((kind, turn)),
                }
            }
            let looking = free.max(usize::from(calls.main_waits));
            missing_threads += calls.ready.len().saturating_sub(looking);
            if missing_threads > 0 && calls.pace.leaves_to_others(looking) {
                missing_threads = 0;
                if !std::mem::replace(&mut calls.pace.watched, true) {
                    worker.io.spawn(look_after(
                        Arc::downgrade(self),
                        Arc::downgrade(worker),
                        calls.pace.taken(),
                    ));
                }
            }
            // An actor that is to end waits for its last call, which another thread may have run.
            if calls.main_waits && (!calls.ready.is_empty() || calls.ending) {
                self.look_again();
                // Whether it slept does not matter.
                let _found = worker.rings.ringer().ring();
            }
        }
        for (kind, job) in futures {
            let (host, worker_of_call) = (self.clone(), worker.clone());
            worker
                .executor
                .runtime()
                .spawn(async move { host.run_async(&worker_of_call, kind, job).await });
        }
        self.start_threads(worker, missing_threads);
    }

    fn start_threads(self: &Arc<Self>, worker: &Arc<Worker>, missing: usize) {
        for _ in 0..missing {
            let (host, worker) = (self.clone(), worker.clone());
            let spawned = std::thread::Builder::new()
                .name("ray-actor".into())
                .spawn(move || host.run_ready(&worker));
            if let Err(error) = spawned {
                // The threads that are there will come to it.
                tracing::warn!(target: "ray_core::worker", %error, "no further thread for an actor");
            }
        }
    }

    /// The main thread of an actor: it also sees to what comes by ring.
    pub(super) fn serve(self: &Arc<Self>, worker: &Arc<Worker>) {
        let overlapping = self
            .item
            .methods
            .iter()
            .any(|method| method.receiver() == Receiver::Shared);
        worker.rings.take_eagerly(overlapping);
        loop {
            self.looked.store(false, Ordering::SeqCst);
            let (next, at_end) = {
                let mut calls = self.calls();
                let next = calls.take();
                let at_end = next.is_none()
                    && calls.ending
                    && calls.queue.is_quiet()
                    && (calls.parting || !worker.read(|state| state.refs.is_lending()));
                calls.main_waits = next.is_none();
                (next, at_end)
            };
            // Else the save, or the end of a write, has this thread look again.
            if at_end && self.save_at_end(worker) {
                return;
            }
            match next {
                Some((kind, turn)) => self.run_turn(worker, kind, turn),
                None => worker.rings.wait_until(
                    worker,
                    || self.looked.load(Ordering::Acquire),
                    || self.calls().pace.is_brief(),
                ),
            }
        }
    }

    /// Has the main thread look again.
    pub(in crate::worker::execute) fn look_again(&self) {
        self.looked.store(true, Ordering::Release);
    }

    /// A further thread: it serves what is ready, and ends when nothing is.
    fn run_ready(self: &Arc<Self>, worker: &Arc<Worker>) {
        while let Some((kind, turn)) = { self.calls().take() } {
            self.run_turn(worker, kind, turn);
        }
    }
}

/// AP-1: looks after calls that were left to a running thread.
async fn look_after(host: Weak<ActorHost>, worker: Weak<Worker>, mut taken: u64) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let (Some(host), Some(worker)) = (host.upgrade(), worker.upgrade()) else {
            return;
        };
        let (missing, goes_on) = {
            let mut calls = host.calls();
            let stands = calls.ready.len().saturating_sub(usize::from(calls.main_waits));
            let moves = std::mem::replace(&mut taken, calls.pace.taken()) != calls.pace.taken();
            calls.pace.watched = stands > 0 && moves;
            (if moves { 0 } else { stands }, calls.pace.watched)
        };
        host.start_threads(&worker, missing);
        if !goes_on {
            return;
        }
    }
}
