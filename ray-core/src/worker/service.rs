//! Feeds the frames that arrive into the state, the executor, and whoever waits for an answer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::RayError;
use crate::ids::{JobId, WorkerId};
use crate::wire::{self, Frame, GcsEvent, GcsReply, HostLease, Packet, Receiver};
use crate::worker::Worker;
use crate::worker::gcs_client::Answer;
use crate::worker::rings::serve_reactor;
use crate::worker::state::Dest;

/// Serves the connection to the raylet until it ends, and with it the session in this process.
pub(crate) async fn serve(worker: Arc<Worker>, mut raylet: Receiver) {
    tokio::spawn(serve_reactor(worker.clone()));
    while let Some(packet) = raylet.recv().await {
        from_raylet(&worker, packet);
    }
    let why = "the raylet has ended, or closed the connection".to_owned();
    worker.end_session(&RayError::Disconnected {
        peer: "the raylet of this node".into(),
        why,
    });
    worker.executor.raylet_gone();
}

fn from_raylet(worker: &Arc<Worker>, packet: Packet) {
    match packet.frame {
        Frame::LeaseGranted {
            request,
            lease,
            worker: granted,
            pid,
            gpus,
            crowded,
        } => {
            worker.with(|state, now, out| {
                state.note_crowd(crowded, now);
                state.lease_granted(request, HostLease { id: lease, gpus }, granted, pid, now, out);
            });
        }
        Frame::LeaseRefused { request, error } => {
            worker.with(|state, now, out| state.lease_refused(request, &error, now, out));
        }
        Frame::ReclaimIdle { crowded } => worker.with(|state, now, out| {
            state.note_crowd(crowded, now);
            state.reclaim_idle(now, out);
        }),
        Frame::PeerLink { worker: peer, job, pid } => match packet.fds.into_iter().next() {
            Some(socket) => link_up(worker, peer, (job, pid), socket),
            None => tracing::error!(target: "ray_core::worker", %peer, "a link came without its socket"),
        },
        Frame::PeerGone { worker: peer, cause } => {
            // RC-T3: what it sent before it died comes first.
            let death = worker.links().dead(peer, cause);
            if let Some(cause) = death {
                worker.process_died(peer, cause);
            }
        }
        Frame::GcsReply { request, body, .. } => gcs_reply(worker, request, *body),
        Frame::GcsEvent { event, .. } => match *event {
            GcsEvent::Actor { info } => worker.with(|state, now, out| state.actor_changed(info, now, out)),
            GcsEvent::Group { group, state } => {
                worker.with(|s, now, out| s.group_changed(group, &state, now, out));
            }
        },
        Frame::NodeReportReply { request, report } => {
            if worker.gcs.answered(request, Answer::Node(*report)).is_some() {
                tracing::debug!(target: "ray_core::worker", request, "a report that nobody waits for");
            }
        }
        Frame::MemoryReportReply { request, report } => {
            let unasked = worker.gcs.answered(request, Answer::Memory(report));
            if unasked.is_some() {
                tracing::debug!(target: "ray_core::worker", request, "a report that nobody waits for");
            }
        }
        Frame::TellHoldings { census, objects } => tell_holdings(worker, census, objects),
        Frame::Exit {} => worker.executor.exit_when_idle(worker),
        Frame::SaveAndExit {} => worker.executor.save_and_exit(worker),
        Frame::ConstructActor { spec, restarts } if spec.shared => worker.host(*spec, restarts),
        Frame::ConstructActor { spec, restarts } => worker.construct(*spec, restarts),
        Frame::StopActor { actor, force, why, .. } => worker.stop_hosted(actor, force, &why),
        other => tracing::warn!(target: "ray_core::worker", ?other, "a frame that a raylet does not send"),
    }
}

fn tell_holdings(worker: &Arc<Worker>, census: u64, objects: bool) {
    let mut running = worker.executor.running_tasks();
    running.extend(worker.locals.running());
    worker.with(|state, _, out| {
        let holdings = Box::new(state.holdings(running, objects));
        out.send(Dest::Raylet, Frame::Holdings { census, holdings });
    });
}

fn gcs_reply(worker: &Arc<Worker>, request: u64, body: GcsReply) {
    if let Some(Answer::Gcs(reply)) = worker.gcs.answered(request, Answer::Gcs(body)) {
        // The state's own question.
        worker.with(|state, now, out| match reply {
            GcsReply::Group { info } => state.group_changed(info.group, &info.state, now, out),
            reply => state.gcs_replied(request, reply, now, out),
        });
    }
}

