//! Requests that wait while owners keep leases for their next tasks: these are asked to give back what is idle.
//!
//! A request often waits for a moment only, until the task that made it blocks and lends its CPU: that is no crowd. Where
//! requests wait on, every owner that keeps a lease would keep them waiting.

use std::collections::HashMap;
use std::time::Duration;

use super::{Effect, Effects, State};
use crate::ids::{IdHasher, WorkerId};
use crate::wire::Frame;

/// While requests wait, lease holders are asked this often to let others have a turn.
const RECLAIM_EVERY: Duration = Duration::from_millis(100);
/// When requests have waited for so long, and none of the time nobody did, there is a crowd.
const CROWD_AFTER: Duration = Duration::from_millis(5);

/// Since when requests wait, and who was asked.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    waiting_since: Option<Duration>,
    last_reclaim: Option<Duration>,
    /// In a crowd each holder is asked by itself: the first time at once.
    asked: HashMap<WorkerId, Duration, IdHasher>,
}

impl Crowd {
    fn begins(&self) -> Option<Duration> {
        Some(self.waiting_since? + CROWD_AFTER)
    }

    fn is_there(&self, now: Duration) -> bool {
        self.begins().is_some_and(|begins| now >= begins)
    }

    /// When it has to be looked whether there is a crowd.
    pub(super) fn due(&self, ticked: Duration) -> Option<Duration> {
        self.begins().filter(|begins| ticked < *begins)
    }
}

impl State {
    /// Whether other processes than this one have waited for a while.
    pub(super) fn is_crowded_for(&self, requester: WorkerId, now: Duration) -> bool {
        self.crowd.is_there(now) && self.queue.others_wait(requester)
    }

    /// Whether requests wait for what the node has.
    pub(super) fn note_waiting(&mut self, waits: bool, now: Duration, out: &mut Effects) {
        if !waits {
            self.crowd.waiting_since = None;
            return;
        }
        self.crowd.waiting_since.get_or_insert(now);
        let mut holders: Vec<WorkerId> = self.leases.values().map(|lease| lease.requester).collect();
        holders.sort_unstable();
        holders.dedup();
        if self.crowd.is_there(now) {
            let asked = &mut self.crowd.asked;
            asked.retain(|_, at| now < *at + RECLAIM_EVERY);
            holders.retain(|holder| !asked.contains_key(holder));
            asked.extend(holders.iter().map(|holder| (*holder, now)));
        } else if self.crowd.last_reclaim.is_none_or(|last| now >= last + RECLAIM_EVERY) {
            self.crowd.last_reclaim = Some(now);
        } else {
            return;
        }
        for to in holders {
            let crowded = self.is_crowded_for(to, now);
            let frame = Frame::ReclaimIdle { crowded };
            out.push(Effect::Send { to, frame });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use crate::raylet::state::testing::{MS, Node};

    /// Who is asked, and whether it is for others.
    fn asked(node: &mut Node) -> Vec<(WorkerId, bool)> {
        let asked = |effect: Effect| match effect {
            Effect::Send {
                to,
                frame: Frame::ReclaimIdle { crowded },
            } => Some((to, crowded)),
            _ => None,
        };
        node.take().into_iter().filter_map(asked).collect()
    }

    #[test]
    fn holders_are_asked_at_once_and_told_of_a_crowd_when_others_have_waited_a_while() {
        // Two processes are in one another's way.
        let mut node = Node::new(1.0, 0);
        let [holder, other] = [node.driver, WorkerId::random()];
        node.state.driver_joined(other, JobId::new(1), 1, &mut Effects::new());
        node.request(holder, 1);
        node.join();
        let (lease, crowded) = node.grants()[0];
        assert!(!crowded);
        node.take();
        node.at(10 * MS).request(other, 1);
        assert_eq!(asked(&mut node), [(holder, false)]);
        node.at(12 * MS).request(other, 2);
        assert!(asked(&mut node).is_empty());
        // A look is due when it is a crowd.
        assert_eq!(node.state.tick_due(10 * MS), Some(15 * MS));
        node.at(15 * MS).tick();
        assert_eq!(asked(&mut node), [(holder, true)]);
        assert_eq!(node.state.tick_due(15 * MS), Some(115 * MS));
        node.at(100 * MS).tick();
        assert!(asked(&mut node).is_empty());
        node.at(115 * MS).tick();
        assert_eq!(asked(&mut node), [(holder, true)]);

        // Who comes to hold a lease in a crowd is told with it. One's own requests are no crowd.
        node.at(116 * MS).request(holder, 2);
        node.at(117 * MS).give_back(holder, lease);
        let (lease, crowded) = node.grants()[0];
        assert!(crowded);
        node.take();
        node.at(118 * MS)
            .frame(holder, Frame::CancelLeaseRequest { request: 2 });
        node.at(119 * MS).give_back(other, lease);
        assert!(!node.grants()[0].1);

        // Nobody waits any more.
        assert_eq!(node.state.crowd.due(Duration::ZERO), None);
    }
}
