//! [`MemoryReport`]: who holds which memory of a node.

use std::fmt;
use std::time::Duration;

use crate::ids::{ActorId, NodeId, ObjectId, TaskId, WorkerId};
use crate::wire::wire_types;

wire_types! {
    layouts pub MEMORY_LAYOUTS;

    /// Who holds which memory of a node, at one moment. Its text is a table.
    #[derive(Debug, Clone)]
    struct MemoryReport {
        /// The node.
        node: NodeId,
        /// The object store.
        store: StoreMemory,
        /// The driver and the workers, the largest first.
        processes: Vec<ProcessReport>,
        /// Every object that a process refers to or that the store holds, the largest first.
        objects: Vec<ObjectReport>,
    }

    /// What the object store of a node holds, in bytes.
    #[derive(Debug, Clone)]
    struct StoreMemory {
        /// What it may hold in memory.
        capacity: u64,
        /// Granted to writers, not sealed yet.
        creating: u64,
        /// Sealed, in memory.
        sealed: u64,
        /// Freed, and still read by someone.
        freed: u64,
        /// On disk only.
        spilled: u64,
        /// Kept for the next object.
        idle: u64,
        /// How many calls wait for space.
        waiting: u64,
        /// Why the last spill failed, if it did.
        spill_error: Option<String>,
    }

    /// The memory of one process, and so of the tasks and the actor in it.
    #[derive(Debug, Clone)]
    struct ProcessReport {
        /// The process.
        worker: WorkerId,
        /// Its number.
        pid: u32,
        /// `starting`, `idle`, `leased`, `actor`, `driver`, `observer` or `exiting`.
        state: String,
        /// The name of the task or actor that it was leased or made for.
        serves: String,
        /// The tasks and calls that run in it.
        running: Vec<RunningTask>,
        /// Resident bytes, with all that it shares with others.
        resident: u64,
        /// Resident bytes, where each shared page counts by the part that falls to this process.
        proportional: Option<u64>,
        /// Bytes of the work that it has submitted and that has not ended.
        pending_bytes: u64,
        /// Bytes of specifications that it keeps to make lost objects again.
        lineage_bytes: u64,
    }

    /// A task or call that runs.
    #[derive(Debug, Clone)]
    struct RunningTask {
        /// Its name.
        name: String,
        /// The task.
        task: TaskId,
        /// The actor, for a call.
        actor: Option<ActorId>,
        /// Which attempt, from 0.
        attempt: u32,
        /// Whether it is run again if its process is lost.
        retriable: bool,
        /// When it started, by the machine's monotonic clock.
        started: Duration,
    }

    /// One object.
    #[derive(Debug, Clone)]
    struct ObjectReport {
        /// The object.
        object: ObjectId,
        /// Its bytes, once it has a value.
        size: Option<u64>,
        /// Where its value is.
        state: ObjectState,
        /// The process that owns it.
        owner: WorkerId,
        /// Every process that holds it.
        holders: Vec<ObjectHolder>,
        /// Where in the program it was made, if `RAY_record_ref_creation_sites` is set.
        call_site: Option<String>,
    }

    /// Where the value of an object is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum ObjectState {
        1 =>
        /// Its task has not ended.
        Pending {},
        2 =>
        /// In the memory of its owner.
        InProcess {},
        3 =>
        /// In the store, being written.
        Creating {},
        4 =>
        /// In the store, in memory.
        Sealed {},
        5 =>
        /// In the store, on disk only.
        Spilled {},
        6 =>
        /// In the store, freed, but still read by someone.
        Freed {},
        7 =>
        /// Its copy on disk is gone or damaged.
        Lost {},
        8 =>
        /// There is no value: its task failed.
        Failed {},
    }

    /// How one process holds an object.
    #[derive(Debug, Clone)]
    struct ObjectHolder {
        /// The process.
        worker: WorkerId,
        /// Its number.
        pid: u32,
        /// References in the program.
        handles: u32,
        /// Submitted tasks that have it as an argument.
        tasks: u32,
        /// Values that contain it.
        values: u32,
        /// Values that are read in place and pin it.
        views: u32,
    }

    /// What one process says of itself.
    #[derive(Debug, Clone)]
    struct Holdings {
        /// What runs in it.
        running: Vec<RunningTask>,
        /// Whether others hold objects that it owns.
        lends: bool,
        /// Bytes of pending work.
        pending_bytes: u64,
        /// Bytes of kept specifications.
        lineage_bytes: u64,
        /// The objects it holds, if they were asked for.
        objects: Vec<HeldObject>,
    }

    /// An object as one process knows it.
    #[derive(Debug, Clone)]
    struct HeldObject {
        /// The object.
        object: ObjectId,
        /// Its owner.
        owner: WorkerId,
        /// References in the program.
        handles: u32,
        /// Submitted tasks that have it as an argument.
        tasks: u32,
        /// Values that contain it.
        values: u32,
        /// Its bytes, once it has a value.
        size: Option<u64>,
        /// Where its value is, as far as the process knows.
        state: ObjectState,
        /// Where in the program it was made.
        call_site: Option<String>,
    }
}