fn link_up(worker: &Arc<Worker>, peer: WorkerId, (job, pid): (JobId, u32), socket: OwnedFd) {
    match wire::connection::over_socket(socket) {
        Ok((sender, receiver)) => {
            let away = !peer.is_on(worker.identity.node);
            worker.with(|state, _, _| {
                state.pids.insert(peer, pid);
                if away || job != worker.identity.job {
                    state.foreign.insert(peer);
                }
            });
            if away {
                // Two nodes share no memory.
                worker.links().tasks_by_ring(peer, None);
            }
            worker.links().up(peer, sender);
            tokio::spawn(serve_peer(worker.clone(), peer, receiver));
        }
        Err(error) => tracing::error!(target: "ray_core::worker", %peer, %error, "a link could not be opened"),
    }
}

/// Serves one peer. Its end says nothing: whether the peer is dead is the raylet's news.
async fn serve_peer(worker: Arc<Worker>, peer: WorkerId, mut receiver: Receiver) {
    while let Some(packet) = receiver.recv().await {
        match packet.frame {
            Frame::RingOffer {} => ring_offered(&worker, peer, packet.fds),
            Frame::RingAccept {} => ring_accepted(&worker, peer, packet.fds),
            frame => from_peer(&worker, peer, frame),
        }
    }
    let death = worker.links().drained(peer, !peer.is_on(worker.identity.node));
    if let Some(cause) = death {
        worker.process_died(peer, cause);
    }
}

fn ring_offered(worker: &Arc<Worker>, owner: WorkerId, fds: Vec<OwnedFd>) {
    match worker.rings.accept(worker, owner, fds) {
        Ok((ring, fds)) => worker.links().answers_by_ring(owner, ring, fds),
        Err(error) => tracing::warn!(target: "ray_core::worker", %error, %owner, "a ring is not accepted"),
    }
}

fn ring_accepted(worker: &Arc<Worker>, peer: WorkerId, fds: Vec<OwnedFd>) {
    let Some(offered) = worker.links().take_offered(peer) else {
        return;
    };
    match worker.rings.accepted(worker, offered, fds) {
        Ok(ring) => {
            worker.links().tasks_by_ring(peer, Some(ring));
            worker.with(|state, _, _| state.ring_up(peer));
        }
        Err(error) => {
            tracing::warn!(target: "ray_core::worker", %error, %peer, "a ring is not usable: tasks go by socket");
            worker.links().tasks_by_ring(peer, None);
        }
    }
}

pub(crate) fn from_peer(worker: &Arc<Worker>, from: WorkerId, frame: Frame) {
    match frame {
        Frame::PushTask { spec, lease } => worker.executor.push(worker, from, *spec, lease),
        Frame::EndActor { actor } => worker.end_local_actor(actor, "it was killed by kill()"),
        Frame::ObjectUnreadable { object, why } => {
            // The news may be older than a value that was made again.
            if !worker.is_stored(object) {
                worker.with(|state, now, out| state.lost(object, &why, now, out));
            }
        }
        Frame::TaskDone {
            task,
            attempt,
            mut outcome,
            reusable,
            ran,
        } => {
            worker.links().answered(from, task);
            worker.find_losses(&mut outcome);
            worker.with(|state, _, out| {
                state.task_done(from, (task, attempt), outcome, (reusable, ran), out);
            });
        }
        Frame::EndIfRunning { task } => worker.executor.end_if_running(task),
        Frame::Stalled {} => worker.with(|state, _, out| state.stalled(from, out)),
        Frame::Subscribe { object } => worker.with(|state, _, out| state.subscribed_by(object, from, out)),
        Frame::ObjectReady { object, value } => {
            worker.with(|state, now, out| state.object_ready(from, object, value, now, out));
        }
        Frame::Handover { object, to } => worker.with(|state, _, out| state.registered(object, to, out)),
        Frame::Release { object, count } => {
            worker.with(|state, _, out| state.released(object, from, count, out));
            worker.executor.recheck_exit(worker);
        }
        Frame::CancelTask { task, recursive } => worker.executor.cancel(worker, task, recursive),
        Frame::StreamItem {
            task,
            attempt,
            index,
            value,
        } => {
            worker.with(|state, _, out| state.stream_item(from, task, attempt, index, value, out));
        }
        Frame::ClaimArguments { actor } => worker.with(|state, _, out| {
            let handed = state.hand_over_arguments(actor, from, out);
            out.send(Dest::Worker(from), Frame::ArgumentsHanded { actor, handed });
        }),
        Frame::ArgumentsHanded { actor, handed } => worker.arguments_handed(actor, handed),
        Frame::StreamConsumed { task, consumed } => worker.executor.stream_consumed(task, consumed),
        other => tracing::warn!(target: "ray_core::worker", ?other, %from, "a frame that a worker does not send"),
    }
}
