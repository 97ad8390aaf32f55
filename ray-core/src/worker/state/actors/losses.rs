//! Calls whose worker died, and actors that are gone (AC-2, AC-3).

use std::time::Instant;

use super::super::{Out, State};
use super::{ActorClient, Sent};
use crate::error::RayError;
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::wire::{ActorInfo, ActorState, DeathCause};
use crate::worker::task::Phase;

impl State {
    /// The process of an actor is dead, and everything that it sent was read: nothing is sent there any more; the GCS says
    /// what comes next.
    pub(in super::super) fn actors_of_dead_worker(
        &mut self,
        worker: WorkerId,
        cause: &DeathCause,
        now: Instant,
        out: &mut Out,
    ) {
        let lives_in = |client: &ActorClient| {
            client.worker() == Some(worker) || client.sent.front().is_some_and(|sent| sent.worker == worker)
        };
        let lost = self.actors.iter_mut().filter(|(_, client)| lives_in(client));
        let lost: Vec<ActorId> = lost
            .map(|(actor, client)| {
                client.lost = Some(Box::new((worker, cause.to_string())));
                *actor
            })
            .collect();
        self.hosted_actors_lost(worker, now, out);
        for actor in lost {
            self.settle_losses(actor, now, out);
            self.drive_actor(actor, now, out);
        }
    }

    /// What becomes of calls whose worker is dead is known only when the GCS has told whether the actor comes again.
    pub(super) fn settle_losses(&mut self, actor: ActorId, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get(&actor) else { return };
        let Some((first, info)) = client.sent.front().zip(client.info.as_ref()) else {
            return;
        };
        let Some(death) = client.lost.as_ref().filter(|lost| lost.0 == first.worker) else {
            return;
        };
        let unavailable = |cause: String| RayError::ActorUnavailable {
            actor,
            name: client.name(),
            cause,
        };
        let error = match &info.state {
            ActorState::Dead { error } => error.clone(),
            ActorState::Restarting { cause } => unavailable(cause.clone()),
            ActorState::Alive { worker, .. } if *worker != first.worker => unavailable(death.1.clone()),
            ActorState::Alive { .. } | ActorState::Pending {} => return,
        };
        self.sent_calls_lost(actor, &error, now, out);
    }

    /// AC-2.
    fn sent_calls_lost(&mut self, actor: ActorId, error: &RayError, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get_mut(&actor) else {
            return;
        };
        let dead = client.is_dead();
        let (mut again, mut failed) = (Vec::new(), Vec::new());
        for Sent { task, .. } in std::mem::take(&mut client.sent) {
            let Some(pending) = self.tasks.get_mut(&task) else {
                continue;
            };
            if !dead && !pending.cancelled && pending.take_retry() {
                pending.spec.attempt += 1;
                pending.phase = Phase::Queued;
                again.push(task);
            } else {
                failed.push(task);
            }
        }
        for task in again.into_iter().rev() {
            self.enqueue_first(actor, task);
        }
        for task in failed {
            self.free_untold(task, out);
            self.finish_failed(task, error, now, out);
        }
    }

    /// The GCS does not know the actor: it died long ago, or belongs to another session.
    pub(crate) fn actor_unknown(&mut self, actor: ActorId, error: RayError, now: Instant, out: &mut Out) {
        let Some(client) = self.actors.get(&actor) else { return };
        let info = ActorInfo {
            actor,
            item: 0,
            type_name: client.type_name.clone().into_owned(),
            name: None,
            namespace: String::new(),
            detached: false,
            owner: WorkerId::default(),
            handle: ObjectId::default(),
            state: ActorState::Dead { error },
            restarts: u32::MAX,
            max_task_retries: 0,
            max_pending_calls: -1,
            saves: None,
            calls_ahead: 0,
            shared: false,
        };
        self.actor_changed(info, now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cluster;

    #[test]
    fn nothing_is_sent_to_a_worker_whose_death_was_heard_of_before_its_birth() {
        let (mut state, now) = (State::new(WorkerId::random(), &Cluster::default()), Instant::now());
        let mut out = Out::new(now);
        let (actor, worker, next) = (ActorId::random(), WorkerId::random(), WorkerId::random());
        let handle = state.new_task_id().object(1);
        state.add_handle(handle, actor, "Counter", false);
        let info = |worker: WorkerId, restarts: u32| ActorInfo {
            actor,
            item: 0,
            type_name: "Counter".into(),
            name: None,
            namespace: String::new(),
            detached: false,
            owner: WorkerId::default(),
            handle,
            state: ActorState::Alive { worker, pid: 1 },
            restarts,
            max_task_retries: 0,
            max_pending_calls: -1,
            saves: None,
            calls_ahead: 0,
            shared: false,
        };
        let cause = DeathCause::Signalled { signal: 9 };
        state.process_died(worker, &cause, &[], now, &mut out);
        state.actor_changed(info(worker, 0), now, &mut out);
        assert_eq!(state.actors[&actor].worker(), None);
        state.actor_changed(info(next, 1), now, &mut out);
        assert_eq!(state.actors[&actor].worker(), Some(next));
    }
}
