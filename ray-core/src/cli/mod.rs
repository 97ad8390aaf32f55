//! The `ray` command: nodes that live by themselves, and questions to them.
//!
//! *Absent:* nothing here decides anything; each command is a question to a node, or the start or end of one.

mod client;
mod error;
mod get_auth_token;
mod start;
mod status;
mod stop;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Sources};
use error::CliError;

/// Starts, asks and stops nodes of Ray for Rust.
#[derive(Debug, Parser)]
#[command(name = "ray", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a node on this machine.
    Start(start::StartArgs),
    /// Says what the node of this machine has and does.
    Status(status::StatusArgs),
    /// Prints the cluster's token, which other nodes need to join.
    GetAuthToken(get_auth_token::GetAuthTokenArgs),
    /// Ends the node of this machine, with all that runs on it.
    Stop(stop::StopArgs),
}

/// Which node is meant.
#[derive(Debug, Args)]
struct Place {
    /// The directory of the node's session. [default: `RAY_TMPDIR`, else `/tmp/ray`]
    #[arg(long, env = "RAY_TMPDIR", hide_env = true)]
    temp_dir: Option<PathBuf>,
}

impl Place {
    /// The directory of the node's session; `None` is where sessions lie by default.
    fn base(&self) -> Result<Option<PathBuf>, CliError> {
        match &self.temp_dir {
            Some(directory) => Ok(Some(directory.clone())),
            None => Ok(Config::resolve(&Sources::of_this_process(BTreeMap::new())?)?
                .process
                .tmpdir),
        }
    }
}

/// Runs the command that the arguments of this process name. Exit codes: 0 done, 1 not done, with the reason on standard
/// error, 2 the arguments make no sense.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Start(args) => start::run(args),
        Command::Status(args) => status::run(&args),
        Command::GetAuthToken(args) => get_auth_token::run(&args),
        Command::Stop(args) => stop::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed terminal changes nothing.
            let _closed = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints for people.
fn say(text: &str) {
    // As above.
    let _closed = writeln!(std::io::stdout(), "{text}");
}
