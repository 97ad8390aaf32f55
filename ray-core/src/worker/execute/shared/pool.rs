//! The threads of the pool: each does what the state gives it, and tells it what came of that when it asks for more.

use std::cell::Cell;
use std::sync::Arc;

use super::run;
use crate::process::stack;
use crate::worker::Worker;
use crate::worker::execute::local;
use crate::worker::state::{Look, Next};

thread_local! {
    static IN_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of the pool.
pub(crate) fn is_pool_thread() -> bool {
    IN_POOL.get()
}

/// Starts a thread of the pool.
pub(crate) fn start_thread(worker: &Arc<Worker>) {
    let of_thread = worker.clone();
    let spawned = std::thread::Builder::new()
        .name("ray-shared".into())
        .spawn(move || serve(&of_thread));
    if let Err(error) = spawned {
        tracing::warn!(target: "ray_core::worker", %error, "no further thread for shared work");
        worker.with(|state, _, _| state.shared_thread_failed());
    }
}

fn serve(worker: &Arc<Worker>) {
    IN_POOL.set(true);
    stack::watch_current_thread();
    let mut look = Look::new();
    let mut finished = None;
    let mut worked = false;
    loop {
        let next = worker.with(|state, now, out| {
            if let Some(done) = finished.take() {
                state.shared_done(done, now, out);
            }
            state.shared_next(&mut look, worked, now, out)
        });
        worked = false;
        match next {
            Next::Run(started) => {
                finished = run(worker, started);
                worked = true;
            }
            Next::Serve(service) => {
                finished = Some(local::serve(worker, service));
                worked = true;
            }
            Next::Rest(time) => std::thread::park_timeout(time),
            Next::End => return,
        }
    }
}
