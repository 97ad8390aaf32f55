//! The HTTP service over the queue, and the loop that runs what is due.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /jobs` with any JSON | 202 with `{"id": ..}`: the job is on disk |
//! | `GET /jobs/{id}` | 200 with the job and, once done, its result; 404 |
//! | `DELETE /jobs/{id}` | 204: the caller has the result, the job is forgotten; 409 while it has not ended; 404 |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;

use super::queue::{Claim, Forgotten, JobId, Queue, Retry, Timestamp};

/// The loop looks again at least this often, should the wall clock be set while it sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A queue that HTTP requests fill and [`Service::run`] empties.
#[derive(Clone, Debug)]
pub struct Service {
    queue: Arc<Queue>,
    submitted: Arc<Notify>,
}

impl Service {
    /// The service over the queue in `file`; what a crash interrupted is due at once.
    pub async fn open(file: PathBuf, retry: Retry) -> Result<Self> {
        let queue = blocking(move || Queue::open(&file, retry, now())).await?;
        Ok(Self {
            queue: Arc::new(queue),
            submitted: Arc::new(Notify::new()),
        })
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/jobs", post(submit))
            .route("/jobs/{id}", get(show).delete(forget))
            .with_state(self.clone())
    }

    /// Runs what is due, at most `at_once` jobs at a time, until the queue itself fails; `execute` gets a request and
    /// gives its result.
    pub async fn run<E, F>(&self, at_once: usize, execute: E) -> Result<()>
    where
        E: Fn(Value) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(at_once));
        loop {
            let slot = Arc::clone(&slots)
                .acquire_owned()
                .await
                .context("the slots of the loop are closed")?;
            let Some(claim) = self.on_queue(|queue| queue.claim(now())).await? else {
                drop(slot);
                self.until_due().await?;
                continue;
            };
            let (service, execute) = (self.clone(), execute.clone());
            tokio::spawn(async move {
                // A task of its own, so that a panic is a failed attempt and not a job that runs for ever.
                let outcome = tokio::spawn(execute(claim.request.clone()))
                    .await
                    .unwrap_or_else(|end| Err(end.into()));
                let id = claim.id;
                if let Err(error) = service.record(claim, outcome).await {
                    // The job stays `running` on disk, so the next start of the service runs it again.
                    tracing::error!(id, "the end of a job was not written: {error:#}");
                }
                drop(slot);
            });
        }
    }

    async fn record(&self, claim: Claim, outcome: Result<Value>) -> Result<()> {
        self.on_queue(move |queue| {
            match outcome {
                Ok(result) => queue.complete(&claim, result)?,
                Err(error) => queue.fail(&claim, &format!("{error:#}"), now())?,
            };
            Ok(())
        })
        .await?;
        // A failed job is due at a time that the sleeping loop does not know yet.
        self.submitted.notify_one();
        Ok(())
    }

    async fn until_due(&self) -> Result<()> {
        let sleep = match self.on_queue(|queue| queue.next_due()).await? {
            Some(due) => Duration::from_millis(due.saturating_sub(now())).min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        };
        // Which of the two ended the wait does not matter: the loop looks into the queue again.
        drop(tokio::time::timeout(sleep, self.submitted.notified()).await);
        Ok(())
    }

    async fn on_queue<T: Send + 'static>(&self, call: impl FnOnce(&Queue) -> Result<T> + Send + 'static) -> Result<T> {
        let queue = Arc::clone(&self.queue);
        blocking(move || call(&queue)).await
    }
}

async fn submit(State(service): State<Service>, Json(request): Json<Value>) -> Result<Response, Failure> {
    let id = service.on_queue(move |queue| queue.submit(request, now())).await?;
    service.submitted.notify_one();
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))).into_response())
}

async fn show(State(service): State<Service>, Path(id): Path<JobId>) -> Result<Response, Failure> {
    let job = service.on_queue(move |queue| queue.job(id)).await?;
    Ok(job.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |job| Json(job).into_response(),
    ))
}

