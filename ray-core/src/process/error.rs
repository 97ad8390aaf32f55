//! What can go wrong at the birth and death of a process.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// A process could not be started or waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The executable's file cannot be opened.
    #[error("cannot open the executable {}: {source}", path.display())]
    Executable {
        /// What was opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The spawning thread did not start.
    #[error("cannot start the thread that spawns workers: {source}; {}", advice(source))]
    Thread {
        /// Why not.
        source: io::Error,
    },
    /// The spawner has ended.
    #[error("the spawner has ended: the runtime it belongs to is shutting down")]
    Ended,
    /// The request cannot be told to the kernel.
    #[error("cannot start `{program}`: {what}")]
    Request {
        /// The program's name (its first argument).
        program: String,
        /// What is wrong with it.
        what: String,
    },
    /// The kernel did not start the process.
    #[error("cannot start `{program}`: {source}; {}", advice(source))]
    Spawn {
        /// The program's name (its first argument).
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The working directory of a request cannot be entered.
    #[error("cannot start `{program}`: the working directory {} cannot be entered: {source}", directory.display())]
    WorkingDirectory {
        /// The program's name (its first argument).
        program: String,
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A child cannot be watched.
    #[error("cannot watch process {pid}: {source}; {}", advice(source))]
    Watch {
        /// The child.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
}

/// The way out of a failed start, for the error's text.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::TOOBIG) => {
            "arguments and environment are too large together: pass less, or raise the stack limit (`ulimit -s`)"
        }
        Some(Errno::AGAIN) => {
            "the limit on processes is reached: raise `ulimit -u` or the cgroup's `pids.max`, or use fewer workers"
        }
        Some(Errno::NOMEM) => "the machine or cgroup has no memory left for another process: use fewer workers",
        Some(Errno::MFILE) => "this process has too many open files: raise `ulimit -n`",
        Some(Errno::NFILE) => "the machine has too many open files: raise `fs.file-max`",
        Some(Errno::NOENT) => "the program's loader is missing, or /proc is not mounted",
        Some(Errno::ACCESS) => {
            "the file may not be executed: check its mode and whether its file system is mounted `noexec`"
        }
        Some(Errno::PERM) => "a security policy forbids it: check seccomp and the container's settings",
        Some(Errno::NOEXEC) => "the file is no program of this machine's architecture",
        Some(Errno::NOSYS) => "the kernel is older than 5.11, or a seccomp filter hides the call",
        _ => "see the system's log",
    }
}
