//! What is asked of the spawning thread, and how it becomes a call of `posix_spawn`.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::posix;
use crate::process::role::{self, Announcement, CONTROL_FD, EXECUTABLE_FD, ROLE_VARIABLE};
use crate::process::{Error, Executable};

/// How often a program is tried again whose file is busy, and the pause before each: together a quarter of a second.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Where a child's standard output or error goes.
#[derive(Debug, Default)]
pub enum Output {
    /// Where the parent's goes.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// Into this file; open it for appending.
    File(OwnedFd),
}

/// The role that a child takes over, and the descriptors it gets for it.
#[derive(Debug)]
pub struct SpawnRole {
    /// The name of a [`RoleEntry`](crate::process::RoleEntry) of the child's program.
    pub name: String,
    /// The child's end of a Unix socket pair. The parent's copy is closed by the spawn.
    pub control: OwnedFd,
    /// Further descriptors under names of letters, digits, `-` and `_`.
    pub descriptors: Vec<(String, OwnedFd)>,
}

/// A process to start. It gets a process group of its own, an empty signal mask, default signal actions, and `/dev/null`
/// as its standard input.
pub struct SpawnRequest {
    /// The program.
    pub executable: Executable,
    /// The arguments, from the program's name on.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// The working directory; `None` is the parent's.
    pub working_directory: Option<PathBuf>,
    /// Where its standard output goes.
    pub stdout: Output,
    /// Where its standard error goes.
    pub stderr: Output,
    /// The role it takes over; `None` runs the program's `main`.
    pub role: Option<SpawnRole>,
}

impl fmt::Debug for SpawnRequest {
    /// Variables by name only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.keys().collect();
        f.debug_struct("SpawnRequest")
            .field("executable", &self.executable.path())
            .field("args", &self.args)
            .field("environment", &names)
            .field("working_directory", &self.working_directory)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl SpawnRequest {
    /// The program with its own path as the only argument, in the parent's environment and working directory.
    pub fn new(executable: Executable) -> Self {
        let args = vec![executable.path().as_os_str().to_owned()];
        Self {
            executable,
            args,
            environment: own_environment(),
            working_directory: None,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            role: None,
        }
    }

    fn program(&self) -> String {
        let name = self
            .args
            .first()
            .map_or(self.executable.path().as_os_str(), OsString::as_os_str);
        name.to_string_lossy().into_owned()
    }

    /// Starts the process from the calling thread, whose end will be the child's.
    pub(super) fn start(self) -> Result<Pid, Error> {
        let program = self.program();
        let plan = self.plan()?;
        plan.spawn().map_err(|source| match &plan.working_directory {
            // `posix_spawn` does not tell which step failed.
            Some((directory, _)) if let Err(source) = std::fs::read_dir(directory) => Error::WorkingDirectory {
                program,
                directory: directory.clone(),
                source,
            },
            _ => Error::Spawn { program, source },
        })
    }

    fn plan(self) -> Result<Plan, Error> {
        let program = self.program();
        let malformed = |what: String| Error::Request {
            program: program.clone(),
            what,
        };
        let text = |what: &str, text: &OsStr| {
            CString::new(text.as_bytes())
                .map_err(|_| malformed(format!("{what} `{}` contains a zero byte", text.to_string_lossy())))
        };
        let args = self
            .args
            .iter()
            .map(|arg| text("the argument", arg))
            .collect::<Result<_, _>>()?;
        let working_directory = match self.working_directory {
            Some(directory) => {
                let entered = text("the working directory", directory.as_os_str())?;
                Some((directory, entered))
            }
            None => None,
        };

        let named = self.role.as_ref().map_or(0, |role| role.descriptors.len());
        let first_free = RawFd::try_from(named)
            .ok()
            .and_then(|named| named.checked_add(CONTROL_FD + 1))
            .ok_or_else(|| malformed(format!("{named} descriptors are too many")))?;
        let mut descriptors = Descriptors {
            program: &program,
            first_free,
            moves: Vec::new(),
        };
        descriptors.give_output(&self.stdout, 1)?;
        descriptors.give_output(&self.stderr, 2)?;
        descriptors.give(&self.executable, EXECUTABLE_FD)?;
        let mut environment = self.environment;
        environment.remove(OsStr::new(ROLE_VARIABLE));
        if let Some(role) = &self.role {
            environment.extend([descriptors.give_role(role)?.to_variable()]);
        }
        let moves = descriptors.moves;

        let variable = |(name, value): (&OsString, &OsString)| {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(malformed(format!(
                    "`{}` cannot name a variable",
                    name.to_string_lossy()
                )));
            }
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            // The value may be a secret: an error names the variable only.
            CString::new(entry.into_encoded_bytes()).map_err(|_| {
                malformed(format!(
                    "the variable `{}` contains a zero byte",
                    name.to_string_lossy()
                ))
            })
        };
        let environment = environment.iter().map(variable).collect::<Result<_, _>>()?;
        Ok(Plan {
            args,
            environment,
            working_directory,
            discard: [(&self.stdout, 1), (&self.stderr, 2)]
                .into_iter()
                .filter_map(|(output, number)| matches!(output, Output::Null).then_some(number))
                .collect(),
            moves,
            first_closed: first_free,
        })
    }
}

