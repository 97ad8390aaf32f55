//! How a process ended, as the raylet knows it and as errors tell it.

use std::fmt;

use crate::ids::PlacementGroupId;
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// How a process ended.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum DeathCause {
        1 =>
        /// It was asked to, or was idle for long.
        Intended {},
        2 =>
        /// It called `exit`.
        Exited {
            /// Its exit code.
            code: i32,
        },
        3 =>
        /// A signal ended it.
        Signalled {
            /// The signal's number.
            signal: i32,
        },
        4 =>
        /// The memory monitor ended it.
        OutOfMemory {
            /// The report.
            report: String,
        },
        5 =>
        /// It never came up.
        NotStarted {
            /// Why.
            why: String,
        },
        6 =>
        /// A forced cancel, `kill`, or a timeout ended it.
        Killed {
            /// Who asked for it.
            why: String,
        },
        7 =>
        /// Its node is not known any more.
        NodeGone {},
        8 =>
        /// The placement group that it ran in was removed.
        GroupRemoved {
            /// The group.
            group: PlacementGroupId,
        },
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intended {} => f.write_str("it ended as intended"),
            Self::Exited { code } => write!(f, "its process exited with code {code}"),
            Self::Signalled { signal } => write!(f, "its process was ended by signal {signal}{}", signal_name(*signal)),
            Self::OutOfMemory { report } => write!(f, "it was killed because the node ran low on memory: {report}"),
            Self::NotStarted { why } => write!(f, "its process did not start: {why}"),
            Self::Killed { why } => write!(f, "its process was killed: {why}"),
            Self::NodeGone {} => f.write_str("its node is gone"),
            Self::GroupRemoved { group } => {
                write!(f, "its process was killed: its placement group {group} was removed")
            }
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGSEGV => " (SIGSEGV: a crash in native code, or a stack overflow)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        _ => "",
    }
}
