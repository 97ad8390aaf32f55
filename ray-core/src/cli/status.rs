//! `ray status`.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;

use super::client::{Client, block_on};
use super::{CliError, Place, say};
use crate::ids::NodeId;
use crate::wire::{Frame, GcsReply, GcsRequest, NodeReport, NodeStanding};

/// Which node is asked.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), CliError> {
    block_on(async {
        let mut client = Client::connect(args.place.base()?.as_deref()).await?;
        let reply = |frame| match frame {
            Frame::NodeReportReply { report, .. } => Some(report),
            _ => None,
        };
        let report = client.ask(Frame::NodeReport { request: 1 }, reply).await?;
        let question = Frame::GcsRequest {
            request: 2,
            from: client.welcome.worker,
            body: Box::new(GcsRequest::ListNodes {}),
        };
        let reply = |frame| match frame {
            Frame::GcsReply { body, .. } => match *body {
                GcsReply::Nodes { nodes } => Some(nodes),
                _ => None,
            },
            _ => None,
        };
        let nodes = client.ask(question, reply).await?;
        say(&shown(&client.welcome.session_dir, &report, &nodes));
        Ok(())
    })
}

/// The report, for people.
fn shown(session: &str, report: &NodeReport, nodes: &[NodeStanding]) -> String {
    let mut text = format!("node     {}\nsession  {session}\n\nresources\n", report.node);
    let width = report.total.keys().map(String::len).max().unwrap_or(0);
    for (name, total) in &report.total {
        let used = total - report.available.get(name).copied().unwrap_or_default();
        let [used, total] = [used, *total].map(|amount| amount_of(name, amount));
        // Writing into a text cannot fail.
        let _written = writeln!(text, "  {name:width$}  {used} of {total} in use");
    }
    let count = |state: &str| report.workers.iter().filter(|worker| worker.state == state).count();
    let drivers = match count("driver") {
        1 => "1 driver".to_owned(),
        drivers => format!("{drivers} drivers"),
    };
    let waiting = match report.pending_leases {
        1 => "1 request waits".to_owned(),
        requests => format!("{requests} requests wait"),
    };
    let _written = writeln!(text, "\n{drivers}, {waiting}\n");
    let _written = writeln!(text, "{:>9}  {:8}  serves", "pid", "process");
    let mut workers: Vec<_> = report
        .workers
        .iter()
        .filter(|worker| worker.state != "observer")
        .collect();
    workers.sort_by_key(|worker| worker.pid);
    for worker in workers {
        let _written = writeln!(text, "{:>9}  {:8}  {}", worker.pid, worker.state, worker.serves);
    }
    text.truncate(text.trim_end().len());
    text += &cluster(report.node, nodes);
    text
}

/// The nodes of the cluster.
fn cluster(here: NodeId, nodes: &[NodeStanding]) -> String {
    let living = nodes.iter().filter(|node| node.death.is_none()).count();
    let mut text = format!("\n\nnodes: {living} alive, {} dead", nodes.len() - living);
    for NodeStanding {
        info,
        head,
        death,
        available,
    } in nodes
    {
        let part = match (head, info.node == here) {
            (true, true) => "head, this one",
            (true, false) => "head",
            (false, true) => "this one",
            (false, false) => "",
        };
        let amount = |resources: &BTreeMap<String, f64>, name| resources.get(name).copied().unwrap_or_default();
        let total = amount(&info.resources, "CPU");
        let stands = match death {
            None => format!("{} of {total} CPUs in use", total - amount(available, "CPU")),
            Some(why) => format!("dead: {why}"),
        };
        let _written = write!(text, "\n  {}  {:21}  {:14}  {stands}", info.node, info.address, part);
    }
    text
}

fn amount_of(name: &str, amount: f64) -> String {
    const GIB: f64 = 1_073_741_824.0;
    match name {
        "memory" | "object_store_memory" => format!("{:.2} GiB", amount / GIB),
        _ => format!("{amount}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::{NodeId, WorkerId};
    use crate::wire::WorkerReport;

    #[test]
    fn it_shows_what_is_in_use_and_who_serves_what_but_not_who_asks() {
        let worker = |pid, state: &str, serves: &str| WorkerReport {
            worker: WorkerId::random(),
            pid,
            state: state.into(),
            serves: serves.into(),
        };
        let resources = |cpu, memory| BTreeMap::from([("CPU".to_owned(), cpu), ("memory".to_owned(), memory)]);
        let mut report = NodeReport {
            node: NodeId::default(),
            total: resources(4.0, 2_147_483_648.0),
            available: resources(2.5, 2_147_483_648.0),
            workers: vec![
                worker(12, "leased", "train"),
                worker(7, "driver", ""),
                worker(99, "observer", ""),
            ],
            pending_leases: 3,
        };
        let text = shown("/tmp/ray/session", &report, &[]);
        assert!(text.contains("CPU     1.5 of 4 in use"), "{text}");
        assert!(text.contains("memory  0.00 GiB of 2.00 GiB in use"), "{text}");
        assert!(text.contains("\n1 driver, 3 requests wait\n"), "{text}");
        assert!(
            text.contains("7  driver") && text.contains("12  leased    train"),
            "{text}"
        );
        assert!(!text.contains("99"), "{text}");
        report.pending_leases = 1;
        report.workers.clear();
        let text = shown("/tmp/ray/session", &report, &[]);
        assert!(text.contains("\n0 drivers, 1 request waits\n"), "{text}");
    }
}
