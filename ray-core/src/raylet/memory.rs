//! What the raylet reads from the kernel and the store about memory, and what follows from it.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use ray_objstore as store;

use crate::host::memory_monitor::{Candidate, Verdict, judge};
use crate::host::{Memory, MemoryUsage, ProcessMemory, process_memory};
use crate::ids::{IdHasher, NodeId, ObjectId, WorkerId};
use crate::memory::{Holdings, MemoryReport, ObjectHolder, ObjectReport, ObjectState, ProcessReport, StoreMemory};
use crate::wire::WorkerReport;

/// What the processes have answered.
pub(super) type Answers = HashMap<WorkerId, Holdings, IdHasher>;

/// The memory that the session lives in.
#[derive(Debug)]
pub(super) struct Watched {
    /// The machine's, or its control group's.
    pub(super) machine: Memory,
    /// What the session may use of it.
    pub(super) limit: Option<u64>,
}

impl Watched {
    /// The usage that is nearest to its limit.
    pub(super) fn usage(&self, pids: &[u32], store_bytes: u64) -> io::Result<MemoryUsage> {
        let machine = self.machine.usage()?;
        let Some(limit) = self.limit else { return Ok(machine) };
        // A process that has just ended uses nothing.
        let processes: u64 = pids
            .iter()
            .filter_map(|pid| process_memory::private_bytes(*pid).ok())
            .sum();
        let session = MemoryUsage {
            used: processes + store_bytes,
            limit,
        };
        Ok(if session.fraction() > machine.fraction() {
            session
        } else {
            machine
        })
    }
}

/// A worker that may be killed, as the raylet knows it.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) worker: WorkerId,
    pub(super) pid: u32,
    pub(super) serves: String,
    /// When its lease or its actor began.
    pub(super) since: Duration,
    /// For an actor: whether it would be restarted.
    pub(super) restartable: Option<bool>,
}

/// Whom to kill.
pub(super) fn verdict(
    usage: MemoryUsage,
    threshold: f64,
    suspects: Vec<Suspect>,
    answers: &Answers,
) -> Option<Verdict<WorkerId>> {
    let candidate = |suspect: Suspect| {
        let holdings = answers.get(&suspect.worker);
        let running = holdings.map(|holdings| holdings.running.as_slice()).unwrap_or_default();
        // One that did not answer is spared as long as there are others.
        let tasks_retriable = holdings.is_some() && running.iter().all(|task| task.retriable);
        let started = running.iter().map(|task| task.started).max();
        Candidate {
            id: suspect.worker,
            name: format!("{} (pid {})", suspect.serves, suspect.pid),
            retriable: suspect.restartable.unwrap_or(tasks_retriable),
            owns_objects: holdings.is_none_or(|holdings| holdings.lends),
            started_at: match suspect.restartable {
                Some(_) => suspect.since,
                None => started.unwrap_or(suspect.since),
            },
            bytes: process_memory::private_bytes(suspect.pid).unwrap_or_default(),
        }
    };
    let candidates: Vec<_> = suspects.into_iter().map(candidate).collect();
    judge(usage, threshold, &candidates)
}

/// Puts the `memory` report together. Reads the kernel's page counts of every process: not for the raylet's own thread.
pub(super) fn report(
    node: NodeId,
    workers: Vec<WorkerReport>,
    mut answers: Answers,
    store: store::Report,
) -> MemoryReport {
    let objects = Objects::new(&workers).merge(&answers, &store);
    let mut processes: Vec<_> = workers
        .into_iter()
        .map(|worker| process(answers.remove(&worker.worker), worker))
        .collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.proportional.unwrap_or(process.resident)));
    let usage = store.usage;
    MemoryReport {
        node,
        store: StoreMemory {
            capacity: usage.capacity,
            creating: usage.creating,
            sealed: usage.sealed,
            freed: usage.dying,
            spilled: usage.spilled,
            idle: store.idle,
            waiting: store.waiting as u64,
            spill_error: store.spill_error,
        },
        processes,
        objects,
    }
}

