//! What a head is to be: resources from the settings and the machine, and the session; and what a driver's job is to be.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use super::{HeadSetup, JobSetup, logs};
use crate::config::{self, Config};
use crate::host::{Cpus, Gpu, Memory};
use crate::ids::NodeId;
use crate::session::Session;

/// The largest object store that is made unasked, as in Ray.
const LARGEST_DEFAULT_STORE: u64 = 200_000_000_000;
/// The smallest object store, as in Ray.
const SMALLEST_STORE: u64 = 75 << 20;

/// A head that is to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it is to be.
    pub(crate) setup: HeadSetup,
    /// Its session.
    pub(crate) session: Arc<Session>,
    /// Whether it gets a process of its own.
    pub(crate) own_process: bool,
    /// How long it waits for the last saves of actors when it ends.
    pub(crate) saves_within: Duration,
}

/// The job that a driver is to begin.
#[derive(Debug)]
pub(crate) struct JobPlan {
    /// What its raylet must know.
    pub(crate) setup: JobSetup,
    /// How the driver shows what workers print, if it does.
    pub(crate) shown: Option<logs::Options>,
}

/// Plans a driver's job from its settings.
pub(crate) fn plan_job(config: &config::Process) -> JobPlan {
    let shown = config.log_to_driver.then(|| shown(config));
    let unnamed = || format!("anonymous-{}", NodeId::random());
    JobPlan {
        setup: JobSetup {
            namespace: config.namespace.clone().unwrap_or_else(unnamed),
            deduplicate_within: shown.as_ref().and_then(|shown| shown.deduplicate_within),
        },
        shown,
    }
}

/// Plans a head from its settings, further resources, and what this process may use of the machine.
pub(crate) fn plan(
    config: &Config,
    mut resources: BTreeMap<String, f64>,
    session: Arc<Session>,
) -> std::io::Result<Plan> {
    let Config { process, node, cluster } = config;
    let mut cluster = cluster.clone();
    let machine = Memory::detect()?;
    let usable = node
        .memory_limit
        .map_or(machine.limit(), |limit| limit.min(machine.limit()));
    cluster.max_pending_task_bytes.get_or_insert(pending_bound(usable));
    let cpus = node
        .num_cpus
        .unwrap_or_else(|| u32::try_from(Cpus::detect().count()).unwrap_or(u32::MAX));
    let visible = Gpu::detect();
    let gpus = node.num_gpus.map_or(visible.len(), |gpus| gpus as usize);
    let named = |index: usize| {
        visible
            .get(index)
            .map_or_else(|| index.to_string(), |gpu| gpu.visible_as.clone())
    };
    let usage = machine.usage()?;
    let available = usage.limit.saturating_sub(usage.used).min(usable);
    let default_store = || (available / 10 * 3).clamp(SMALLEST_STORE, LARGEST_DEFAULT_STORE);
    let store_bytes = node.object_store_memory.unwrap_or_else(default_store);
    let memory = node.memory.unwrap_or(available.saturating_sub(store_bytes));
    #[expect(clippy::cast_precision_loss, reason = "amounts of resources are far below 2^52")]
    for (name, amount) in [
        ("CPU", f64::from(cpus)),
        ("GPU", gpus as f64),
        ("memory", memory as f64),
    ] {
        if amount > 0.0 {
            resources.insert(name.to_owned(), amount);
        }
    }
    let saves_within = Duration::from_millis(node.checkpoint_at_end_ms);
    let setup = HeadSetup {
        node: NodeId::random(),
        resources,
        gpus: (0..gpus).map(named).collect(),
        idle_workers: cpus,
        store_bytes,
        session_dir: session.path().as_os_str().as_bytes().to_vec().into(),
        node_config: node.to_text(),
        cluster_config: cluster.to_text(),
    };
    Ok(Plan {
        setup,
        session,
        own_process: process.head_process,
        saves_within,
    })
}

/// A quarter of the memory, at least 2 GiB, never over half of it.
fn pending_bound(memory: u64) -> u64 {
    (memory / 4).max(2 << 30).min(memory / 2)
}

fn shown(config: &config::Process) -> logs::Options {
    let window = Duration::from_secs(config.dedup_logs_agg_window_s);
    logs::Options {
        deduplicate_within: config.dedup_logs.then_some(window),
        ..logs::Options::default()
    }
}
