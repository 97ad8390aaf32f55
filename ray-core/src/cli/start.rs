//! `ray start`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, block_on};
use super::get_auth_token::cluster_token;
use super::{CliError, Place, say};
use crate::config::{Config, Sources};
use crate::head::{self, Part};
use crate::process::start_again_detached;
use crate::session::Session;

/// What a node has.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The node is the head of a cluster.
    #[arg(long, conflicts_with = "address")]
    head: bool,
    /// The node joins the cluster whose head listens at this address.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The head listens on this port; 0 takes any.
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// The address of this machine under which other nodes reach the node. [default: that of the way to the head, and on the
    /// head that of the way to the world]
    #[arg(long, value_name = "IP")]
    node_ip_address: Option<IpAddr>,
    /// Stays in the foreground until the node ends; SIGTERM and SIGINT end it.
    #[arg(long)]
    block: bool,
    /// CPUs that the node offers. [default: those that the process may use]
    #[arg(long)]
    num_cpus: Option<u32>,
    /// GPUs that the node offers. [default: those visible to the process]
    #[arg(long)]
    num_gpus: Option<u32>,
    /// Bytes of the logical resource `memory`. [default: the available memory less the object store's share]
    #[arg(long)]
    memory: Option<u64>,
    /// Bytes of the object store. [default: 30 % of the available memory]
    #[arg(long)]
    object_store_memory: Option<u64>,
    /// Resources of your own, as a JSON object of numbers.
    #[arg(long, value_name = "JSON")]
    resources: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Says on standard output when the node is ready, and leaves the terminal.
    #[arg(long, hide = true)]
    detached: bool,
}

/// What a node in the background says when it is ready.
const READY: &str = "ready ";

pub(super) fn run(args: StartArgs) -> Result<(), CliError> {
    if !args.head && args.address.is_none() {
        return Err(CliError::NoPart);
    }
    let base = args.place.base()?;
    match block_on(Client::connect(base.as_deref())) {
        Ok(client) => return Err(CliError::Runs(client.welcome.session_dir)),
        Err(CliError::NoNode(_)) => {}
        Err(other) => return Err(other),
    }
    if args.block || args.detached {
        return serve(&args, base.as_deref());
    }
    let (address, session) = start_in_background()?;
    let mut text = format!(
        "a node runs, with its logs in {session}/logs\n\n\
         A program joins it with `Ray::builder().address(\"auto\").init()`, or with RAY_ADDRESS=auto.\n"
    );
    if args.head {
        text += &format!("A further node joins it with `ray start --address {address}`.\n");
    }
    say(&(text + "`ray status` shows it, `ray stop` ends it."));
    Ok(())
}

/// Starts this command again as a process that outlives this one. Returns its address and its session's directory once it is
/// ready.
fn start_in_background() -> Result<(String, String), CliError> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    args.push("--detached".into());
    let said = start_again_detached(&args).map_err(CliError::Spawn)?;
    for line in BufReader::new(said).lines() {
        let line = line.map_err(CliError::Spawn)?;
        match line.strip_prefix(READY).and_then(|ready| ready.split_once(' ')) {
            Some((address, session)) => return Ok((address.to_owned(), session.to_owned())),
            None => say(&line),
        }
    }
    Err(CliError::NotReady)
}

/// Runs the node in this process.
fn serve(args: &StartArgs, base: Option<&Path>) -> Result<(), CliError> {
    if args.detached {
        // The terminal's signals are not for it. It leads no group yet, so that this cannot fail.
        let _own = rustix::process::setsid();
    }
    let (config, resources) = args.config()?;
    let session = Arc::new(Session::create_in(base)?);
    let token = cluster_token(&config, args.head)?;
    let part = match &args.address {
        Some(head) => Part::Worker { head: head.clone() },
        None => Part::Head { port: args.port },
    };
    let plan = head::plan(&config, resources, session).map_err(CliError::Memory)?;
    crate::logging::in_worker(&config.cluster);
    block_on(async {
        let caught = CliError::system("signals cannot be caught");
        let mut terminate = signal(SignalKind::terminate()).map_err(&caught)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(&caught)?;
        let signalled = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let announce = |session: &Session, address| announce(session, address, args.detached);
        Ok(head::run_node(plan, (part, args.node_ip_address, token), announce, signalled).await?)
    })
}

/// Tells whoever started the node that it is ready.
fn announce(session: &Session, address: SocketAddr, detached: bool) {
    let path = session.path().display();
    if !detached {
        return say(&format!(
            "a node runs at {address}, with its logs in {path}/logs; SIGINT ends it"
        ));
    }
    say(&format!("{READY}{address} {path}"));
    // From now on it writes to its session.
    let logs = ["node.out", "node.err"].map(|name| session.open_log(name));
    if let [Ok(out), Ok(err)] = logs {
        // Where that fails it goes on writing to where it did.
        let _out = rustix::stdio::dup2_stdout(&out);
        let _err = rustix::stdio::dup2_stderr(&err);
    }
}

impl StartArgs {
    /// The node's settings, and the resources that are none of them.
    fn config(&self) -> Result<(Config, BTreeMap<String, f64>), CliError> {
        let given = [
            ("num_cpus", self.num_cpus.map(u64::from)),
            ("num_gpus", self.num_gpus.map(u64::from)),
            ("memory", self.memory),
            ("object_store_memory", self.object_store_memory),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
        let config = Config::resolve(&Sources::of_this_process(given.collect())?)?;
        let resources = self.resources.as_deref().map(serde_json::from_str).transpose();
        Ok((config, resources.map_err(CliError::Resources)?.unwrap_or_default()))
    }
}
