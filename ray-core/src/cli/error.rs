//! A command that was not done.

use std::io;
use std::time::Duration;

use crate::config::ConfigError;
use crate::head::NodeError;
use crate::registry::RegistryError;
use crate::session::{self, NoNode};
use crate::wire::token::TokenError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(
        "the node needs a part: `--head` for the first node of a cluster, `--address HOST:PORT` of the head for a further one"
    )]
    NoPart,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "the home directory is unknown: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file of the cluster's token"
    )]
    NoHome,
    #[error("a node runs on this machine already, in {0}: `ray status` shows it, `ray stop` ends it")]
    Runs(String),
    #[error("its settings: {0}")]
    Config(#[from] ConfigError),
    #[error("`--resources` must be a JSON object of numbers such as '{{\"license\": 2}}': {0}")]
    Resources(serde_json::Error),
    #[error("no session directory: {0}")]
    Session(#[from] session::Error),
    #[error("the machine's memory: {0}")]
    Memory(io::Error),
    #[error("the node cannot start: {0}")]
    Node(#[from] NodeError),
    #[error("the node's process cannot be started: {0}")]
    Spawn(io::Error),
    #[error("the node has ended before it was ready; what it said stands above")]
    NotReady,
    #[error(transparent)]
    NoNode(#[from] NoNode),
    #[error("the node refuses: {0}")]
    Refused(String),
    #[error("the node does not answer within {0:?}")]
    Silent(Duration),
    #[error("the node has closed the connection")]
    Closed,
    #[error("the table of remote items: {0}")]
    Registry(#[from] RegistryError),
    #[error("the process {pid} of the node has not ended within {within:?}: `ray stop --force` kills it")]
    Lives { pid: i32, within: Duration },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl CliError {
    pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}
