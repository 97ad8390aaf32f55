//! The raylet's decisions: frames and deaths in, frames, spawns and kills out.
//!
//! What is asked for goes one way: a request (`requests`) is granted (`grants`) and becomes a lease (`leases`) or an actor
//! (`actors`), which a process serves (`processes`).
//!
//! - RL-1: the resources of a lease are taken once, when it is granted, and given back once: when it is returned, or when
//!   its worker or its requester is dead.
//! - RL-2: a grant is told only once its worker is up and linked with the requester.
//! - RL-3: each process that was linked with, or asks for, a dead worker hears of its death once.
//! - RL-4: a worker that lends is neither ended for want of work, nor made an actor, whose end would be the end of what it
//!   lends (`lending`).

mod actors;
mod crowd;
mod effect;
mod grants;
mod groups;
mod guests;
mod hosted;
mod jobs;
mod last_saves;
mod leases;
mod lending;
mod memory;
mod nodes;
mod processes;
mod reports;
mod requests;
#[cfg(test)]
mod testing;
mod visits;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::census::{Censuses, Purpose};
use super::workers::{Role, Workers};
use crate::ids::{ActorId, NodeId, WorkerId};
use crate::scheduling::NodeResources;
use crate::scheduling::queue::{self, LeaseQueue};
use crate::wire::Frame;
use actors::ActorPlace;
use crowd::Crowd;
pub(super) use effect::{Effect, Effects};
use grants::Granted;
use groups::Groups;
use jobs::Jobs;
use last_saves::LastSaves;
pub(super) use last_saves::warn_unsaved;
use leases::Lease;
use nodes::Nodes;
use processes::Births;
use reports::Told;
use requests::Requests;
use visits::Visits;

/// While something can be due, it is looked for this often.
const TICK: Duration = Duration::from_millis(100);

/// The node's state.
#[derive(Debug)]
pub(super) struct State {
    node: NodeId,
    resources: NodeResources,
    queue: LeaseQueue,
    requests: Requests,
    /// Those that wait for a worker, in the order of their grants.
    granted: VecDeque<Granted>,
    leases: HashMap<u64, Lease>,
    actors: HashMap<ActorId, ActorPlace>,
    groups: Groups,
    workers: Workers,
    jobs: Jobs,
    births: Births,
    /// The last number that was given out.
    last: u64,
    crowd: Crowd,
    told: Told,
    censuses: Censuses,
    /// Killed because memory is short, and not gone yet.
    victim: Option<WorkerId>,
    last_saves: LastSaves,
    nodes: Nodes,
    visits: Visits,
}

impl State {
    pub(super) fn new(
        node: NodeId,
        resources: NodeResources,
        keep_idle: usize,
        idle_time: Duration,
        saves_within: Duration,
    ) -> Self {
        Self {
            node,
            resources,
            queue: LeaseQueue::new(queue::Options::default()),
            requests: Requests::default(),
            granted: VecDeque::new(),
            leases: HashMap::new(),
            actors: HashMap::new(),
            groups: Groups::default(),
            workers: Workers::default(),
            jobs: Jobs::default(),
            births: Births::new(keep_idle, idle_time),
            last: 1,
            crowd: Crowd::default(),
            told: Told::default(),
            censuses: Censuses::default(),
            victim: None,
            last_saves: LastSaves::new(saves_within),
            nodes: Nodes::default(),
            visits: Visits::default(),
        }
    }

    /// A number that no lease and no request without a process has.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A frame from a process of this node.
    pub(super) fn frame(&mut self, from: WorkerId, frame: Frame, now: Duration, out: &mut Effects) {
        let frame = if self.is_guest(from) {
            Some(frame)
        } else {
            self.frame_for_elsewhere(from, frame, out)
        };
        let Some(frame) = frame else { return };
        match frame {
            Frame::RequestLease { request, shape } => self.request(from, request, shape, now, out),
            Frame::CancelLeaseRequest { request } => self.cancel_request(from, request),
            Frame::ReturnLease { lease, reusable } => self.lease_returned(lease, reusable, now, out),
            Frame::Blocked { lease } => self.blocked(from, lease, true, now, out),
            Frame::Unblocked { lease } => self.blocked(from, lease, false, now, out),
            Frame::KillWorker { worker, task } => self.kill_leased(from, worker, task, out),
            Frame::Connect { worker } => self.connect(from, worker, out),
            Frame::Lending { lends } => self.lending(from, lends, now, out),
            Frame::ActorTaken { actor } => self.actor_taken(from, actor, out),
            Frame::ActorDeclined { spec, restarts } => self.actor_declined(from, spec, restarts, now, out),
            Frame::ActorConstructed { actor, error } => self.actor_constructed(from, actor, error, out),
            Frame::ActorExiting { actor, intended } => self.actor_exiting(from, actor, intended, out),
            Frame::NodeReport { request } => self.send_node_report(from, request, out),
            Frame::MemoryReport { request } => {
                let everybody = |role: &Role| !matches!(role, Role::Starting | Role::Observer | Role::Guest(_));
                self.ask(Purpose::Report { to: from, request }, everybody, now, out);
            }
            Frame::Holdings { census, holdings } => {
                self.censuses.answered(census, from, *holdings);
                self.end_censuses(now, out);
            }
            Frame::GcsRequest { request, body, .. } => {
                out.push(Effect::ToGcs(Frame::GcsRequest { request, from, body }));
            }
            other => tracing::warn!(target: "ray_core::raylet", ?other, %from, "a frame that a process does not send"),
        }
    }

    /// A frame from the GCS.
    pub(super) fn gcs_frame(&mut self, frame: Frame, now: Duration, out: &mut Effects) {
        match frame {
            Frame::GcsReply { to, .. } | Frame::GcsEvent { to, .. } => out.push(Effect::Send { to, frame }),
            Frame::NodeJoined { info } => self.node_joined(*info, now, out),
            Frame::NodeLeft { node, why } => self.node_left(node, &why, now, out),
            Frame::NodeFree { node, available } => self.node_free(node, &available, now, out),
            Frame::StartActor { spec, restarts } => self.start_actor(spec, restarts, now, out),
            Frame::StopActor {
                actor,
                force,
                saves,
                why,
            } => self.end_actor(actor, (force, saves), why, now, out),
            Frame::ReserveBundles { group, bundles, wait } => self.reserve(group, bundles, wait, now, out),
            Frame::ReleaseBundles { group, removed } => self.release_group(group, removed, now, out),
            Frame::GroupStands { group, bundles, state } => self.group_stands(group, &bundles, state, out),
            other => tracing::warn!(target: "ray_core::raylet", ?other, "a frame that a GCS does not send"),
        }
    }

    /// Comes a few times a second while something can be due.
    pub(super) fn tick(&mut self, now: Duration, out: &mut Effects) {
        self.retire_superfluous(now, out);
        self.end_unanswered(now, out);
        self.end_censuses(now, out);
        self.end_last_saves(now, out);
        self.schedule(now, out);
        self.report_resources(out);
    }

    /// When the next tick is due, if one could change anything; the last was at `ticked`.
    pub(super) fn tick_due(&self, ticked: Duration) -> Option<Duration> {
        let regular = self.needs_ticks().then(|| ticked + TICK);
        regular.into_iter().chain(self.crowd.due(ticked)).min()
    }

    fn needs_ticks(&self) -> bool {
        !self.queue.is_empty()
            || !self.censuses.is_empty()
            || self.told.is_outdated()
            || !self.last_saves.is_empty()
            || self.has_spare_workers()
            || self.has_unanswered()
    }
}
