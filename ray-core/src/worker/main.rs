//! What runs in a worker process in place of the user's `main`.

use std::fs::File;
use std::io;

use crate::process::role::{self, ROLES, Role, RoleEntry};
use crate::process::setup::run_worker_setup;

#[linkme::distributed_slice(ROLES)]
static WORKER: RoleEntry = RoleEntry {
    name: role::WORKER,
    run,
};

/// Runs the worker until its raylet closes the control socket.
pub fn run(role: Role) -> i32 {
    run_worker_setup();
    match io::copy(&mut File::from(role.control), &mut io::sink()) {
        Ok(_) => 0,
        Err(_) => 1,
    }
}
