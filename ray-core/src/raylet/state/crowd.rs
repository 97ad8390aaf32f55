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

    use crate::wire::LeaseShape;

    const MS: Duration = Duration::from_millis(1);

    /// A node of one CPU, whose two processes are in one another's way.
    struct Node(State, [WorkerId; 2]);

    impl Node {
        fn new() -> Self {
            let mut state = State::of_cpus(1.0, 0, 1000 * MS, Duration::ZERO);
            let owners = [WorkerId::random(), WorkerId::random()];
            let job = crate::ids::JobId::new(1);
            owners.iter().for_each(|owner| state.driver_joined(*owner, job, 1, &mut Effects::new()));
            Self(state, owners)
        }

        fn request(&mut self, owner: usize, request: u64, now: Duration) -> Vec<Effect> {
            let shape = LeaseShape::one_cpu();
            let mut out = Effects::new();
            let frame = Frame::RequestLease { request, shape };
            self.0.frame(self.1[owner], frame, now, &mut out);
            out
        }

        fn tick(&mut self, now: Duration) -> Vec<Effect> {
            let mut out = Effects::new();
            self.0.tick(now, &mut out);
            out
        }

        fn join(&mut self, spawned: &[Effect]) -> Vec<Effect> {
            let mut out = Effects::new();
            for effect in spawned {
                if let Effect::Spawn { worker, .. } = effect {
                    self.0.worker_joined(*worker, Duration::ZERO, &mut out);
                }
            }
            out
        }
    }

    /// Who is asked, and whether it is for others.
    fn asked(effects: &[Effect]) -> Vec<(WorkerId, bool)> {
        let asked = |effect: &Effect| match effect {
            Effect::Send {
                to,
                frame: Frame::ReclaimIdle { crowded },
            } => Some((*to, *crowded)),
            _ => None,
        };
        effects.iter().filter_map(asked).collect()
    }

    fn granted(effects: &[Effect]) -> Option<(u64, bool)> {
        effects.iter().find_map(|effect| match effect {
            Effect::Send {
                frame: Frame::LeaseGranted { lease, crowded, .. },
                ..
            } => Some((*lease, *crowded)),
            _ => None,
        })
    }

    #[test]
    fn holders_are_asked_at_once_and_told_of_a_crowd_when_others_have_waited_a_while() {
        let mut node = Node::new();
        let [holder, other] = node.1;
        let spawned = node.request(0, 1, Duration::ZERO);
        let (lease, crowded) = granted(&node.join(&spawned)).unwrap();
        assert!(!crowded);
        assert_eq!(asked(&node.request(1, 1, 10 * MS)), [(holder, false)]);
        assert!(asked(&node.request(1, 2, 12 * MS)).is_empty());
        // A look is due when it is a crowd.
        assert_eq!(node.0.tick_due(10 * MS), Some(15 * MS));
        assert_eq!(asked(&node.tick(15 * MS)), [(holder, true)]);
        assert_eq!(node.0.tick_due(15 * MS), Some(115 * MS));
        assert!(asked(&node.tick(100 * MS)).is_empty());
        assert_eq!(asked(&node.tick(115 * MS)), [(holder, true)]);

        // Who comes to hold a lease in a crowd is told with it. One's own requests are no crowd.
        node.request(0, 2, 116 * MS);
        let mut out = Effects::new();
        let frame = Frame::ReturnLease { lease, reusable: true };
        node.0.frame(holder, frame, 117 * MS, &mut out);
        let (lease, crowded) = granted(&out).unwrap();
        assert!(crowded);
        let frame = Frame::CancelLeaseRequest { request: 2 };
        node.0.frame(holder, frame, 118 * MS, &mut out);
        out.clear();
        let frame = Frame::ReturnLease { lease, reusable: true };
        node.0.frame(other, frame, 119 * MS, &mut out);
        assert!(!granted(&out).unwrap().1);

        // Nobody waits any more.
        assert_eq!(node.0.crowd.due(Duration::ZERO), None);
    }
}
