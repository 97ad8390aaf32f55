//! Questions to the GCS and their answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{RayError, Result};
use crate::memory::MemoryReport;
use crate::wire::{Frame, GcsReply, GcsRequest, NodeReport};
use crate::worker::Worker;
use crate::worker::state::Dest;

/// An answer from the head or the raylet.
#[derive(Debug)]
pub(crate) enum Answer {
    Gcs(GcsReply),
    Node(NodeReport),
    Memory(Box<MemoryReport>),
}

/// Questions that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct GcsClient {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    questions: HashMap<u64, oneshot::Sender<Result<Answer>>>,
    /// No answer will come any more, for this reason.
    ended: Option<RayError>,
}

impl GcsClient {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> (u64, oneshot::Receiver<Result<Answer>>) {
        let (sender, receiver) = oneshot::channel();
        let mut open = self.open();
        open.next += 1;
        // The state numbers its own questions from 1 upwards; these must not be mistaken for them.
        let number = open.next | (1 << 63);
        match &open.ended {
            // The receiver is still here.
            Some(error) => drop(sender.send(Err(error.clone()))),
            None => drop(open.questions.insert(number, sender)),
        }
        (number, receiver)
    }

    /// Hands an answer to who asked. Returns it if nobody did.
    pub(crate) fn answered(&self, request: u64, answer: Answer) -> Option<Answer> {
        let question = self.open().questions.remove(&request);
        match question {
            Some(question) => {
                // Who asked may have stopped waiting.
                let _gone = question.send(Ok(answer));
                None
            }
            None => Some(answer),
        }
    }

    /// No answer will come any more.
    pub(crate) fn fail_all(&self, error: &RayError) {
        let questions = {
            let mut open = self.open();
            open.ended.get_or_insert_with(|| error.clone());
            std::mem::take(&mut open.questions)
        };
        for (_, question) in questions {
            let _gone = question.send(Err(error.clone()));
        }
    }
}

impl Worker {
    /// Asks the GCS; an answer that says no is an error.
    pub(crate) async fn ask(self: &Arc<Self>, body: GcsRequest) -> Result<GcsReply> {
        let (request, receiver) = self.gcs.register();
        let frame = Frame::GcsRequest {
            request,
            from: self.identity.worker,
            body: Box::new(body),
        };
        self.with(|_, _, out| out.send(Dest::Raylet, frame));
        match self.await_answer(receiver).await? {
            Answer::Gcs(GcsReply::Failed { error }) => Err(error),
            Answer::Gcs(reply) => Ok(reply),
            Answer::Node(_) | Answer::Memory(_) => {
                Err(RayError::internal("a node's report answers a question to the GCS"))
            }
        }
    }

    /// Asks, and blocks this thread for the answer.
    pub(crate) fn ask_blocking(self: &Arc<Self>, body: GcsRequest) -> Result<GcsReply> {
        crate::api::blocking::run("a call to the cluster's head", "the async form", self.ask(body))
    }

    /// Asks the raylet what the node holds.
    pub(crate) async fn node_report(self: &Arc<Self>) -> Result<NodeReport> {
        let (request, receiver) = self.gcs.register();
        self.with(|_, _, out| out.send(Dest::Raylet, Frame::NodeReport { request }));
        match self.await_answer(receiver).await? {
            Answer::Node(report) => Ok(report),
            Answer::Gcs(_) | Answer::Memory(_) => {
                Err(RayError::internal("another's answer to a question about the node"))
            }
        }
    }

    /// Asks the raylet who holds which memory.
    pub(crate) async fn memory_report(self: &Arc<Self>) -> Result<MemoryReport> {
        let (request, receiver) = self.gcs.register();
        self.with(|_, _, out| out.send(Dest::Raylet, Frame::MemoryReport { request }));
        match self.await_answer(receiver).await? {
            Answer::Memory(report) => Ok(*report),
            Answer::Gcs(_) | Answer::Node(_) => Err(RayError::internal("another's answer to a question about memory")),
        }
    }

    async fn await_answer(self: &Arc<Self>, receiver: oneshot::Receiver<Result<Answer>>) -> Result<Answer> {
        // Within the runtime's own threads, since the caller may be on a runtime without a timer, or on none.
        let limit = Duration::from_secs(self.config.gcs_server_request_timeout_seconds);
        let answer = self
            .io
            .spawn(async move { tokio::time::timeout(limit, receiver).await });
        match answer.await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(RayError::Disconnected {
                peer: "the head".into(),
                why: format!("no answer came within {limit:?}"),
            }),
        }
    }
}
