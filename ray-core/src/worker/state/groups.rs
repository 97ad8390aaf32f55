//! Placement groups as this process knows them: the objects that become ready with a group.

use std::time::Instant;

use super::{Dest, Out, State};
use crate::error::RayError;
use crate::ids::{FIRST_PUT_INDEX, ObjectId, PlacementGroupId};
use crate::wire::{Frame, GcsRequest, GroupState};
use crate::worker::objects::Slot;
use crate::worker::refs::Hold;

/// A group that this process has asked the GCS about.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Settled when the group is created or removed.
    ready: Vec<ObjectId>,
}

/// The error of everything that needs a group which is gone.
pub(super) fn removed(group: PlacementGroupId) -> RayError {
    RayError::PlacementGroup {
        group: group.to_string(),
        why: "it was removed".into(),
    }
}

impl State {
    /// A new object, with one local handle, that is ready when the group is: then its value is this one.
    pub(crate) fn group_ready(&mut self, group: PlacementGroupId, out: &mut Out) -> ObjectId {
        let object = self.new_task_id().object(FIRST_PUT_INDEX);
        self.refs.own(object, Hold::Handle);
        self.objects.expect(object);
        if let Some(error) = self.ended.clone() {
            // Nobody is left to answer.
            self.settle(object, Slot::failed(error), out.now, out);
            return object;
        }
        let known = self.groups.entry(group).or_default();
        // Those that nobody holds any more are forgotten.
        known.ready.retain(|object| self.objects.slot(object).is_some());
        known.ready.push(object);
        // The GCS answers in order with what it tells unasked, so that its last word is the truth.
        let request = self.new_number();
        let body = Box::new(GcsRequest::WatchGroup { group });
        let from = self.me;
        out.send(Dest::Raylet, Frame::GcsRequest { request, from, body });
        object
    }

    /// The GCS tells how a group stands.
    pub(crate) fn group_changed(&mut self, group: PlacementGroupId, state: &GroupState, now: Instant, out: &mut Out) {
        let slot = match state {
            GroupState::Created { .. } => Slot::Inline(unit()),
            GroupState::Removed {} => Slot::failed(removed(group)),
            GroupState::Infeasible { why } => {
                tracing::warn!(target: "ray_core::worker", %group, why, "a placement group waits for nodes that could hold it");
                return;
            }
            GroupState::Pending { .. } => return,
        };
        for object in self.groups.remove(&group).unwrap_or_default().ready {
            self.settle(object, slot.clone(), now, out);
        }
    }
}

/// The value `()` as an object.
fn unit() -> bytes::Bytes {
    let mut object = Vec::new();
    // Nothing refuses a value of no bytes.
    let _whole = crate::value::encode_into(&(), &mut object);
    object.into()
}
