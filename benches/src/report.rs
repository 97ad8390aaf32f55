//! The report: a table for people, or one JSON object a line.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::floors::Floor;
use crate::row::{Row, Target};
use crate::sample::Sample;

/// What is known about one row.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) row: &'a Row,
    /// `None` where the ability is not built yet or the measurement failed.
    pub(crate) sample: Option<&'a Sample>,
    /// The floor in the row's unit.
    pub(crate) floor: Option<f64>,
    /// Why the measurement failed.
    pub(crate) failure: Option<String>,
    /// What the peer reached, in the row's unit.
    pub(crate) peer: Option<f64>,
}

impl Line<'_> {
    fn value(&self) -> Option<f64> {
        self.sample.map(Sample::median)
    }

    fn ratio(&self) -> Option<f64> {
        self.value().zip(self.floor).map(|(value, floor)| value / floor)
    }

    fn met(&self) -> Option<bool> {
        self.value().and_then(|value| self.row.target.met(value, self.ratio()))
    }

    fn times_faster(&self) -> Option<f64> {
        self.value()
            .zip(self.peer)
            .map(|(value, peer)| self.row.target.times_better(value, peer))
    }

    fn note(&self) -> Option<&str> {
        match (&self.failure, self.sample) {
            (Some(failure), _) => Some(failure),
            (None, None) => Some("not built yet"),
            (None, Some(sample)) => sample.note.as_deref(),
        }
    }
}

/// Prints lines as they come, so that a long run shows where it is.
#[derive(Debug)]
pub(crate) struct Report<W> {
    out: W,
    json: bool,
    with_peer: bool,
    headed: bool,
}

impl<W: Write> Report<W> {
    /// A report to `out`; `with_peer` adds the peer's columns.
    pub(crate) fn new(out: W, json: bool, with_peer: bool) -> Self {
        Self {
            out,
            json,
            with_peer,
            headed: false,
        }
    }

    /// Prints one row.
    pub(crate) fn print(&mut self, line: &Line<'_>) -> Result<()> {
        let text = if self.json {
            object(line, self.with_peer)?
        } else {
            columns(line, self.with_peer)
        };
        if !self.json && !self.headed {
            self.headed = true;
            writeln!(self.out, "{}", head(self.with_peer)).context("printing the report")?;
        }
        writeln!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .context("printing the report")
    }

    /// Explains the columns below a table.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let text = "\nvalue: median of the repeats, with the least and the greatest; ratio: value / floor; threads: of the \
                    driver's process;\npids: the processes that did the work.";
        writeln!(self.out, "{text}").context("printing the report")
    }
}

/// One line of JSON; the fields stand in the order in which they are printed.
#[derive(Serialize)]
struct Object<'a> {
    metric: &'a str,
    value: Option<f64>,
    unit: &'a str,
    floor: Option<f64>,
    ratio: Option<f64>,
    floor_name: Option<&'a str>,
    target: String,
    met: Option<bool>,
    spread: Option<(f64, f64)>,
    repeats: Option<usize>,
    driver_threads: Option<usize>,
    workers: Option<usize>,
    pids: Option<&'a [u32]>,
    note: Option<&'a str>,
    #[serde(flatten)]
    comparison: Option<Comparison>,
}

/// The fields that a run with a peer adds.
#[derive(Serialize)]
struct Comparison {
    peer: Option<f64>,
    times_faster: Option<f64>,
}

fn object(line: &Line<'_>, with_peer: bool) -> Result<String> {
    let sample = line.sample;
    let object = Object {
        metric: line.row.metric,
        value: line.value(),
        unit: line.row.unit.name(),
        floor: line.floor,
        ratio: line.ratio(),
        floor_name: line.row.floor.map(Floor::name),
        target: target(line.row.target),
        met: line.met(),
        spread: sample.map(Sample::spread),
        repeats: sample.map(|sample| sample.values.len()),
        driver_threads: sample.map(|sample| sample.driver_threads),
        workers: sample.map(|sample| sample.pids.len()),
        pids: sample.map(|sample| sample.pids.as_slice()),
        note: line.note(),
        comparison: with_peer.then(|| Comparison {
            peer: line.peer,
            times_faster: line.times_faster(),
        }),
    };
    serde_json::to_string(&object).context("encoding a row")
}

fn head(with_peer: bool) -> String {
    let peer = if with_peer {
        format!(" {:>10} {:>7}", "peer", "times")
    } else {
        String::new()
    };
    format!(
        "{:<33} {:>10} {:<5} {:>21} {:>15} {:>6} {:>10} {:>7}{peer} {:>7} {:>7} {:>7}  pids, notes",
        "metric", "value", "unit", "spread", "target", "met", "floor", "ratio", "repeats", "threads", "workers"
    )
}

