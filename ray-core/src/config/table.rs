//! The table of settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{ConfigError, LogEncoding, LogLevel, Scope, Setting, Share, Sources, Value};

/// Declares a struct for each scope, with a field for each setting.
macro_rules! settings {
    ($(
        $(#[doc = $scope_doc:literal])*
        $scope:ident {
            $(
                $(#[doc = $doc:literal])*
                $name:ident: $ty:ty = $default:expr
            ),* $(,)?
        }
    )*) => {
        $(
            $(#[doc = $scope_doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $scope {
                $( $(#[doc = $doc])* pub $name: $ty, )*
            }

            impl Default for $scope {
                fn default() -> Self {
                    Self { $( $name: $default ),* }
                }
            }

            impl $scope {
                const SETTINGS: &'static [Setting] = &[$(
                    Setting {
                        name: stringify!($name),
                        kind: <$ty as Value>::KIND,
                        default: || { let value: $ty = $default; value.to_text().unwrap_or_default() },
                        scope: Scope::$scope,
                        doc: concat!($($doc),*),
                    }
                ),*];

                /// Resolves the settings of this scope (CF-1).
                pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
                    Ok(Self { $( $name: sources.value(stringify!($name))?.unwrap_or_else(|| $default) ),* })
                }

                /// The settings as text, as the handshake carries them; those without a value are left out.
                pub fn to_text(&self) -> BTreeMap<String, String> {
                    let texts = [$( (stringify!($name), self.$name.to_text()) ),*];
                    let given = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
                    given.collect()
                }
            }
        )*
    };
}

settings! {
    /// What a driver reads for itself.
    Process {
        /// The cluster that the driver joins: `auto` is the node that `ray start` has started on this machine, `local` a
        /// session of its own, which is the default.
        address: Option<String> = None,
        /// Where session directories are made. Default: `/tmp/ray`, or `/tmp/ray-<uid>` where that is another user's.
        tmpdir: Option<PathBuf> = None,
        /// Whether scheduler, object store and memory monitor (raylet, GCS and store) run in a process of their own,
        /// `ray::head`, instead of the driver's. It ends with the driver; workers get the environment that the driver had
        /// at `init()`.
        head_process: bool = false,
        /// The file of the cluster's token, unless the environment variable `RAY_AUTH_TOKEN` holds the token itself. Default:
        /// `~/.ray/auth_token`.
        auth_token_path: Option<PathBuf> = None,
        /// Where names of actors hold. Default: a namespace of the session alone.
        namespace: Option<String> = None,
        /// Whether the driver shows what workers print.
        log_to_driver: bool = true,
        /// Whether lines that workers repeat are counted instead of shown.
        dedup_logs: bool = true,
        /// Within how many seconds repeated lines are counted as one.
        dedup_logs_agg_window_s: u64 = 5,
    }

    /// What a node's raylet works with.
    Node {
        /// CPUs that the node offers. Default: what the process may use (affinity, cgroup quota).
        num_cpus: Option<u32> = None,
        /// GPUs that the node offers. Default: those visible to the process.
        num_gpus: Option<u32> = None,
        /// Bytes of the logical resource `memory`. Default: the available memory less the object store's share.
        memory: Option<u64> = None,
        /// Bytes of the object store. Default: 30 % of the available memory, at most 200 GB.
        object_store_memory: Option<u64> = None,
        /// The share of the object store above which objects are spilled ahead of need.
        object_spilling_threshold: Share = Share::percent(80),
        /// An idle worker beyond one a CPU ends after this time: long enough to serve the next burst.
        idle_worker_killing_time_threshold_ms: u64 = 1_000,
        /// How long a worker may take from its birth to its first frame: a loaded machine starts processes slowly.
        worker_register_timeout_seconds: u64 = 60,
        /// The share of the node's memory above which a worker is killed, before the kernel chooses one.
        memory_usage_threshold: Share = Share::percent(95),
        /// Bytes of memory that the session may use: its driver, its workers and its object store together; on a node that
        /// `ray start` has started, its workers and its object store. Default: no limit but the machine's or its control
        /// group's.
        memory_limit: Option<u64> = None,
        /// How long a put or a get waits for space in the object store before it is an error.
        object_store_full_wait_ms: u64 = 30_000,
        /// How long actors that are saved may take for their last save when their session ends, or what has created them;
        /// then they are killed, and a warning names them.
        checkpoint_at_end_ms: u64 = 10_000,
        /// How often the memory in use is looked at; 0 turns the memory monitor off.
        memory_monitor_refresh_ms: u64 = 250,
    }

    /// What all processes of the cluster have in common.
    Cluster {
        /// How long an owner keeps an idle lease: asking for a worker costs a round trip to the raylet.
        worker_lease_timeout_milliseconds: u64 = 500,
        /// Whether a task that waits in `get` for a task of its own, which no worker has yet, runs that one itself, where
        /// both need CPUs only. Turn it off for tasks that hold a lock while they wait for others that take it too.
        run_waited_tasks_inline: bool = true,
        /// Up to this size in bytes a result travels in the reply and lives in its owner's process.
        max_direct_call_object_size: u64 = 100 << 10,
        /// Bytes of task specifications that a process keeps to make lost objects again.
        max_lineage_bytes: u64 = 1 << 30,
        /// Bytes of pending work in one process, above which it takes no more. Default: a quarter of the memory, at least
        /// 2 GiB, never over half of it.
        max_pending_task_bytes: Option<u64> = None,
        /// The first pause before a task runs again whose worker was killed for memory; it doubles each time.
        task_oom_retry_delay_base_ms: u64 = 1_000,
        /// Whether the `memory` report says where in the program each reference was made.
        record_ref_creation_sites: bool = false,
        /// Items of a stream that its producer may be ahead of its consumer.
        generator_backpressure_num_objects: u32 = 64,
        /// What a task that was cancelled for its `timeout` gets before its worker is killed.
        timeout_grace_ms: u64 = 5_000,
        /// How long the head may take for an answer.
        gcs_server_request_timeout_seconds: u64 = 60,
        /// How long a request of a saved actor to object storage may take, with all attempts, before it is an error.
        checkpoint_storage_timeout_ms: u64 = 30_000,
        /// How often a node gives the head a sign of life.
        health_check_period_ms: u64 = 500,
        /// A node that gives no sign of life for so long is dead. A head that gives none to a node for twice as long is lost to
        /// it, and the node ends.
        health_check_timeout_ms: u64 = 2_500,
        /// Which lines are logged.
        log_level: LogLevel = LogLevel::info(),
        /// How log lines are written.
        log_encoding: LogEncoding = LogEncoding::Text,
    }
}

/// All settings of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The driver's own.
    pub process: Process,
    /// The node's.
    pub node: Node,
    /// The cluster's.
    pub cluster: Cluster,
}

impl Config {
    /// Resolves every setting.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        sources.check_names()?;
        Ok(Self {
            process: Process::resolve(sources)?,
            node: Node::resolve(sources)?,
            cluster: Cluster::resolve(sources)?,
        })
    }
}

impl Node {
    /// The settings that a driver gives its head.
    pub fn received(texts: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::resolve(&Sources::received(texts.clone()))
    }
}

impl Cluster {
    /// The settings that came with the handshake (CF-3).
    pub fn received(texts: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::resolve(&Sources::received(texts.clone()))
    }
}

/// The whole table.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    [Process::SETTINGS, Node::SETTINGS, Cluster::SETTINGS]
        .into_iter()
        .flatten()
}
