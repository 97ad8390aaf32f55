//! Placement groups that this process watches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ids::PlacementGroupId;
use crate::wire::GroupState;

/// The last news of each group.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    watched: Mutex<HashMap<PlacementGroupId, watch::Sender<GroupState>>>,
}

impl Groups {
    fn watched(&self) -> MutexGuard<'_, HashMap<PlacementGroupId, watch::Sender<GroupState>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// News of a group.
    pub(crate) fn changed(&self, group: PlacementGroupId, state: GroupState) {
        if let Some(sender) = self.watched().get(&group) {
            sender.send_replace(state);
        }
    }

    /// Follows a group from its present state on.
    pub(crate) fn follow(&self, group: PlacementGroupId, state: GroupState) -> watch::Receiver<GroupState> {
        let mut watched = self.watched();
        // Groups that nobody follows any more are forgotten here, so that the table stays as small as its use.
        watched.retain(|_, sender| sender.receiver_count() > 0);
        let sender = watched
            .entry(group)
            .or_insert_with(|| watch::Sender::new(GroupState::Pending { why: String::new() }));
        let receiver = sender.subscribe();
        sender.send_replace(state);
        receiver
    }
}