async fn forget(State(service): State<Service>, Path(id): Path<JobId>) -> Result<StatusCode, Failure> {
    Ok(match service.on_queue(move |queue| queue.forget(id)).await? {
        Forgotten::Yes => StatusCode::NO_CONTENT,
        Forgotten::StillGoing => StatusCode::CONFLICT,
        Forgotten::Unknown => StatusCode::NOT_FOUND,
    })
}

/// A request that the queue could not answer: 500, with the reason.
struct Failure(anyhow::Error);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response()
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(call).await.context("a call on the queue did not end")?
}

#[expect(
    clippy::disallowed_methods,
    reason = "the queue outlives the process, so its times are of the wall clock"
)]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;

    const RETRY: Retry = Retry {
        max_attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
    };

    async fn served(service: &Service) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = service.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    /// Status and body of one request.
    async fn request(port: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn ended(port: u16, id: &Value) -> Value {
        loop {
            let (status, job) = request(port, "GET", &format!("/jobs/{id}"), "").await;
            assert_eq!(status, 200);
            if job["state"] == "done" || job["state"] == "failed" {
                return job;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The watchdog of tests that wait for a job.
    async fn in_time<T>(test: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(60), test).await.expect("the test hangs")
    }

    #[tokio::test]
    async fn a_job_is_accepted_run_shown_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::open(directory.path().join("jobs.redb"), RETRY).await.unwrap();
        let port = served(&service).await;
        in_time(async {
            let (status, answer) = request(port, "POST", "/jobs", r#"{"n": 7}"#).await;
            assert_eq!(status, 202);
            let path = format!("/jobs/{}", answer["id"]);
            assert_eq!(request(port, "GET", &path, "").await.1["state"], "accepted");
            assert_eq!(request(port, "DELETE", &path, "").await.0, 409);
            let loop_of = service.clone();
            tokio::spawn(async move {
                loop_of
                    .run(
                        2,
                        |request| async move { Ok(json!(request["n"].as_u64().unwrap_or(0) * 7)) },
                    )
                    .await
            });
            assert_eq!(ended(port, &answer["id"]).await["result"], 49);
            assert_eq!(request(port, "DELETE", &path, "").await.0, 204);
            assert_eq!(request(port, "GET", &path, "").await.0, 404);
            assert_eq!(request(port, "DELETE", &path, "").await.0, 404);
        })
        .await;
    }

    #[tokio::test]
    async fn a_job_that_panics_is_a_failed_attempt() {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::open(directory.path().join("jobs.redb"), RETRY).await.unwrap();
        let port = served(&service).await;
        let loop_of = service.clone();
        tokio::spawn(async move { loop_of.run(1, |_| async { panic!("a bug in a job") }).await });
        in_time(async {
            let (_, answer) = request(port, "POST", "/jobs", "1").await;
            let job = ended(port, &answer["id"]).await;
            assert_eq!(job["state"], "failed");
            assert!(job["last_error"].as_str().unwrap().contains("panicked"), "{job}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_failing_job_is_tried_again_and_its_last_error_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::open(directory.path().join("jobs.redb"), RETRY).await.unwrap();
        let port = served(&service).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let (loop_of, counted) = (service.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            let execute = move |request: Value| {
                let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    if request == json!("good at last") && call == 2 {
                        Ok(json!(call))
                    } else {
                        bail!("call {call}")
                    }
                }
            };
            loop_of.run(1, execute).await
        });
        in_time(async {
            let (_, answer) = request(port, "POST", "/jobs", "\"good at last\"").await;
            assert_eq!(ended(port, &answer["id"]).await["result"], 2);
            let (_, answer) = request(port, "POST", "/jobs", "\"bad\"").await;
            let job = ended(port, &answer["id"]).await;
            assert_eq!((&job["state"], &job["attempts"]), (&json!("failed"), &json!(3)));
            assert_eq!(job["last_error"], "call 5");
        })
        .await;
        assert_eq!(calls.load(Ordering::Relaxed), 5);
    }
}
