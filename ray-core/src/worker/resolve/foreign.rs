//! Values for processes of another job or on another node. Each job has a part of the node's store that no other sees, so that
//! between two of them values travel whole.

use std::sync::Arc;

use bytes::Bytes;

use super::read::Unreadable;
use crate::error::{RayError, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::wire::{Frame, MOST_INLINE, ObjectValue};
use crate::worker::Worker;
use crate::worker::state::Dest;

/// The largest value that travels whole.
const LARGEST: usize = 32 << 20;

fn check(len: usize) -> Result<()> {
    if len <= LARGEST {
        return Ok(());
    }
    Err(RayError::Unsupported {
        call: format!("a value of {len} bytes between two nodes or jobs"),
        why: format!(
            "at most {LARGEST} bytes go from one node or job to another: pass it in parts, or have its task run on its node"
        ),
    })
}

fn no_room(len: usize) -> RayError {
    RayError::Unsupported {
        call: format!("a result of {len} bytes between two nodes or jobs, beside others"),
        why: format!(
            "the results of one task that go from one node or job to another come to at most {MOST_INLINE} bytes: return fewer at once"
        ),
    }
}

impl Worker {
    /// Whether a process is of another job or on another node.
    pub(crate) fn is_foreign(&self, peer: WorkerId) -> bool {
        !peer.is_on(self.identity.node) || self.read(|state| state.foreign.contains(&peer))
    }

    /// Whether a result of this length travels whole to its owner, in a frame where there is so much room.
    pub(crate) fn goes_whole(&self, owner: WorkerId, len: usize, room: usize) -> Result<bool> {
        if len <= self.max_inline() && len <= room {
            return Ok(true);
        }
        let whole = self.is_foreign(owner);
        if whole {
            check(len)?;
            if len > room {
                return Err(no_room(len));
            }
        }
        Ok(whole)
    }

    /// Sends a stored object of ours to a process that cannot read it in the store; one that is lost, once it is made again.
    pub(crate) fn send_whole(self: &Arc<Self>, object: ObjectId, to: WorkerId) {
        let read = match self.read_stored(object) {
            Ok(bytes) => check(bytes.len()).map(|()| bytes),
            Err(Unreadable::Failed(error)) => Err(error),
            Err(Unreadable::Lost(why)) => {
                return self.with(|state, now, out| {
                    state.lost(object, &why, now, out);
                    state.subscribed_by(object, to, out);
                });
            }
        };
        self.with(|state, _, out| {
            let value = match read {
                Ok(view) => {
                    for (inner, _) in state.contained_in(&object) {
                        state.hand_over(inner, to, out);
                    }
                    // Not the view: the frame may wait in line for long, and would keep the object where it is.
                    let object = Bytes::copy_from_slice(&view);
                    ObjectValue::Inline { object }
                }
                Err(error) => ObjectValue::Failed { error },
            };
            out.send(Dest::Worker(to), Frame::ObjectReady { object, value });
        });
    }
}
