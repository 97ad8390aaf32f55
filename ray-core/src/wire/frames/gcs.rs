//! What a process asks the GCS, what it answers, and what it tells unasked.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::actors::{ActorInfo, ActorSpec};
use super::checkpoints::SaveState;
use super::groups::{GroupInfo, GroupState};
use super::nodes::NodeStanding;
use crate::error::RayError;
use crate::ids::{ActorId, PlacementGroupId, WorkerId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

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
        18 =>
        /// All nodes, those lately dead among them.
        ListNodes {},
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
        11 =>
        /// Nodes.
        Nodes {
            /// They.
            nodes: Vec<NodeStanding>,
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
}