fn columns(line: &Line<'_>, with_peer: bool) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let count = |value: Option<usize>| value.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let met = match line.met() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let spread = line.sample.map_or_else(
        || "-".to_owned(),
        |sample| {
            let (least, greatest) = sample.spread();
            format!("{}..{}", short(least), short(greatest))
        },
    );
    let peer = if with_peer {
        format!(" {:>10} {:>7}", number(line.peer), number(line.times_faster()))
    } else {
        String::new()
    };
    let pids: Vec<_> = line
        .sample
        .iter()
        .flat_map(|sample| &sample.pids)
        .map(u32::to_string)
        .collect();
    let remarks = [pids.join(","), line.note().unwrap_or_default().to_owned()];
    let remarks: Vec<_> = remarks.into_iter().filter(|remark| !remark.is_empty()).collect();
    let text = format!(
        "{:<33} {:>10} {:<5} {:>21} {:>15} {:>6} {:>10} {:>7}{peer} {:>7} {:>7} {:>7}  {}",
        line.row.metric,
        line.value().map_or_else(|| "null".to_owned(), short),
        line.row.unit.name(),
        spread,
        target(line.row.target),
        met,
        number(line.floor),
        number(line.ratio()),
        count(line.sample.map(|sample| sample.values.len())),
        count(line.sample.map(|sample| sample.driver_threads)),
        count(line.sample.map(|sample| sample.pids.len())),
        remarks.join("; "),
    );
    text.trim_end().to_owned()
}

fn target(target: Target) -> String {
    match target {
        Target::AtMost(limit) => format!("<= {}", short(limit)),
        Target::AtLeast(limit) => format!(">= {}", short(limit)),
        Target::RatioAtMost(limit) => format!("ratio <= {}", short(limit)),
        Target::RatioAtLeast(limit) => format!("ratio >= {}", short(limit)),
    }
}

/// Three or more significant digits, thousands without a fraction.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => grouped(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rows;

    fn printed(json: bool, with_peer: bool, line: &Line<'_>) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json, with_peer);
        report.print(line).unwrap();
        report.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_measured_row_states_value_floor_ratio_and_who_did_the_work() {
        let row = rows::find("task_sync_us_process").unwrap();
        let sample = Sample::new(vec![8.0, 10.0, 12.0]).unwrap().by([17]);
        let line = Line {
            row,
            sample: Some(&sample),
            floor: Some(40.0),
            failure: None,
            peer: Some(1_208.0),
        };
        let object: Value = serde_json::from_str(&printed(true, true, &line)).unwrap();
        assert_eq!(object["metric"], "task_sync_us_process");
        assert_eq!(object["value"], 10.0);
        assert_eq!(object["unit"], "us");
        assert_eq!(object["floor"], 40.0);
        assert_eq!(object["ratio"], 0.25);
        assert_eq!(object["met"], true);
        assert_eq!(object["spread"], json!([8.0, 12.0]));
        assert_eq!(object["repeats"], 3);
        assert_eq!(object["workers"], 1);
        assert_eq!(object["pids"], json!([17]));
        assert_eq!(object["peer"], 1_208.0);
        assert_eq!(object["times_faster"], 120.8);
        let table = printed(false, true, &line);
        assert!(
            table.contains("8.00..12.0") && table.contains("ratio <= 0.25") && table.contains("1,208"),
            "{table}"
        );
    }

    #[test]
    fn a_row_without_floor_or_value_has_null_for_each() {
        let row = rows::find("init_ms").unwrap();
        let line = Line {
            row,
            sample: None,
            floor: None,
            failure: None,
            peer: None,
        };
        let object: Value = serde_json::from_str(&printed(true, false, &line)).unwrap();
        assert_eq!(object["value"], Value::Null);
        assert_eq!(object["floor"], Value::Null);
        assert_eq!(object["ratio"], Value::Null);
        assert_eq!(object["met"], Value::Null);
        assert_eq!(object["note"], "not built yet");
        assert!(object.get("peer").is_none());
        assert!(
            printed(true, false, &line)
                .starts_with("{\"metric\":\"init_ms\",\"value\":null,\"unit\":\"ms\",\"floor\":null,")
        );
        assert!(printed(false, false, &line).contains("null"));
    }

    #[test]
    fn a_failed_row_says_why() {
        let row = rows::find("init_ms").unwrap();
        let failure = Some("no space".to_owned());
        let line = Line {
            row,
            sample: None,
            floor: None,
            failure,
            peer: None,
        };
        assert!(printed(false, false, &line).contains("no space"));
    }

    #[test]
    fn numbers_are_short_and_thousands_are_grouped() {
        assert_eq!(short(1_234_567.8), "1,234,568");
        assert_eq!(short(-1_000.0), "-1,000");
        assert_eq!(short(123.4), "123");
        assert_eq!(short(0.12), "0.12");
        assert_eq!(short(0.02), "0.0200");
        assert_eq!(short(0.0), "0.00");
    }
}
