//! ray-core inside an axum service: jobs come over HTTP, run as remote tasks, and survive SIGKILL of the service and of
//! any worker.
//!
//! `cargo run --release -p ray-examples --bin axum_jobs`, then
//!
//! ```text
//! curl -i -H 'content-type: application/json' -d '{"text": "to be or not to be"}' http://127.0.0.1:8080/jobs
//! curl http://127.0.0.1:8080/jobs/1
//! curl -X DELETE http://127.0.0.1:8080/jobs/1
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use ray_core::prelude::*;
use ray_examples::axum_jobs::queue::Retry;
use ray_examples::axum_jobs::service::Service;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Parser)]
struct Options {
    /// Where the jobs are kept.
    #[arg(long, default_value = "jobs.redb")]
    queue: PathBuf,
    /// Where the service listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// What a client asks for.
#[derive(Serialize, Deserialize)]
struct CountWords {
    text: String,
}

/// The work. The queue repeats it after an error, ray-core after the death of a worker.
#[remote]
fn count_words(job: CountWords) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in job.text.split_whitespace() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

async fn execute(request: Value) -> Result<Value> {
    let job: CountWords = serde_json::from_value(request).context("a job is {\"text\": ..}")?;
    let counts = count_words::remote(job).await?;
    Ok(serde_json::to_value(counts)?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let _ray = ray_core::init()?;
    let service = Service::open(options.queue, Retry::default()).await?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("binding the port")?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let at_once = 4 * thread::available_parallelism()?.get();
    let server = axum::serve(listener, service.router());
    tokio::select! {
        ended = service.run(at_once, execute) => ended,
        ended = server => ended.context("serving HTTP"),
        signal = tokio::signal::ctrl_c() => signal.context("waiting for a signal"),
    }
}
