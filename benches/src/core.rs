//! The `core` command: measures the rows one after another and reports each.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::child::{Child, Role};
use crate::context::Context;
use crate::floors::Floors;
use crate::peer::{self, PeerValues};
use crate::report::{Line, Report};
use crate::row::{Repeats, Row};
use crate::rows;
use crate::sample::Sample;

/// A row that has not answered by then is reported as failed; the slowest healthy one takes a few times 10 s.
const ROW_LIMIT: Duration = Duration::from_secs(600);

/// What to measure, and how to print it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Print one JSON object a line in place of the table.
    #[arg(long)]
    json: bool,
    /// Run the same work on the Ray of this Python interpreter and compare.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Measure these metrics only.
    #[arg(long, value_name = "METRIC", num_args = 1..)]
    only: Vec<String>,
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(5..))]
    repeats: u16,
}

/// Measures and reports; an error if a row failed, after all rows have been printed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let context = Context {
        repeats: usize::from(options.repeats),
    };
    let rows = selected(&options.only)?;
    let peers = match &options.peer {
        Some(python) => peer::measure(python, &rows, &context)?,
        None => PeerValues::default(),
    };
    let mut floors = Floors::default();
    let mut report = Report::new(io::stdout().lock(), options.json, options.peer.is_some());
    let mut failed = Vec::new();
    for row in rows {
        let outcome = measure(row, &context, &mut floors);
        if outcome.is_err() {
            failed.push(row.metric);
        }
        let (sample, floor, failure) = match outcome {
            Ok((sample, floor)) => (sample, floor, None),
            Err(error) => (None, None, Some(format!("{error:#}"))),
        };
        report.print(&Line {
            row,
            sample: sample.as_ref(),
            floor,
            failure,
            peer: peers.get(row.metric).copied(),
        })?;
    }
    report.finish()?;
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

fn selected(only: &[String]) -> Result<Vec<&'static Row>> {
    let chosen: Vec<_> = only.iter().map(|metric| rows::find(metric)).collect::<Result<_>>()?;
    Ok(rows::CORE
        .iter()
        .filter(|row| chosen.is_empty() || chosen.iter().any(|one| one.metric == row.metric))
        .collect())
}

/// The row's sample and the value of its floor in the row's unit.
fn measure(row: &'static Row, context: &Context, floors: &mut Floors) -> Result<(Option<Sample>, Option<f64>)> {
    let floor = match row.floor {
        Some(floor) => Some(row.unit.of_floor(floors.get(floor, context)?.median())),
        None => None,
    };
    let sample = match row.repeats {
        Repeats::InOneProcess => measure_in_child(row, context.repeats)?,
        Repeats::InFreshProcesses => {
            let samples = (0..context.repeats).map(|_| measure_in_child(row, 1));
            samples.collect::<Result<Option<Vec<_>>>>()?.and_then(Sample::join)
        }
    };
    Ok((sample, floor))
}

fn measure_in_child(row: &Row, repeats: usize) -> Result<Option<Sample>> {
    let child = Child::start(&Role::Measure {
        metric: row.metric.to_owned(),
        repeats,
    })?;
    child
        .socket
        .set_read_timeout(Some(ROW_LIMIT))
        .context("limiting the time of a row")?;
    let answer = io::read_to_string(&child.socket).context("the measuring process did not answer in time")?;
    serde_json::from_str(&answer).context("the measuring process ended without a sample")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_every_row_is_measured_and_a_choice_keeps_the_order_of_the_table() {
        assert_eq!(selected(&[]).unwrap().len(), rows::CORE.len());
        let chosen = selected(&["shutdown_ms".to_owned(), "init_ms".to_owned()]).unwrap();
        assert_eq!(
            chosen.iter().map(|row| row.metric).collect::<Vec<_>>(),
            ["init_ms", "shutdown_ms"]
        );
        assert!(selected(&["nothing".to_owned()]).is_err());
    }
}
