//! The service: what it accepted with 202 is done, although it and its workers are killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Program, kill};

struct Service {
    program: Program,
    address: String,
}

impl Service {
    fn start(queue: &Path) -> Self {
        let queue = queue.to_str().unwrap();
        let arguments = ["--queue", queue, "--listen", "127.0.0.1:0"];
        let mut program = Program::start(env!("CARGO_BIN_EXE_axum_jobs"), &arguments);
        let line = program.wait_for_line("listening on http://");
        let address = line.trim_start_matches("listening on http://").to_owned();
        Self { program, address }
    }

    /// Status and body of one request.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn submit(&self, text: &str) -> Value {
        let (status, answer) = self.request("POST", "/jobs", &json!({ "text": text }).to_string());
        assert_eq!(status, 202, "{answer}");
        answer["id"].clone()
    }

    /// The job once it has ended. What it waits for is watched by the time limit of each request and by the harness.
    fn ended(&self, id: &Value) -> Value {
        for _ in 0..3_000 {
            let (status, job) = self.request("GET", &format!("/jobs/{id}"), "");
            assert_eq!(status, 200, "{job}");
            if job["state"] == "done" || job["state"] == "failed" {
                return job;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("job {id} does not end");
    }
}

#[test]
fn every_job_accepted_with_202_is_done_after_a_sigkill_of_the_service_and_of_a_worker() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("jobs.redb");
    let service = Service::start(&queue);
    let first = service.submit("one one");
    assert_eq!(service.ended(&first)["result"], json!({ "one": 2 }));
    // Some of these run, some wait, some are done when the service dies.
    let accepted: Vec<_> = (0..50).map(|n| service.submit(&format!("job {n} of 50"))).collect();
    service.program.kill();

    let service = Service::start(&queue);
    let late = service.submit("late");
    while !service.program.workers().first().is_some_and(|worker| kill(*worker)) {
        thread::sleep(Duration::from_millis(2));
    }
    for (n, id) in accepted.iter().enumerate() {
        let job = service.ended(id);
        assert_eq!(
            (&job["state"], &job["result"][n.to_string()]),
            (&json!("done"), &json!(1))
        );
    }
    assert_eq!(service.ended(&late)["state"], "done");
    // A result is kept until it has been fetched and let go.
    assert_eq!(service.ended(&first)["result"], json!({ "one": 2 }));
    assert_eq!(service.request("DELETE", &format!("/jobs/{first}"), "").0, 204);
    assert_eq!(service.request("GET", &format!("/jobs/{first}"), "").0, 404);
}
