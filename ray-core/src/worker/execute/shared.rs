//! Shared work at its edge: the pool's threads, and the running of one piece of work on whatever thread.
//!
//! What runs next, and how many threads there are, is the state's decision (`state/shared`).

mod body;
mod caller;
mod foreign;
mod own;
mod pool;

use std::sync::Arc;

use super::panic;
use crate::worker::Worker;
use crate::worker::state::{Done, Started, What};
pub(crate) use caller::run_for_caller;
pub(super) use caller::{Deeper, loan};
pub(super) use foreign::{Arrived, arrived, stand_by, take_waiting};
pub(crate) use pool::{is_pool_thread, start_thread};

/// Runs a piece of work. What is to be told when it has ended; nothing if it goes on as a future.
fn run(worker: &Arc<Worker>, started: Started) -> Option<Done> {
    // A driver notes what panics say only from here on.
    panic::install_hook();
    let receipt = started.receipt();
    let actor = started.call.map(|(actor, _)| actor);
    match started.what {
        What::Own(own) => own::run(worker, *own, actor, receipt),
        What::Foreign(number) => foreign::run(worker, number, actor, receipt),
    }
}
