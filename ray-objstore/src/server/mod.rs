//! The server half: it alone grants, publishes, frees, spills and restores.

mod arenas;
mod disk;
mod objects;
mod report;
mod serve;
mod space;
mod spill_file;
mod state;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::ids::{ClientId, Key};
use serve::Server;
use state::{Limits, State};

pub use report::{ObjectReport, ObjectState, PinReport, Report};

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of objects the store keeps in memory, over all jobs.
    pub capacity: u64,
    /// Where objects go that do not fit: a directory that is there and is the store's own.
    pub spill_dir: PathBuf,
    /// The share of the capacity above which objects are spilled ahead of need; 0.8 by default.
    pub spill_threshold: f64,
    /// How long a creation or a restore waits for space; 30 s by default.
    pub wait: Duration,
    /// How long freed memory is kept for the next object before the kernel gets it back; 10 s by default.
    pub reuse: Duration,
}

impl Options {
    /// A store of `capacity` bytes that spills to `spill_dir`, with defaults otherwise.
    pub fn new(capacity: u64, spill_dir: impl Into<PathBuf>) -> Self {
        Self {
            capacity,
            spill_dir: spill_dir.into(),
            spill_threshold: 0.8,
            wait: Duration::from_secs(30),
            reuse: Duration::from_secs(10),
        }
    }
}

/// One node's object store. Dropping it ends its threads and removes its spill files; what clients still read stays
/// readable.
#[derive(Debug)]
pub struct Store {
    server: Arc<Server>,
    loop_thread: Option<JoinHandle<()>>,
    spill_dir: PathBuf,
}

impl Store {
    /// Starts a store with threads of its own: one that serves requests, two for the disk.
    pub fn start(options: Options) -> Result<Self, Error> {
        check_spill_dir(&options.spill_dir)?;
        let limits = Limits {
            capacity: options.capacity,
            spill_above: (options.capacity as f64 * options.spill_threshold.clamp(0.0, 1.0)) as u64,
            spill_dir: own_spill_dir(&options.spill_dir)?,
            wait: options.wait.as_millis() as u64,
            reuse: options.reuse.as_millis() as u64,
        };
        let spill_dir = limits.spill_dir.clone();
        let server = Server::start(State::new(limits))?;
        let theirs = Arc::clone(&server);
        let thread = std::thread::Builder::new()
            .name("ray-store".into())
            .spawn(move || theirs.run());
        let loop_thread = Some(thread.map_err(Error::io("starting the store's thread"))?);
        Ok(Self {
            server,
            loop_thread,
            spill_dir,
        })
    }

    /// A new client of `job`: the descriptor goes to the process `pid`, where [`Client::new`](crate::Client::new)
    /// takes it. Only the segment of that job ever reaches it.
    pub fn connect(&self, job: u32, client: ClientId, pid: u32) -> Result<OwnedFd, Error> {
        self.server.connect(job, client, pid)
    }

    /// Clears the pins and drops the unsealed creations of a client whose process is known to be dead, and only then:
    /// memory that a living process reads would be reused under it.
    pub fn client_died(&self, client: ClientId) {
        self.server.with(|state| state.client_died(client));
    }

    /// Frees each object, of any job, whose key starts with `prefix`: all that one process owned.
    pub fn free_owned_by(&self, prefix: [u8; 8]) {
        self.server
            .with(|state| state.free_where(|_, key| key.owner_prefix() == prefix));
    }

    /// Frees objects of any job. Views of them stay valid; their memory is reused when the last one drops.
    pub fn free(&self, keys: &[Key]) {
        self.server.with(|state| {
            let jobs: Vec<u32> = state.jobs.keys().copied().collect();
            jobs.into_iter().for_each(|job| state.free_in(job, keys, u64::MAX));
        });
    }

    /// Frees all objects of a job.
    pub fn free_job(&self, job: u32) {
        self.server.with(|state| state.free_where(|of, _| of == job));
    }

    /// Bytes of memory that objects take now, those being written or still read among them. Cheap.
    pub fn used_bytes(&self) -> u64 {
        self.server.with(|state| state.used)
    }

    /// What the store holds, and who keeps it.
    pub fn report(&self) -> Report {
        self.server.with(State::report)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.server.stop();
        if self.loop_thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the object store's thread panicked");
        }
        self.server.join_disk();
        if let Err(error) = std::fs::remove_dir_all(&self.spill_dir) {
            tracing::warn!(path = %self.spill_dir.display(), %error, "spill files could not be removed");
        }
    }
}

fn check_spill_dir(dir: &Path) -> Result<(), Error> {
    let metadata = std::fs::metadata(dir).map_err(|error| Error::Io {
        what: "opening the spill directory",
        reason: format!("{}: {error}", dir.display()),
    })?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(Error::Io {
        what: "opening the spill directory",
        reason: format!("{} is no directory", dir.display()),
    })
}

/// A directory of this store's own below `dir`, so that two stores can share `dir`.
fn own_spill_dir(dir: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let mut number = 0;
    loop {
        let own = dir.join(format!("store-{}-{number}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&own) {
            Ok(()) => return Ok(own),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                let reason = format!("{}: {error}", own.display());
                return Err(Error::Io {
                    what: "making the spill directory",
                    reason,
                });
            }
        }
    }
}