/// This process's environment, but for the variable that gave it a role.
fn own_environment() -> BTreeMap<OsString, OsString> {
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != ROLE_VARIABLE) {
        // Of two entries the first counts.
        environment.entry(name).or_insert(value);
    }
    environment
}

/// Gathers which descriptor becomes which number in the child. Each is first copied above all those numbers, so that no
/// move overwrites the source of another.
struct Descriptors<'a> {
    program: &'a str,
    first_free: RawFd,
    moves: Vec<(OwnedFd, RawFd)>,
}

impl Descriptors<'_> {
    fn give(&mut self, descriptor: impl AsFd, number: RawFd) -> Result<(), Error> {
        let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, self.first_free).map_err(|errno| Error::Spawn {
            program: self.program.to_owned(),
            source: errno.into(),
        })?;
        self.moves.push((copy, number));
        Ok(())
    }

    fn give_output(&mut self, output: &Output, number: RawFd) -> Result<(), Error> {
        match output {
            Output::File(file) => self.give(file, number),
            Output::Inherit | Output::Null => Ok(()),
        }
    }

    fn give_role(&mut self, role: &SpawnRole) -> Result<Announcement, Error> {
        let malformed = |what: String| Error::Request {
            program: self.program.to_owned(),
            what,
        };
        let mut names = std::iter::once(&role.name).chain(role.descriptors.iter().map(|(name, _)| name));
        if let Some(bad) = names.find(|name| !role::is_name(name)) {
            return Err(malformed(format!("`{bad}` cannot name a role or descriptor")));
        }
        let control_inode = role::socket_inode(&role.control)
            .ok_or_else(|| malformed("the control descriptor is no Unix socket".to_owned()))?;
        self.give(&role.control, CONTROL_FD)?;
        let mut named = Vec::with_capacity(role.descriptors.len());
        for ((name, descriptor), number) in role.descriptors.iter().zip(CONTROL_FD + 1..) {
            self.give(descriptor, number)?;
            named.push((name.clone(), number));
        }
        Ok(Announcement {
            parent_pid: std::process::id(),
            control_inode,
            role: role.name.clone(),
            executable: EXECUTABLE_FD,
            control: CONTROL_FD,
            named,
        })
    }
}

/// A request in the kernel's terms.
pub(super) struct Plan {
    pub(super) args: Vec<CString>,
    pub(super) environment: Vec<CString>,
    pub(super) working_directory: Option<(PathBuf, CString)>,
    /// Numbers that become `/dev/null`.
    pub(super) discard: Vec<RawFd>,
    /// Which descriptor becomes which number.
    pub(super) moves: Vec<(OwnedFd, RawFd)>,
    /// From this number on the child has nothing.
    pub(super) first_closed: RawFd,
}

impl Plan {
    /// A file that was written a moment ago may count as still being written: a process that another thread has started
    /// meanwhile holds a copy of the writer's descriptor until its exec. That passes.
    fn spawn(&self) -> std::io::Result<Pid> {
        let mut tries = 0;
        loop {
            match posix::spawn(self) {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                    tries += 1;
                    std::thread::sleep(BUSY_PAUSE);
                }
                spawned => return spawned,
            }
        }
    }

    /// The numbers of `moves`, for the system call.
    pub(super) fn raw_moves(&self) -> impl Iterator<Item = (RawFd, RawFd)> + '_ {
        self.moves.iter().map(|(source, number)| (source.as_raw_fd(), *number))
    }
}
