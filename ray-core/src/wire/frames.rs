//! Every frame that driver, worker, raylet and GCS exchange on one node.
//!
//! One enum, so that any connection can carry any of them and a wrong one is a typed protocol error. Tags are grouped:
//! 1.. handshake, 10.. a process to its raylet, 30.. a raylet to a process, 50.. between workers, 80.. to and from the GCS.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::codec::{Wire, wire_types};
use crate::error::RayError;
use crate::ids::{ActorId, JobId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId};
use crate::memory::{Holdings, MemoryReport};

wire_types! {
    layouts pub FRAME_LAYOUTS;

    /// One message.
    #[derive(Debug, Clone)]
    enum Frame {
        1 =>
        /// The first frame of a process on its control socket.
        Hello {
            /// Which build, protocol and process this is.
            hello: Box<Hello>,
        },
        2 =>
        /// The raylet accepts the process.
        Welcome {
            /// What a process must know to take part.
            welcome: Box<Welcome>,
        },
        3 =>
        /// The raylet does not accept the process.
        Refused {
            /// What differs, both sides named.
            why: String,
        },
        4 =>
        /// The first frame to a head in a process of its own. The driver's `Hello` follows.
        StartHead {
            /// What it is to be.
            setup: Box<HeadSetup>,
        },
        10 =>
        /// Asks for a worker for a shape.
        RequestLease {
            /// The requester's own number for this request.
            request: u64,
            /// What the worker is for.
            shape: LeaseShape,
        },
        11 =>
        /// A request that is not needed any more. One that was granted already is returned by the owner.
        CancelLeaseRequest {
            /// The request.
            request: u64,
        },
        12 =>
        /// Gives a leased worker back.
        ReturnLease {
            /// The lease.
            lease: u64,
            /// Whether the worker can serve again. A worker that reached `max_calls` cannot.
            reusable: bool,
        },
        13 =>
        /// Asks to be linked with another worker of this node.
        Connect {
            /// The other one.
            worker: WorkerId,
        },
        14 =>
        /// The running task of this worker blocks in `get` or `wait`: its CPU can serve another.
        Blocked {
            /// The lease it runs under, in a process that serves several at once; else 0.
            lease: u64,
        },
        15 =>
        /// The blocked task goes on.
        Unblocked {
            /// As in `Blocked`.
            lease: u64,
        },
        16 =>
        /// Asks for a worker to be killed: a forced cancel, or a timeout whose grace is over.
        KillWorker {
            /// The worker.
            worker: WorkerId,
            /// The task that must still be the running one, so that a late request kills nobody else.
            task: TaskId,
        },
        17 =>
        /// The actor's constructor ended.
        ActorConstructed {
            /// The actor.
            actor: ActorId,
            /// The error, if it failed.
            error: Option<RayError>,
        },
        18 =>
        /// The actor of this worker ends: the process exits after this frame, unless it hosts other work too.
        ActorExiting {
            /// The actor.
            actor: ActorId,
            /// Whether it was asked to (`true`: never restarted).
            intended: bool,
        },
        19 =>
        /// Asks what the node holds.
        NodeReport {
            /// The requester's number for this request.
            request: u64,
        },
        20 =>
        /// Asks who holds which memory.
        MemoryReport {
            /// The requester's number for this request.
            request: u64,
        },
        21 =>
        /// The answer to `TellHoldings`.
        Holdings {
            /// The raylet's number of the question.
            census: u64,
            /// What the process holds.
            holdings: Box<Holdings>,
        },
        22 =>
        /// The worker begins, or ceases, to have what others use: objects that they hold, tasks that they run.
        Lending {
            /// Whether it has such things.
            lends: bool,
        },
        23 =>
        /// The worker becomes the actor that it was asked to be.
        ActorTaken {
            /// The actor.
            actor: ActorId,
        },
        24 =>
        /// The worker lends, and so does not become an actor: its objects would end with the actor.
        ActorDeclined {
            /// What it was to construct.
            spec: Box<ActorSpec>,
            /// How often the actor was restarted.
            restarts: u32,
        },
        30 =>
        /// A worker for a request.
        LeaseGranted {
            /// The request.
            request: u64,
            /// The lease: names the grant until it is returned.
            lease: u64,
            /// The worker.
            worker: WorkerId,
            /// Its process.
            pid: u32,
            /// Which GPUs it may use.
            gpus: Vec<u32>,
            /// Whether other processes wait for leases: then it goes back as soon as it is idle.
            crowded: bool,
        },
        31 =>
        /// No worker will come for this request.
        LeaseRefused {
            /// The request.
            request: u64,
            /// Why.
            error: RayError,
        },
        32 =>
        /// Requests wait for resources: idle leases go back now.
        ReclaimIdle {
            /// Whether requests of other processes do: for a while leases go back as soon as they are idle.
            crowded: bool,
        },
        33 =>
        /// A connection to another worker: one end of a socket pair comes with this frame.
        PeerLink {
            /// The other worker.
            worker: WorkerId,
            /// Its process.
            pid: u32,
        },
        34 =>
        /// A worker of this node is dead. Comes once for each worker that the receiver was linked with or asked for.
        PeerGone {
            /// The worker.
            worker: WorkerId,
            /// How it ended.
            cause: DeathCause,
        },
        35 =>
        /// Asks a worker process to end when what it runs has ended.
        Exit {},
        36 =>
        /// Makes a worker an actor.
        ConstructActor {
            /// What to construct.
            spec: Box<ActorSpec>,
            /// How often the actor was restarted.
            restarts: u32,
        },
        37 =>
        /// The answer to `NodeReport`.
        NodeReportReply {
            /// The request.
            request: u64,
            /// What the node has.
            report: Box<NodeReport>,
        },
        38 =>
        /// Asks a process what it holds.
        TellHoldings {
            /// The raylet's number of the question.
            census: u64,
            /// Whether its objects are asked for too.
            objects: bool,
        },
        39 =>
        /// The answer to `MemoryReport`.
        MemoryReportReply {
            /// The request.
            request: u64,
            /// Who holds what.
            report: Box<MemoryReport>,
        },
        40 =>
        /// A line that a worker has printed, for its driver's terminal.
        Output {
            /// What the worker runs.
            name: String,
            /// Its process.
            pid: u32,
            /// Whether it was printed to standard error.
            stderr: bool,
            /// The line without its end.
            text: String,
        },
        41 =>
        /// Asks an actor that is saved to save what is not, and to end: no further call begins.
        SaveAndExit {},
        50 =>
        /// A task for the leased worker.
        PushTask {
            /// The task.
            spec: Box<TaskSpec>,
            /// The lease it runs under, where the receiver serves several at once; else 0.
            lease: u64,
        },
        51 =>
        /// A task of the receiver has ended.
        TaskDone {
            /// The task.
            task: TaskId,
            /// Which attempt.
            attempt: u32,
            /// What became of it.
            outcome: TaskOutcome,
            /// Whether the worker can take another task: not one that has reached `max_calls`.
            reusable: bool,
            /// How long it ran, in microseconds: short tasks are sent several at a time.
            ran: u32,
        },
        52 =>
        /// Asks the owner of an object to tell when it is ready.
        Subscribe {
            /// The object.
            object: ObjectId,
        },
        53 =>
        /// The owner's answer to `Subscribe`.
        ObjectReady {
            /// The object.
            object: ObjectId,
            /// Its value, or where it is, or why there is none.
            value: ObjectValue,
        },
        54 =>
        /// To an owner: a reference to its object has been sent to another process.
        Handover {
            /// The object.
            object: ObjectId,
            /// Who gets the reference.
            to: WorkerId,
        },
        55 =>
        /// To an owner: the sender has dropped all its references to the object.
        Release {
            /// The object.
            object: ObjectId,
            /// How many hand-overs the sender had received.
            count: u32,
        },
        56 =>
        /// Cancels a task that was pushed.
        CancelTask {
            /// The task.
            task: TaskId,
            /// Whether its children are cancelled too.
            recursive: bool,
        },
        57 =>
        /// A worker gives back tasks that it has not started, because the one before them blocks or it exits.
        TasksReturned {
            /// The tasks.
            tasks: Vec<TaskId>,
        },
        58 =>
        /// A stored value that the receiver owns could not be read: its spill file is gone or damaged.
        ObjectUnreadable {
            /// The object.
            object: ObjectId,
            /// What the store said.
            why: String,
        },
        59 =>
        /// One item of a stream.
        StreamItem {
            /// The task that produces the stream.
            task: TaskId,
            /// Which attempt.
            attempt: u32,
            /// The item's place in the stream, from 0.
            index: u64,
            /// Its value.
            value: ObjectValue,
        },
        60 =>
        /// How many items of a stream have been consumed: the producer's back-pressure.
        StreamConsumed {
            /// The task that produces the stream.
            task: TaskId,
            /// The number of items consumed. The largest number there is ends the attempt: a further one makes items again
            /// that were lost.
            consumed: u64,
        },
        61 =>
        /// A task has begun to run in the sending worker.
        TaskStarted {
            /// The task.
            task: TaskId,
            /// Which attempt.
            attempt: u32,
        },
        62 =>
        /// Offers a ring for tasks to the receiver: the ring's memory and the sender's bell come with this frame.
        RingOffer {},
        63 =>
        /// Accepts an offer: the sender's bell comes with this frame.
        RingAccept {},
        64 =>
        /// The task that runs in the sender waits for something: what was sent after it goes elsewhere.
        Stalled {},
        65 =>
        /// Ends the receiving process at once, if it runs this task.
        EndIfRunning {
            /// The task.
            task: TaskId,
        },
        66 =>
        /// Ends an actor that lives in the receiver beside other work.
        EndActor {
            /// The actor.
            actor: ActorId,
        },
        70 =>
        /// An actor's worker to its creator: it needs the references inside the constructor's arguments.
        ClaimArguments {
            /// The actor.
            actor: ActorId,
        },
        71 =>
        /// The answer to `ClaimArguments`: they have been handed over.
        ArgumentsHanded {
            /// The actor.
            actor: ActorId,
            /// Whether they were held still.
            handed: bool,
        },
        80 =>
        /// A question to the GCS; the raylet passes it on and fills in who asks.
        GcsRequest {
            /// The asker's own number for the question; 0 wants no answer.
            request: u64,
            /// Who asks.
            from: WorkerId,
            /// The question.
            body: Box<GcsRequest>,
        },
        81 =>
        /// The answer of the GCS.
        GcsReply {
            /// The question's number.
            request: u64,
            /// Who asked.
            to: WorkerId,
            /// The answer.
            body: Box<GcsReply>,
        },
        82 =>
        /// News from the GCS for one process.
        GcsEvent {
            /// Whom it is for.
            to: WorkerId,
            /// The news.
            event: Box<GcsEvent>,
        },
        83 =>
        /// A raylet joins.
        RegisterNode {
            /// The node.
            node: NodeId,
            /// What it has.
            resources: BTreeMap<String, f64>,
        },
        84 =>
        /// A worker process of a node has ended.
        WorkerEnded {
            /// The worker.
            worker: WorkerId,
            /// The actor it was, if any.
            actor: Option<ActorId>,
            /// How it ended.
            cause: DeathCause,
        },
        85 =>
        /// The GCS asks a node to start an actor.
        StartActor {
            /// The actor.
            spec: Box<ActorSpec>,
            /// How often it was restarted.
            restarts: u32,
        },
        86 =>
        /// A node reports on a `StartActor`.
        ActorStarted {
            /// The actor.
            actor: ActorId,
            /// The worker it lives in.
            worker: WorkerId,
            /// Its process.
            pid: u32,
            /// Why it could not be started or constructed.
            error: Option<RayError>,
        },
        87 =>
        /// The GCS asks a node to end the worker of an actor; the node asks the host of one that lives beside other work.
        StopActor {
            /// The actor.
            actor: ActorId,
            /// Whether at once (SIGKILL), or after the calls that have arrived.
            force: bool,
            /// Whether an actor that is saved is saved once more before that.
            saves: bool,
            /// Why, for the errors of its calls.
            why: String,
        },
        88 =>
        /// The GCS asks a node to reserve bundles.
        ReserveBundles {
            /// The group.
            group: PlacementGroupId,
            /// The index and the resources of each bundle for this node.
            bundles: Vec<(u32, BTreeMap<String, f64>)>,
            /// Whether the node answers only when it has room for them, as it has not now.
            wait: bool,
        },
        89 =>
        /// A node's answer to `ReserveBundles`.
        BundlesReserved {
            /// The group.
            group: PlacementGroupId,
            /// Whether all were reserved; if not, none is.
            reserved: bool,
        },
        90 =>
        /// The GCS asks a node to give up a group: its tasks and actors end.
        ReleaseBundles {
            /// The group.
            group: PlacementGroupId,
        },
        91 =>
        /// The resources of a node that are free have grown or shrunk.
        NodeResources {
            /// What is free.
            available: BTreeMap<String, f64>,
        },
        92 =>
        /// A driver has ended: its job is over.
        JobEnded {
            /// The job.
            job: JobId,
        },
        93 =>
        /// A node has requests that wait for a placement group: it wants to know how that stands, now and at each change.
        GroupWanted {
            /// The group.
            group: PlacementGroupId,
        },
        94 =>
        /// The GCS's answer to `GroupWanted`.
        GroupStands {
            /// The group.
            group: PlacementGroupId,
            /// How many bundles it has.
            bundles: u32,
            /// How it stands.
            state: GroupState,
        },
    }

    /// Which build, protocol and process introduces itself.
    #[derive(Debug, Clone)]
    struct Hello {
        /// Always [`MAGIC`](super::handshake::MAGIC).
        magic: u64,
        /// The protocol number.
        protocol: u32,
        /// The fingerprint of all layouts.
        layout: u64,
        /// The machine architecture.
        arch: String,
        /// The hash of the table of remote items.
        items: u64,
        /// Who this is.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    }

    /// What a process must know to take part.
    #[derive(Debug, Clone)]
    struct Welcome {
        /// Who the process is.
        worker: WorkerId,
        /// The node.
        node: NodeId,
        /// The job.
        job: JobId,
        /// The job's driver.
        driver: WorkerId,
        /// The job's namespace.
        namespace: String,
        /// The session directory.
        session_dir: String,
        /// Options of cluster scope, as `RAY_<NAME>` text.
        config: BTreeMap<String, String>,
    }

    /// What a head is to be: its node, its session, its job.
    #[derive(Debug, Clone)]
    struct HeadSetup {
        /// The node's id.
        node: NodeId,
        /// What the node has.
        resources: BTreeMap<String, f64>,
        /// How the node's GPUs are named to workers, by index.
        gpus: Vec<String>,
        /// How many idle workers are kept.
        idle_workers: u32,
        /// The object store's capacity in bytes.
        store_bytes: u64,
        /// The session directory's path, as the kernel has it.
        session_dir: Bytes,
        /// The job.
        job: JobId,
        /// The job's driver.
        driver: WorkerId,
        /// The job's namespace.
        namespace: String,
        /// Settings of node scope, as text.
        node_config: BTreeMap<String, String>,
        /// Settings of cluster scope, as text.
        cluster_config: BTreeMap<String, String>,
        /// The window in which lines that workers repeat are counted instead of shown.
        deduplicate_within: Option<Duration>,
    }

    /// What a lease is for: tasks with equal shapes share leases.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct LeaseShape {
        /// What one task takes, in units of 1/10000.
        resources: BTreeMap<String, i64>,
        /// Where it may run.
        strategy: SchedulingStrategy,
        /// Whether it shares the host process of the job.
        shared: bool,
        /// The name of the task that the request was made for, for messages.
        name: String,
    }

    /// Where a task or actor may run.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    enum SchedulingStrategy {
        1 =>
        /// Ray's hybrid policy.
        Default {},
        2 =>
        /// Over the nodes in turn.
        Spread {},
        3 =>
        /// On one node; elsewhere if that cannot be and `soft` is set.
        NodeAffinity {
            /// The node.
            node: NodeId,
            /// Whether another node will do.
            soft: bool,
        },
        4 =>
        /// Within a placement group.
        PlacementGroup {
            /// The group.
            group: PlacementGroupId,
            /// The bundle, or any.
            bundle: Option<u32>,
            /// Whether what runs there starts its own children there too.
            captures: bool,
        },
    }

    /// How a process ended.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum DeathCause {
        1 =>
        /// It was asked to, or was idle for long.
        Intended {},
        2 =>
        /// It called `exit`.
        Exited {
            /// Its exit code.
            code: i32,
        },
        3 =>
        /// A signal ended it.
        Signalled {
            /// The signal's number.
            signal: i32,
        },
        4 =>
        /// The memory monitor ended it.
        OutOfMemory {
            /// The report.
            report: String,
        },
        5 =>
        /// It never came up.
        NotStarted {
            /// Why.
            why: String,
        },
        6 =>
        /// A forced cancel, `kill`, or a timeout ended it.
        Killed {
            /// Who asked for it.
            why: String,
        },
        7 =>
        /// Its node is not known any more.
        NodeGone {},
        8 =>
        /// The placement group that it ran in was removed.
        GroupRemoved {
            /// The group.
            group: PlacementGroupId,
        },
    }

    /// One task or actor call, ready to run.
    #[derive(Debug, Clone)]
    struct TaskSpec {
        /// The task.
        task: TaskId,
        /// Which attempt, from 0.
        attempt: u32,
        /// Who owns its results.
        owner: WorkerId,
        /// The task that submitted it.
        parent: TaskId,
        /// The key of the function or actor type.
        item: u64,
        /// For an actor call.
        call: Option<ActorCallSpec>,
        /// The name shown to people, if not the function's own.
        name: Option<String>,
        /// The arguments in order.
        args: Vec<ArgSpec>,
        /// How many objects it returns.
        returns: u32,
        /// For a task that returns a stream.
        stream: Option<Box<StreamSpec>>,
        /// Which errors of the task's own code are retried.
        retry_exceptions: RetryExceptions,
        /// The time it may still run.
        deadline: Option<Duration>,
        /// The placement group it runs in.
        group: Option<PlacementGroupId>,
        /// Whether its children run there too.
        captures: bool,
        /// What it takes, for the runtime context; nothing: what the function's attribute says.
        resources: Option<BTreeMap<String, i64>>,
        /// Whether it is run again if its worker is lost: such workers are ended first when memory is short.
        retriable: bool,
    }

    /// How a stream is produced. A further attempt goes on where the one before it came to.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct StreamSpec {
        /// After how many unconsumed items it pauses (0: never).
        ahead: u32,
        /// Items that the owner has: they are not sent again.
        received: u64,
        /// Items that the consumer has taken.
        consumed: u64,
        /// Items among those received that were lost, in order: they are sent once more.
        missing: Vec<u64>,
        /// Whether nothing but these is wanted: then the task ends after the last of them.
        only_missing: bool,
    }

    /// Which errors of a task's own code are retried.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum RetryExceptions {
        1 =>
        /// None.
        Never {},
        2 =>
        /// All.
        All {},
        3 =>
        /// Those that the function's predicate accepts.
        Matching {},
    }

    /// The part of a call that is about the actor.
    #[derive(Debug, Clone)]
    struct ActorCallSpec {
        /// The actor.
        actor: ActorId,
        /// The method's index in the actor's table.
        method: u32,
        /// The caller's number for this call: it grows from call to call, and stays when the call is sent again because
        /// the actor was lost.
        sequence: u64,
        /// The first number that the caller has not seen answered: below it nothing will be sent again.
        answered: u64,
        /// The call's place among those sent to this worker, from 0: ring and socket may overtake each other.
        order: u64,
        /// The concurrency group, if not the method's own.
        group: Option<String>,
    }

    /// One argument.
    #[derive(Debug, Clone)]
    enum ArgSpec {
        1 =>
        /// A value, encoded as an object.
        Inline {
            /// The object.
            object: Bytes,
        },
        2 =>
        /// A value in the object store of the node.
        Stored {
            /// The object.
            object: ObjectId,
            /// Its owner.
            owner: WorkerId,
            /// The references inside it, handed over to the receiver of this frame.
            refs: Vec<(ObjectId, WorkerId)>,
        },
    }

    /// What became of a task.
    #[derive(Debug, Clone)]
    enum TaskOutcome {
        1 =>
        /// Its results, in order.
        Returned {
            /// One a result.
            values: Vec<ObjectValue>,
        },
        2 =>
        /// It failed.
        Failed {
            /// Why.
            error: RayError,
            /// Whether the task's retry rule covers this error.
            retry: bool,
        },
        3 =>
        /// A stream ended after this many items.
        StreamEnded {
            /// How many.
            items: u64,
        },
        4 =>
        /// It did not run, because an argument in the store is gone.
        ArgumentUnreadable {
            /// The argument.
            object: ObjectId,
            /// What the store said.
            why: String,
            /// Whether it still is gone: the owner looks again.
            lost: bool,
        },
    }

    /// The value of an object, as it travels.
    #[derive(Debug, Clone)]
    enum ObjectValue {
        1 =>
        /// A small one, whole.
        Inline {
            /// The object.
            object: Bytes,
        },
        2 =>
        /// A large one: in the object store of the node.
        Stored {
            /// Its size.
            size: u64,
            /// The references inside it, handed over to the receiver of this frame.
            refs: Vec<(ObjectId, WorkerId)>,
        },
        3 =>
        /// None, for this reason.
        Failed {
            /// The reason.
            error: RayError,
        },
    }

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

    /// When and where an actor's state is saved.
    #[derive(Debug, Clone)]
    struct CheckpointSpec {
        /// After this many calls; 0: not by calls.
        every_calls: u64,
        /// After this much time, if calls came.
        every: Option<Duration>,
        /// The directory that holds the states of many actors.
        place: String,
        /// The actor's own directory in there. That of a named actor is the same in a later run.
        key: String,
        /// Whether the state is of use after the actor: a later one of the same name takes it over.
        lasting: bool,
    }

    /// What a saved state knows of the calls that it contains.
    #[derive(Debug, Clone)]
    struct SavedCalls {
        /// One a process that has called the actor.
        callers: Vec<SavedCaller>,
    }

    /// What a saved state knows of the calls of one process.
    #[derive(Debug, Clone)]
    struct SavedCaller {
        /// The process.
        caller: WorkerId,
        /// The last number of a call of this process that had ended.
        through: u64,
        /// Numbers up to that one of calls that had come and not ended.
        open: Vec<u64>,
        /// Outcomes that the caller may not have seen.
        answers: Vec<SavedAnswer>,
    }

    /// The outcome of a call that a saved state contains.
    #[derive(Debug, Clone)]
    struct SavedAnswer {
        /// The caller's number for the call.
        sequence: u64,
        /// How it ended.
        outcome: TaskOutcome,
    }

    /// How the saves of an actor stand, as its process last told.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct SaveState {
        /// After how many calls its state is saved; 0: not by calls.
        every_calls: u64,
        /// After how much time.
        every: Option<Duration>,
        /// Saves that succeeded in its present process.
        saves: u64,
        /// Calls that had ended and were not in a saved state.
        unsaved: u64,
        /// Why the last save failed, if it did.
        error: Option<String>,
    }

    /// What a process asks the GCS.
    #[derive(Debug, Clone)]
    #[expect(clippy::large_enum_variant, reason = "a question always travels in a box")]
    enum GcsRequest {
        1 =>
        /// Create an actor.
        CreateActor {
            /// The actor.
            spec: ActorSpec,
            /// Whether a living actor of the same name is as good.
            get_if_exists: bool,
        },
        2 =>
        /// Find a named actor.
        FindActor {
            /// Its name.
            name: String,
            /// Its namespace.
            namespace: String,
        },
        3 =>
        /// Tell the asker, now and at each change, where an actor lives.
        WatchActor {
            /// The actor.
            actor: ActorId,
        },
        4 =>
        /// End an actor.
        KillActor {
            /// The actor.
            actor: ActorId,
            /// Whether it stays dead although it has restarts left.
            no_restart: bool,
        },
        5 =>
        /// The last handle of an actor is gone.
        ActorOutOfScope {
            /// The actor.
            actor: ActorId,
        },
        6 =>
        /// Make a placement group.
        CreateGroup {
            /// Its id.
            group: PlacementGroupId,
            /// Its name.
            name: Option<String>,
            /// Where the name holds.
            namespace: String,
            /// Its bundles.
            bundles: Vec<BTreeMap<String, f64>>,
            /// PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
            strategy: String,
            /// With whose end it is removed: an actor's that made it, else the driver's.
            owner: WorkerId,
            /// Whether it outlives its owner.
            detached: bool,
        },
        7 =>
        /// Remove a placement group.
        RemoveGroup {
            /// The group.
            group: PlacementGroupId,
        },
        8 =>
        /// Tell the asker, now and at each change, how a group stands.
        WatchGroup {
            /// The group.
            group: PlacementGroupId,
        },
        9 =>
        /// Store a value under a key.
        KvPut {
            /// The key.
            key: String,
            /// The value.
            value: Bytes,
            /// Whether an existing value is replaced.
            overwrite: bool,
        },
        10 =>
        /// Read a key.
        KvGet {
            /// The key.
            key: String,
        },
        11 =>
        /// Remove a key.
        KvDelete {
            /// The key.
            key: String,
        },
        12 =>
        /// All keys that start so.
        KvKeys {
            /// The start.
            prefix: String,
        },
        13 =>
        /// All actors.
        ListActors {},
        14 =>
        /// Find a named placement group.
        FindGroup {
            /// Its name.
            name: String,
            /// Where the name holds.
            namespace: String,
        },
        15 =>
        /// Resources of all nodes.
        ClusterResources {},
        16 =>
        /// All placement groups.
        ListGroups {},
        17 =>
        /// How the saves of an actor stand: news, not a question.
        ActorSaved {
            /// The actor.
            actor: ActorId,
            /// How they stand.
            saves: SaveState,
        },
    }

    /// What the GCS answers.
    #[derive(Debug, Clone)]
    enum GcsReply {
        1 =>
        /// Done.
        Done {},
        2 =>
        /// No, for this reason.
        Failed {
            /// The reason.
            error: RayError,
        },
        3 =>
        /// An actor.
        Actor {
            /// How it stands.
            info: ActorInfo,
        },
        4 =>
        /// A value, if there is one.
        Value {
            /// The value.
            value: Option<Bytes>,
        },
        5 =>
        /// Keys.
        Keys {
            /// The keys.
            keys: Vec<String>,
        },
        6 =>
        /// Actors.
        Actors {
            /// Each as it stands.
            actors: Vec<ActorInfo>,
        },
        7 =>
        /// Whether something changed.
        Changed {
            /// Whether it did.
            changed: bool,
        },
        8 =>
        /// A placement group.
        Group {
            /// How it stands.
            info: GroupInfo,
        },
        9 =>
        /// Resources of the cluster.
        Resources {
            /// What there is.
            total: BTreeMap<String, f64>,
            /// What is free.
            available: BTreeMap<String, f64>,
        },
        10 =>
        /// Placement groups.
        Groups {
            /// Each as it stands.
            groups: Vec<GroupInfo>,
        },
    }

    /// What the GCS tells unasked.
    #[derive(Debug, Clone)]
    enum GcsEvent {
        1 =>
        /// An actor that the receiver watches.
        Actor {
            /// How it stands now.
            info: ActorInfo,
        },
        2 =>
        /// A placement group that the receiver watches.
        Group {
            /// The group.
            group: PlacementGroupId,
            /// How it stands now.
            state: GroupState,
        },
    }

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

    /// How a placement group stands.
    #[derive(Debug, Clone)]
    struct GroupInfo {
        /// The group.
        group: PlacementGroupId,
        /// The name it is found by.
        name: Option<String>,
        /// Its bundles.
        bundles: Vec<BTreeMap<String, f64>>,
        /// PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        strategy: String,
        /// Whether it outlives its owner.
        detached: bool,
        /// Its state.
        state: GroupState,
    }

    /// The states of a placement group.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum GroupState {
        1 =>
        /// It waits for resources.
        Pending {
            /// Why it is not placed.
            why: String,
        },
        2 =>
        /// Its bundles are reserved.
        Created {
            /// The node of each bundle.
            nodes: Vec<NodeId>,
        },
        3 =>
        /// It is gone.
        Removed {},
        4 =>
        /// No node can ever hold it.
        Infeasible {
            /// Why.
            why: String,
        },
    }

    /// What a node has and does.
    #[derive(Debug, Clone)]
    struct NodeReport {
        /// The node.
        node: NodeId,
        /// What there is.
        total: BTreeMap<String, f64>,
        /// What is free.
        available: BTreeMap<String, f64>,
        /// Its worker processes.
        workers: Vec<WorkerReport>,
        /// Lease requests that wait.
        pending_leases: u64,
    }

    /// A worker process.
    #[derive(Debug, Clone)]
    struct WorkerReport {
        /// The worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// `starting`, `idle`, `leased`, `actor`, `driver` or `exiting`.
        state: String,
        /// The name of what it was leased or made for.
        serves: String,
    }
}