fn process(holdings: Option<Holdings>, worker: WorkerReport) -> ProcessReport {
    // One that has just ended has no memory.
    let memory = ProcessMemory::of(worker.pid).ok();
    let (running, pending_bytes, lineage_bytes) = holdings
        .map(|it| (it.running, it.pending_bytes, it.lineage_bytes))
        .unwrap_or_default();
    ProcessReport {
        worker: worker.worker,
        pid: worker.pid,
        state: worker.state,
        serves: worker.serves,
        running,
        resident: memory.map_or(0, |memory| memory.resident),
        proportional: memory.and_then(|memory| memory.proportional),
        pending_bytes,
        lineage_bytes,
    }
}

/// The objects of a report, put together from what each process and the store know.
struct Objects<'a> {
    workers: &'a [WorkerReport],
    table: HashMap<ObjectId, ObjectReport, IdHasher>,
}

impl<'a> Objects<'a> {
    fn new(workers: &'a [WorkerReport]) -> Self {
        let table = HashMap::with_hasher(IdHasher::default());
        Self { workers, table }
    }

    fn merge(mut self, answers: &Answers, store: &store::Report) -> Vec<ObjectReport> {
        for (worker, holdings) in answers {
            for held in &holdings.objects {
                let by_owner = held.owner == *worker;
                let object = self.entry(held.object, held.owner);
                if by_owner || object.size.is_none() {
                    object.size = held.size;
                    object.state = held.state;
                }
                if by_owner {
                    object.call_site.clone_from(&held.call_site);
                }
                let (handles, tasks, values) = (held.handles, held.tasks, held.values);
                let holder = self.holder(held.object, *worker);
                (holder.handles, holder.tasks, holder.values) = (handles, tasks, values);
            }
        }
        for stored in &store.objects {
            let id = ObjectId::from_bytes(stored.key.0);
            let owner = self
                .workers
                .iter()
                .find(|worker| worker.worker.prefix() == id.owner_prefix());
            let owner = owner.map(|worker| worker.worker).unwrap_or_default();
            let object = self.entry(id, owner);
            object.size = Some(stored.size);
            object.state = state_of(stored.state);
            for pin in &stored.pins {
                self.holder(id, WorkerId::from_bytes(pin.client.0)).views = pin.count;
            }
        }
        let mut objects: Vec<_> = self.table.into_values().collect();
        objects.sort_by_key(|object| (std::cmp::Reverse(object.size), object.object));
        objects
    }

    fn entry(&mut self, object: ObjectId, owner: WorkerId) -> &mut ObjectReport {
        self.table.entry(object).or_insert_with(|| ObjectReport {
            object,
            size: None,
            state: ObjectState::Pending {},
            owner,
            holders: Vec::new(),
            call_site: None,
        })
    }

    fn holder(&mut self, object: ObjectId, worker: WorkerId) -> &mut ObjectHolder {
        let pid = self
            .workers
            .iter()
            .find(|known| known.worker == worker)
            .map_or(0, |known| known.pid);
        let holders = &mut self.entry(object, WorkerId::default()).holders;
        let place = holders.iter().position(|holder| holder.worker == worker);
        let place = place.unwrap_or_else(|| {
            holders.push(ObjectHolder {
                worker,
                pid,
                handles: 0,
                tasks: 0,
                values: 0,
                views: 0,
            });
            holders.len() - 1
        });
        &mut holders[place]
    }
}

fn state_of(state: store::ObjectState) -> ObjectState {
    match state {
        store::ObjectState::Creating => ObjectState::Creating {},
        store::ObjectState::Sealed => ObjectState::Sealed {},
        store::ObjectState::Spilled => ObjectState::Spilled {},
        store::ObjectState::Dying => ObjectState::Freed {},
        _ => ObjectState::Lost {},
    }
}
