//! What a program runs once in each worker process, before its first task: `#[ray_core::worker_setup]`.

use std::sync::Once;

/// The functions marked `#[ray_core::worker_setup]`, gathered at link time.
#[linkme::distributed_slice]
pub static WORKER_SETUP: [fn()];

static DONE: Once = Once::new();

/// Runs the setup functions, in link order, the first time it is called. A panic in one of them is the caller's to report;
/// they are not run again.
pub fn run_worker_setup() {
    DONE.call_once_force(|state| {
        if !state.is_poisoned() {
            WORKER_SETUP.iter().for_each(|setup| setup());
        }
    });
}
