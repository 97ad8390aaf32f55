//! Actors: what is to be constructed, and how one stands.

use std::collections::BTreeMap;

use super::checkpoints::{CheckpointSpec, SaveState};
use super::leases::SchedulingStrategy;
use super::values::ArgSpec;
use crate::error::RayError;
use crate::ids::{ActorId, JobId, ObjectId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) SPEC_LAYOUTS;

    /// An actor to be, with everything needed to construct it again.
    #[derive(Debug, Clone)]
    struct ActorSpec {
        /// The actor.
        actor: ActorId,
        /// Its job.
        job: JobId,
        /// The process that created it and counts its handles.
        owner: WorkerId,
        /// The object that stands for the handles.
        handle: ObjectId,
        /// The key of its type.
        item: u64,
        /// The name of its type.
        type_name: String,
        /// The name it is found by.
        name: Option<String>,
        /// Where the name holds.
        namespace: String,
        /// Whether it outlives its creator.
        detached: bool,
        /// The constructor's arguments.
        args: Vec<ArgSpec>,
        /// Restarts allowed; -1: any number.
        max_restarts: i64,
        /// Sends again allowed for a call whose worker died; -1: any number.
        max_task_retries: i64,
        /// Calls at once; 0: by the methods' kinds.
        max_concurrency: u32,
        /// Calls pending a handle; -1: any number.
        max_pending_calls: i64,
        /// Calls that one process sends before the first of them is answered; 0: any number.
        calls_ahead: u32,
        /// Named concurrency groups and their limits.
        groups: BTreeMap<String, u32>,
        /// What the process takes while it lives.
        resources: BTreeMap<String, i64>,
        /// What must be free to place it.
        placement: BTreeMap<String, i64>,
        /// Where it may be placed.
        strategy: SchedulingStrategy,
        /// When and where its state is saved.
        checkpoint: Option<CheckpointSpec>,
        /// Whether it lives in the job's shared host, beside other work, and not in a process of its own.
        shared: bool,
    }
}

wire_types! {
    layouts pub(super) STANDING_LAYOUTS;

    /// How an actor stands.
    #[derive(Debug, Clone)]
    struct ActorInfo {
        /// The actor.
        actor: ActorId,
        /// The key of its type.
        item: u64,
        /// The name of its type.
        type_name: String,
        /// The name it is found by.
        name: Option<String>,
        /// Where the name holds.
        namespace: String,
        /// Whether it outlives its creator.
        detached: bool,
        /// The process that counts its handles.
        owner: WorkerId,
        /// The object that stands for the handles.
        handle: ObjectId,
        /// Its state.
        state: ActorState,
        /// How often it was restarted.
        restarts: u32,
        /// Sends again allowed for a call whose worker died.
        max_task_retries: i64,
        /// Calls pending a handle.
        max_pending_calls: i64,
        /// For an actor whose state is saved.
        saves: Option<Box<SaveState>>,
        /// Calls that one process sends before the first of them is answered; 0: any number.
        calls_ahead: u32,
        /// Whether it lives in the job's shared host, beside other work.
        shared: bool,
    }

    /// The states of an actor's life, with what each knows.
    #[derive(Debug, Clone)]
    enum ActorState {
        1 =>
        /// It waits for a worker or for its constructor.
        Pending {},
        2 =>
        /// It takes calls.
        Alive {
            /// Where.
            worker: WorkerId,
            /// Its process.
            pid: u32,
        },
        3 =>
        /// It was lost and comes again.
        Restarting {
            /// Why it was lost.
            cause: String,
        },
        4 =>
        /// It is dead.
        Dead {
            /// The error its calls end with.
            error: RayError,
        },
    }
}
