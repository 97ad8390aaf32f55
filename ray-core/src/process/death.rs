//! How a process ended.

use std::borrow::Cow;
use std::fmt;

use rustix::process::WaitIdStatus;

/// How a process ended, as the kernel tells its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It called `exit`, or returned from `main`.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core file.
        core_dumped: bool,
    },
    /// It ended, but other code of this program reaped it (or ignores `SIGCHLD`), so the kernel no longer knows how.
    Unknown,
}

impl Death {
    pub(super) fn from_status(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited { code },
            (None, Some(signal)) => Self::Killed {
                signal,
                core_dumped: status.dumped(),
            },
            (None, None) => Self::Unknown,
        }
    }

    /// Whether the process left by itself and reported success.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited { code: 0 }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Killed { signal, core_dumped } => {
                let core = if *core_dumped { " (core dumped)" } else { "" };
                write!(f, "killed by {}{core}", signal_name(*signal))
            }
            Self::Unknown => f.write_str("ended in an unknown way: other code of this program reaped it"),
        }
    }
}

/// The name of a signal, such as `SIGKILL`.
pub fn signal_name(signal: i32) -> Cow<'static, str> {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return Cow::Owned(format!("signal {signal}")),
    };
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_reads_as_a_sentence() {
        assert_eq!(Death::Exited { code: 3 }.to_string(), "exited with code 3");
        let killed = Death::Killed {
            signal: libc::SIGKILL,
            core_dumped: false,
        };
        assert_eq!(killed.to_string(), "killed by SIGKILL");
        let dumped = Death::Killed {
            signal: 40,
            core_dumped: true,
        };
        assert_eq!(dumped.to_string(), "killed by signal 40 (core dumped)");
    }
}
