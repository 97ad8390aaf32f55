//! What this process tells of itself for the `memory` report.

use std::panic::Location;

use super::State;
use crate::ids::ObjectId;
use crate::memory::{HeldObject, Holdings, ObjectState, RunningTask};
use crate::worker::objects::Slot;

impl State {
    /// Notes where an object was made.
    pub(crate) fn made_at(&mut self, object: ObjectId, site: &'static Location<'static>) {
        self.sites.insert(object, site);
    }

    /// What this process holds.
    ///
    /// `running`: what others have submitted; shared work of this process itself is added.
    pub(crate) fn holdings(&self, mut running: Vec<RunningTask>, objects: bool) -> Holdings {
        let own = self.tasks.values().filter_map(|pending| pending.context.as_ref());
        running.extend(own.map(|context| context.told()));
        let objects = if objects { self.held_objects() } else { Vec::new() };
        Holdings {
            running,
            lends: self.refs.is_lending(),
            pending_bytes: self.common.pending.bytes(),
            lineage_bytes: self.lineage.bytes() as u64,
            objects,
        }
    }

    fn held_objects(&self) -> Vec<HeldObject> {
        let held = self.refs.iter().map(|report| {
            let (state, size) = match self.objects.slot(&report.object) {
                Some(Slot::Pending) | None => (ObjectState::Pending {}, None),
                Some(Slot::Inline(bytes)) => (ObjectState::InProcess {}, Some(bytes.len() as u64)),
                Some(Slot::Native(_)) => (ObjectState::InProcess {}, None),
                Some(Slot::Stored { size }) => (ObjectState::Sealed {}, Some(*size)),
                Some(Slot::Failed(_)) => (ObjectState::Failed {}, None),
            };
            HeldObject {
                object: report.object,
                owner: report.owner,
                handles: report.handles,
                tasks: report.tasks,
                values: report.containers,
                size,
                state,
                call_site: self.sites.get(&report.object).map(ToString::to_string),
            }
        });
        held.collect()
    }
}
