//! What a session is made with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Result;

/// Options of a session; each has a default that fits the machine.
///
/// ```
/// # fn main() -> ray_core::Result<()> {
/// let ray = ray_core::Ray::builder().num_cpus(4).resource("license", 2.0).init()?;
/// # drop(ray); Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    /// Settings by name.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) resources: BTreeMap<String, f64>,
    pub(super) temp_dir: Option<PathBuf>,
}

impl Builder {
    /// The cluster to join. `auto` is the node that `ray start` has started on this machine: what the node offers is its own
    /// affair then, so that options of this builder which say it are an error, and it goes on when this session ends. `local`,
    /// the default, is a session of this process's own.
    #[must_use]
    pub fn address(self, address: impl Into<String>) -> Self {
        self.config("address", address.into())
    }

    /// How many CPUs the node offers. Default: what this process may use (affinity, cgroup quota).
    #[must_use]
    pub fn num_cpus(self, cpus: u32) -> Self {
        self.config("num_cpus", cpus)
    }

    /// How many GPUs the node offers. Default: those that are visible to this process.
    #[must_use]
    pub fn num_gpus(self, gpus: u32) -> Self {
        self.config("num_gpus", gpus)
    }

    /// A resource of your own, which tasks and actors ask for by name.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        self.resources.insert(name.into(), amount);
        self
    }

    /// Bytes of the object store. Default: 30 % of the available memory, at most 200 GB.
    #[must_use]
    pub fn object_store_memory(self, bytes: u64) -> Self {
        self.config("object_store_memory", bytes)
    }

    /// Bytes of the logical resource `memory`. Default: the available memory less the object store's share.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        self.config("memory", bytes)
    }

    /// Where names of actors hold. Default: a namespace of this session alone.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.config("namespace", namespace.into())
    }

    /// Where session directories are made. Default: `RAY_TMPDIR`, else `/tmp/ray`.
    #[must_use]
    pub fn temp_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(directory.into());
        self
    }

    /// Whether the output of workers is shown by this process. Default: yes.
    #[must_use]
    pub fn log_to_driver(self, show: bool) -> Self {
        self.config("log_to_driver", show)
    }

    /// Any setting by its name in `docs/config.md`; it beats the environment and the file.
    ///
    /// ```
    /// # fn main() -> ray_core::Result<()> {
    /// let _ray = ray_core::Ray::builder().config("idle_worker_killing_time_threshold_ms", 200).init()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn config(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Bytes of memory that this session may use: its driver, its workers and its object store together. Where no control
    /// group sets a limit, this one keeps a session from taking the memory of its neighbours. Above 95 % of it a worker is
    /// killed, as for the machine's own memory. Default: no limit but the machine's or its control group's.
    #[must_use]
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.config("memory_limit", bytes)
    }

    /// Starts the session.
    ///
    /// # Errors
    /// [`RayError::AlreadyInitialized`](crate::RayError::AlreadyInitialized) while one lives in this process,
    /// [`RayError::Start`](crate::RayError::Start) with what failed.
    pub fn init(self) -> Result<super::Ray> {
        super::init::start(self)
    }

    /// Starts the session, or gives a further handle to the one that lives.
    ///
    /// # Errors
    /// [`RayError::Start`](crate::RayError::Start) with what failed.
    pub fn init_or_join(self) -> Result<super::Ray> {
        super::init::start_or_join(self)
    }
}
