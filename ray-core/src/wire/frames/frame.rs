//! [`Frame`]: every message, with its tag.
//!
//! Tags are grouped: 1.. handshake, 10.. a process to its raylet, 30.. a raylet to a process, 50.. between workers,
//! 80.. to and from the GCS, 110.. between nodes. A tag never changes meaning, and that of a removed message is not used again.

use std::collections::BTreeMap;

use super::actors::ActorSpec;
use super::death::DeathCause;
use super::gcs::{GcsEvent, GcsReply, GcsRequest};
use super::groups::GroupState;
use super::handshake::{HeadSetup, Hello, JobSetup, Welcome};
use super::leases::{HostLease, LeaseShape};
use super::nodes::{GuestJob, NodeInfo, NodeReport};
use super::tasks::TaskSpec;
use super::values::{ObjectValue, TaskOutcome};
use crate::error::RayError;
use bytes::Bytes;

use crate::ids::{ActorId, JobId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId};
use crate::memory::{Holdings, MemoryReport};
use crate::wire::codec::{Wire, wire_types};

wire_types! {
    layouts pub(super) LAYOUTS;

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
        5 =>
        /// The first frame of a driver. With it come the descriptor of its program, and that of a socket for what its workers
        /// print if the raylet is in another process and the driver shows it.
        Attach {
            /// Which build, protocol and process this is.
            hello: Box<Hello>,
            /// The job that begins with it; none for a process that only asks how the node stands.
            job: Option<Box<JobSetup>>,
        },
        6 =>
        /// Asks a node that `ray start` has started to end.
        StopNode {},
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
            /// Its job, which may be another one.
            job: JobId,
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
        42 =>
        /// From a host: a guest's request can be granted here no more. Its own node sees to it anew.
        AskAgain {
            /// The request.
            request: u64,
        },
        41 =>
        /// Asks an actor that is saved to save what is not, and to end: no further call begins.
        SaveAndExit {},
        50 =>
        /// A task for the leased worker.
        PushTask {
            /// The task.
            spec: Box<TaskSpec>,
            /// The lease it runs under, where the receiver serves several at once.
            lease: Option<Box<HostLease>>,
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
        /// A stored value that the receiver owns could not be read: its spill file is gone or damaged, or who reads is of another
        /// job, which has a store of its own.
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
            info: Box<NodeInfo>,
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
        /// The GCS asks a node to give up the bundles of a group: its tasks and actors end.
        ReleaseBundles {
            /// The group.
            group: PlacementGroupId,
            /// Whether the group is removed; else it is placed anew, and requests for it wait on.
            removed: bool,
        },
        91 =>
        /// The resources of a node that are free have grown or shrunk.
        NodeResources {
            /// What is free.
            available: BTreeMap<String, f64>,
        },
        92 =>
        /// A driver has ended, and with it everything of its job but the actors that are to outlive it.
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
            /// What each bundle holds.
            bundles: Vec<BTreeMap<String, f64>>,
            /// How it stands.
            state: GroupState,
        },
        95 =>
        /// A driver has come: a job begins.
        AddJob {
            /// The driver.
            driver: WorkerId,
            /// The job's namespace.
            namespace: String,
        },
        96 =>
        /// The job has this number.
        JobAdded {
            /// The driver.
            driver: WorkerId,
            /// The job.
            job: JobId,
        },
        97 =>
        /// A job is over: its driver is gone, and no actor of it is left that could need its program.
        JobOver {
            /// The job.
            job: JobId,
        },
        98 =>
        /// An actor that a node was asked to start has its bundle on another one.
        ActorBelongs {
            /// The actor.
            actor: ActorId,
            /// That node.
            node: NodeId,
        },
        110 =>
        /// The first frame of a node on its connection to the head. `RegisterNode` follows the answer.
        JoinCluster {
            /// The node.
            node: NodeId,
        },
        111 =>
        /// The head's answer to `JoinCluster`.
        ClusterJoined {
            /// Settings of cluster scope, as text.
            cluster_config: BTreeMap<String, String>,
        },
        113 =>
        /// The GCS tells a node of another one, which has joined.
        NodeJoined {
            /// The node.
            info: Box<NodeInfo>,
        },
        114 =>
        /// The GCS tells a node that another one is dead; or that it itself counts as dead: then it ends.
        NodeLeft {
            /// The node.
            node: NodeId,
            /// Why.
            why: String,
        },
        115 =>
        /// The GCS tells a node what is free of another one.
        NodeFree {
            /// The node.
            node: NodeId,
            /// What is free.
            available: BTreeMap<String, f64>,
        },
        116 =>
        /// To the GCS: the way between the sender's node and another one has ended.
        NodeUnreachable {
            /// The other node.
            node: NodeId,
            /// How it ended.
            why: String,
        },
        120 =>
        /// The first frame of a raylet on a connection to the raylet of another node, whose guests its processes are.
        VisitNode {
            /// The node that it comes from.
            node: NodeId,
        },
        122 =>
        /// A process becomes a guest.
        GuestComes {
            /// The process.
            worker: WorkerId,
            /// Its job.
            job: JobId,
            /// Its number on its own node.
            pid: u32,
        },
        123 =>
        /// A guest's process has ended.
        GuestGone {
            /// The process.
            worker: WorkerId,
            /// How.
            cause: DeathCause,
        },
        124 =>
        /// A frame of a guest to its host, or of the host to its guest, as it is.
        Relay {
            /// The guest.
            guest: WorkerId,
            /// The frame's bytes.
            frame: Bytes,
        },
        125 =>
        /// The host asks the node of its guest for a connection between the guest and a process of the host's.
        LinkWanted {
            /// The host's number for this link.
            ticket: u64,
            /// The guest.
            guest: WorkerId,
            /// The other process.
            worker: WorkerId,
            /// Its job.
            job: JobId,
            /// Its number.
            pid: u32,
        },
        126 =>
        /// The first frame on a connection that becomes a link. The host answers by the same frame, and from then on the two
        /// processes have it.
        Link {
            /// The node of the guest.
            node: NodeId,
            /// The host's number for this link.
            ticket: u64,
        },
        127 =>
        /// The first frame on a connection over which a job's program is sent.
        FetchProgram {
            /// The job.
            job: JobId,
        },
        128 =>
        /// The answer to `FetchProgram`. The program's bytes follow.
        Program {
            /// What workers of the job are started with; none if the node has nothing of it.
            job: Option<Box<GuestJob>>,
        },
        112 =>
        /// The first frame of a node on a connection of its own for signs of life, each of which is a further one. The head
        /// answers each by the same frame.
        Alive {
            /// The node.
            node: NodeId,
        },
    }
}

impl Frame {
    /// Appends a `PushTask` of this task, without a copy of it.
    pub(crate) fn encode_push_task(spec: &TaskSpec, out: &mut Vec<u8>) {
        Wire::encode(&PUSH_TASK_TAG, out);
        Wire::encode(spec, out);
        // Those that serve several leases at once take no tasks by ring.
        Wire::encode(&None::<Box<HostLease>>, out);
    }

    /// Whether this is an answer that carries no reference.
    pub(crate) fn is_plain_answer(&self) -> bool {
        match self {
            Self::TaskDone {
                outcome: TaskOutcome::Returned { values },
                ..
            } => values.iter().all(ObjectValue::is_plain),
            Self::TaskDone { .. } => true,
            _ => false,
        }
    }
}

/// The tag of [`Frame::PushTask`].
const PUSH_TASK_TAG: u16 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::to_bytes;

    #[test]
    fn a_task_that_is_pushed_without_a_copy_is_the_same_frame() {
        let spec = TaskSpec::sample();
        let mut pushed = Vec::new();
        Frame::encode_push_task(&spec, &mut pushed);
        let spec = Box::new(spec);
        assert_eq!(pushed, to_bytes(&Frame::PushTask { spec, lease: None }));
    }
}
