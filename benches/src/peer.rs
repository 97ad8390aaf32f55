//! The peer: the same work on the Ray of a Python interpreter.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::context::Context;
use crate::row::Row;

/// The medians that the peer reached, by metric, in the unit of the row.
pub(crate) type PeerValues = HashMap<String, f64>;

const SCRIPT: &str = include_str!("peer.py");

#[derive(Deserialize)]
struct PeerLine {
    metric: String,
    value: f64,
}

/// Runs the work of `rows` with `python`; rows that have no counterpart there are absent from the answer.
pub(crate) fn measure(python: &Path, rows: &[&Row], context: &Context) -> Result<PeerValues> {
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(context.repeats.to_string())
        .args(rows.iter().map(|row| row.metric))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting the peer's interpreter {}", python.display()))?;
    ensure!(
        output.status.success(),
        "the peer {} ended with {}",
        python.display(),
        output.status
    );
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Lines that are no JSON object are what Ray itself prints.
fn parse(output: &str) -> Result<PeerValues> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let PeerLine { metric, value } =
                serde_json::from_str(line).with_context(|| format!("a line of the peer: {line}"))?;
            Ok((metric, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    #[test]
    fn values_are_read_between_lines_that_ray_prints() {
        let values = parse("INFO worker.py\n{\"metric\": \"init_ms\", \"value\": 3380.5}\n(noop pid=1) hi\n").unwrap();
        assert_eq!(values, PeerValues::from([("init_ms".to_owned(), 3380.5)]));
        assert!(parse("{\"metric\": 1}").is_err());
    }

    #[test]
    fn every_metric_of_the_script_is_a_row() {
        let named = SCRIPT
            .lines()
            .filter_map(|line| line.strip_prefix("@row(\"")?.strip_suffix("\")"));
        let named: Vec<_> = named.collect();
        assert!(named.len() >= 20, "{named:?}");
        for metric in named {
            rows::find(metric).unwrap();
        }
    }
}
