//! Objects and memory: who keeps what alive, where values lie, what happens when there is no room, and what is left.

mod driver_death;
mod in_place;
mod lending;
mod lineage;
mod lineage_of_calls;
mod lineage_of_streams;
mod monitor;
mod pending;
mod references;
mod report;
mod spilling;

use ray_core::memory::{MemoryReport, ObjectState};
use ray_core::value::Buffer;
use ray_core::{ObjectRef, Ray, memory_report, put};

use crate::support::wait_until;

const MIB: usize = 1 << 20;

fn session(cpus: u32) -> Ray {
    Ray::builder().num_cpus(cpus).log_to_driver(false).init().unwrap()
}

/// A session with a small object store.
fn small_store(mib: u64) -> ray_core::Builder {
    Ray::builder()
        .num_cpus(2)
        .log_to_driver(false)
        .object_store_memory(mib << 20)
}

/// Bytes that differ from page to page and from number to number.
fn pattern(number: u64, bytes: usize) -> Vec<u8> {
    let mut pattern = vec![number as u8; bytes];
    for (page, chunk) in pattern.chunks_mut(4096).enumerate() {
        let words = [number, page as u64].map(u64::to_le_bytes).concat();
        let len = words.len().min(chunk.len());
        chunk[..len].copy_from_slice(&words[..len]);
    }
    pattern
}

fn report() -> MemoryReport {
    memory_report().unwrap()
}

fn state_of<T>(reference: &ObjectRef<T>) -> Option<ObjectState> {
    let report = report();
    let object = report.objects.iter().find(|object| object.object == reference.id());
    object.map(|object| object.state)
}

/// Waits until no process holds an object, runs a task or is an actor.
fn all_is_freed() {
    let mut looks = 0;
    wait_until(|| {
        let report = report();
        looks += 1;
        if looks % 500 == 0 {
            println!("not all is free yet:\n{report}");
        }
        let store = &report.store;
        let idle = |state: &str| matches!(state, "driver" | "idle" | "starting");
        report.objects.is_empty()
            && store.sealed + store.spilled + store.freed + store.creating == 0
            && report.processes.iter().all(|process| idle(&process.state))
    });
}

/// Puts others until the object lies on disk only.
fn push_out<T>(reference: &ObjectRef<T>) {
    let mut others = Vec::new();
    wait_until(|| {
        others.push(put(&Buffer::from(pattern(others.len() as u64, 2 * MIB))).unwrap());
        state_of(reference) == Some(ObjectState::Spilled {})
    });
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // After the name, in brackets: the state. A zombie has ended.
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with(['Z', 'X']))
    })
}
