//! Every setting, once: name, type, default, scope, and what it is for.
//!
//! A setting `some_name` is `RAY_SOME_NAME` in the environment. The page `docs/config.md` is made from this table.
//!
//! - CF-1: the builder beats the environment, which beats the file that `RAY_CONFIG` names, which beats the default.
//! - CF-2: a value that makes no sense is an error that names where it stands, never a silent default.
//! - CF-3: settings of cluster scope are resolved once, by the head, and sent in the handshake: a process does not look at
//!   its own environment for them.
//!
//! Settings are resolved when a session starts and are plain fields from then on: no lookup where it is hot.

mod error;
mod page;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use error::ConfigError;
pub use sources::Sources;
pub use table::{Cluster, Config, Node, Process};
pub use value::{LogEncoding, LogLevel, Share, Value};

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One process: the driver that reads it.
    Process,
    /// One node: its raylet.
    Node,
    /// All processes of the cluster: the head resolves it.
    Cluster,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name; the environment's is [`Setting::variable`].
    pub name: &'static str,
    /// Which values it takes.
    pub kind: &'static str,
    /// The default, as text; empty where it depends on the machine.
    pub default: fn() -> String,
    /// Whose it is.
    pub scope: Scope,
    /// What it is for.
    pub doc: &'static str,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("RAY_{}", self.name.to_ascii_uppercase())
    }
}