/// A size for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let text = match STEPS.iter().find(|(step, _)| self.0 >= *step) {
            None => format!("{} B", self.0),
            #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
            Some((step, unit)) => format!("{:.1} {unit}", self.0 as f64 / *step as f64),
        };
        f.pad(&text)
    }
}

impl fmt::Display for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending {} => "pending",
            Self::InProcess {} => "in process",
            Self::Creating {} => "creating",
            Self::Sealed {} => "sealed",
            Self::Spilled {} => "spilled",
            Self::Freed {} => "freed",
            Self::Lost {} => "lost",
            Self::Failed {} => "failed",
        })
    }
}

impl fmt::Display for ObjectHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.pid)?;
        let kinds = [
            (self.handles, "handles"),
            (self.tasks, "tasks"),
            (self.values, "values"),
            (self.views, "views"),
        ];
        let mut separator = " ";
        for (count, kind) in kinds.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {kind}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = &self.store;
        writeln!(
            f,
            "object store of node {}: {} of {} sealed, {} being created, {} freed but still read, {} spilled; {} calls wait",
            &self.node.to_string()[..8],
            Size(store.sealed),
            Size(store.capacity),
            Size(store.creating),
            Size(store.freed),
            Size(store.spilled),
            store.waiting,
        )?;
        if let Some(error) = &store.spill_error {
            writeln!(f, "spilling fails: {error}")?;
        }
        writeln!(
            f,
            "\n{:>8} {:<8} {:>10} {:>10} {:>10}  runs",
            "pid", "state", "PSS", "RSS", "pending"
        )?;
        for process in &self.processes {
            let running: Vec<_> = process.running.iter().map(|task| task.name.as_str()).collect();
            let running = running.join(", ");
            writeln!(
                f,
                "{:>8} {:<8} {:>10} {:>10} {:>10}  {}",
                process.pid,
                process.state,
                process
                    .proportional
                    .map_or_else(|| "-".to_owned(), |bytes| Size(bytes).to_string()),
                Size(process.resident),
                Size(process.pending_bytes),
                if running.is_empty() { &process.serves } else { &running },
            )?;
        }
        writeln!(
            f,
            "\n{:<40} {:>10} {:<10} {:>8}  held by",
            "object", "size", "state", "owner"
        )?;
        for object in &self.objects {
            let owner = self.processes.iter().find(|process| process.worker == object.owner);
            write!(
                f,
                "{:<40} {:>10} {:<10} {:>8}  ",
                object.object.to_string(),
                object
                    .size
                    .map_or_else(|| "-".to_owned(), |bytes| Size(bytes).to_string()),
                object.state,
                owner.map_or_else(|| "dead".to_owned(), |owner| owner.pid.to_string()),
            )?;
            for (index, holder) in object.holders.iter().enumerate() {
                write!(f, "{}{holder}", if index == 0 { "" } else { "; " })?;
            }
            match &object.call_site {
                Some(site) => writeln!(f, "  made at {site}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
