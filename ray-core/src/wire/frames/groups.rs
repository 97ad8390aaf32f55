//! How a placement group stands.

use std::collections::BTreeMap;

use crate::ids::{NodeId, PlacementGroupId};
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

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
}
