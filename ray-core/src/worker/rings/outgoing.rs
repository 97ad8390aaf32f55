//! The sending side of one ring, and what became of each task that was sent.

use std::collections::VecDeque;

use ray_core_ring::{RecordState, RingError, Ringer, Sender, Ticket};

use crate::ids::TaskId;
use crate::wire::{Frame, TaskSpec, Wire};

/// A ring to one peer.
#[derive(Debug)]
pub(crate) struct OutRing {
    sender: Sender,
    ringer: Ringer,
    /// Tasks that were sent and not answered, in order.
    tickets: VecDeque<(TaskId, u32, Ticket)>,
    scratch: Vec<u8>,
}

impl OutRing {
    pub(super) fn new(sender: Sender, ringer: Ringer) -> Self {
        Self {
            sender,
            ringer,
            tickets: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// The peer's bell.
    pub(crate) fn ringer(&self) -> &Ringer {
        &self.ringer
    }

    /// Puts a task into the ring. `false`: it does not fit, or there is no room now.
    pub(crate) fn push_task(&mut self, spec: &TaskSpec) -> bool {
        self.scratch.clear();
        Frame::encode_push_task(spec, &mut self.scratch);
        match self.sender.try_push(&[&self.scratch]) {
            Ok(ticket) => {
                self.tickets.push_back((spec.task, spec.attempt, ticket));
                true
            }
            Err(error) => Self::refused(&error),
        }
    }

    /// Puts an answer into the ring. `false` as above.
    pub(crate) fn push_answer(&mut self, answer: &Frame) -> bool {
        self.scratch.clear();
        answer.encode(&mut self.scratch);
        match self.sender.try_push(&[&self.scratch]) {
            Ok(_ticket) => true,
            Err(error) => Self::refused(&error),
        }
    }

    fn refused(error: &RingError) -> bool {
        if matches!(error, RingError::Corrupt { .. }) {
            tracing::error!(target: "ray_core::worker", %error, "a ring is damaged: its peer gets frames by socket");
        }
        false
    }

    /// A task was answered.
    pub(crate) fn answered(&mut self, task: TaskId) {
        if self.tickets.front().is_some_and(|(sent, _, _)| *sent == task) {
            self.tickets.pop_front();
        } else if let Some(place) = self.tickets.iter().position(|(sent, _, _)| *sent == task) {
            self.tickets.remove(place);
        }
    }

    /// Takes back all tasks that the peer has not taken.
    pub(crate) fn take_back(&mut self) -> Vec<TaskId> {
        let mut back = Vec::new();
        let sender = &mut self.sender;
        self.tickets.retain(|(task, _, ticket)| {
            let revoked = sender.revoke(*ticket);
            if revoked {
                back.push(*task);
            }
            !revoked
        });
        back
    }

    /// Takes back one task, if the peer has not taken it.
    pub(crate) fn take_back_one(&mut self, task: TaskId) -> bool {
        let Some(place) = self.tickets.iter().position(|(sent, _, _)| *sent == task) else {
            return false;
        };
        let revoked = self
            .tickets
            .get(place)
            .is_some_and(|(_, _, ticket)| self.sender.revoke(*ticket));
        if revoked {
            self.tickets.remove(place);
        }
        revoked
    }

    /// After the peer's death: the tasks that had not begun for sure.
    pub(crate) fn not_begun(&self) -> Vec<TaskId> {
        let waiting = |ticket: &Ticket| matches!(self.sender.state(*ticket), Ok(RecordState::Waiting));
        self.tickets
            .iter()
            .filter(|(_, _, ticket)| waiting(ticket))
            .map(|(task, _, _)| *task)
            .collect()
    }
}