impl Frame {
    /// Appends a `PushTask` of this task, without a copy of it.
    pub(crate) fn encode_push_task(spec: &TaskSpec, out: &mut Vec<u8>) {
        Wire::encode(&PUSH_TASK_TAG, out);
        Wire::encode(spec, out);
        // Those that serve several leases at once take no tasks by ring.
        Wire::encode(&0u64, out);
    }

    /// Whether this is an answer that carries no reference.
    pub(crate) fn is_plain_answer(&self) -> bool {
        let plain = |value: &ObjectValue| match value {
            ObjectValue::Inline { object } => crate::value::refs_of(object).is_ok_and(|refs| refs.is_empty()),
            ObjectValue::Stored { refs, .. } => refs.is_empty(),
            ObjectValue::Failed { .. } => true,
        };
        match self {
            Self::TaskDone {
                outcome: TaskOutcome::Returned { values },
                ..
            } => values.iter().all(plain),
            Self::TaskDone { .. } => true,
            _ => false,
        }
    }
}

/// The tag of [`Frame::PushTask`]; a test compares the two.
const PUSH_TASK_TAG: u16 = 50;

impl SchedulingStrategy {
    /// The placement group, if it is one.
    pub fn group(&self) -> Option<PlacementGroupId> {
        match self {
            Self::PlacementGroup { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// Whether what runs under it starts its own children in the same placement group.
    pub fn captures(&self) -> bool {
        matches!(self, Self::PlacementGroup { captures: true, .. })
    }
}

/// The references in an encoded object, with their owners.
fn references_in(object: &Bytes) -> Vec<(ObjectId, WorkerId)> {
    let tokens = crate::value::refs_of(object).unwrap_or_default();
    tokens.into_iter().map(|token| (token.object, token.owner)).collect()
}

impl ArgSpec {
    /// The references inside the argument, with their owners.
    pub fn references(&self) -> Vec<(ObjectId, WorkerId)> {
        match self {
            Self::Inline { object } => references_in(object),
            Self::Stored { refs, .. } => refs.clone(),
        }
    }
}

impl ObjectValue {
    /// The references inside the value, with their owners.
    pub fn references(&self) -> Vec<(ObjectId, WorkerId)> {
        match self {
            Self::Inline { object } => references_in(object),
            Self::Stored { refs, .. } => refs.clone(),
            Self::Failed { .. } => Vec::new(),
        }
    }
}

impl From<crate::remote::RetryExceptions> for RetryExceptions {
    fn from(which: crate::remote::RetryExceptions) -> Self {
        match which {
            crate::remote::RetryExceptions::Never => Self::Never {},
            crate::remote::RetryExceptions::All => Self::All {},
            crate::remote::RetryExceptions::Matching => Self::Matching {},
        }
    }
}

impl RetryExceptions {
    /// Whether this error is one of them.
    pub fn accepts(self, error: &crate::remote::TaskError) -> bool {
        let which = match self {
            Self::Never {} => crate::remote::RetryExceptions::Never,
            Self::All {} => crate::remote::RetryExceptions::All,
            Self::Matching {} => crate::remote::RetryExceptions::Matching,
        };
        which.accepts(error)
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intended {} => f.write_str("it ended as intended"),
            Self::Exited { code } => write!(f, "its process exited with code {code}"),
            Self::Signalled { signal } => write!(f, "its process was ended by signal {signal}{}", signal_name(*signal)),
            Self::OutOfMemory { report } => write!(f, "it was killed because the node ran low on memory: {report}"),
            Self::NotStarted { why } => write!(f, "its process did not start: {why}"),
            Self::Killed { why } => write!(f, "its process was killed: {why}"),
            Self::NodeGone {} => f.write_str("its node is gone"),
            Self::GroupRemoved { group } => {
                write!(f, "its process was killed: its placement group {group} was removed")
            }
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGSEGV => " (SIGSEGV: a crash in native code, or a stack overflow)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        _ => "",
    }
}
