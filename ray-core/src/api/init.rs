//! `init`: a head, a raylet and an object store inside this process, and the handle that ends them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Builder;
use crate::config::{self, Config, Sources};
use crate::error::{RayError, Result};
use crate::gcs;
use crate::host::{Cpus, Gpu, Memory};
use crate::ids::{JobId, NodeId, WorkerId};
use crate::process::{Executable, takeover};
use crate::raylet::{self, Raylet};
use crate::registry::Registry;
use crate::session::Session;
use crate::session::logs::{LogFollower, Stream};
use crate::wire::Hello;
use crate::wire::connection::local_pair;
use crate::worker::{Identity, Worker, serve, set_current};

/// The largest object store that is made unasked, as in Ray.
const LARGEST_DEFAULT_STORE: u64 = 200_000_000_000;
/// The smallest object store, as in Ray.
const SMALLEST_STORE: u64 = 75 << 20;

/// A handle of the session that lives in this process. When the last one drops, the session ends: its workers, its
/// actors, and its shared memory are gone.
#[derive(Debug, Clone)]
#[must_use = "the session ends when its last handle drops"]
pub struct Ray {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    worker: Arc<Worker>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    session: Arc<Session>,
}

static RUNNING: Mutex<Weak<Running>> = Mutex::new(Weak::new());

fn running() -> MutexGuard<'static, Weak<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a session in this process: a head, a raylet and an object store, with all CPUs and GPUs that the process may
/// use. No TCP port is opened.
///
/// # Errors
/// [`RayError::AlreadyInitialized`] while one lives, [`RayError::Start`] with what failed.
///
/// ```
/// # #[ray_core::remote] fn hello(name: String) -> String { format!("hello {name}") }
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// assert_eq!(ray_core::get(&hello::remote("ray"))?, "hello ray");
/// # Ok(()) }
/// ```
pub fn init() -> Result<Ray> {
    Builder::default().init()
}

/// A further handle of the session that lives in this process, or a new session.
///
/// # Errors
/// [`RayError::Start`] with what failed.
pub fn init_or_join() -> Result<Ray> {
    Builder::default().init_or_join()
}

impl Ray {
    /// Options of a session.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Ends this handle, and the session if it was the last.
    pub fn shutdown(self) {
        drop(self);
    }

    /// The session's directory, with the workers' logs under `logs/`.
    pub fn session_dir(&self) -> &std::path::Path {
        self.running.session.path()
    }
}

pub(super) fn start(options: Builder) -> Result<Ray> {
    let mut slot = running();
    if slot.upgrade().is_some() {
        return Err(RayError::AlreadyInitialized {});
    }
    let started = Arc::new(launch(options)?);
    *slot = Arc::downgrade(&started);
    Ok(Ray { running: started })
}

pub(super) fn start_or_join(options: Builder) -> Result<Ray> {
    let mut slot = running();
    if let Some(running) = slot.upgrade() {
        return Ok(Ray { running });
    }
    let started = Arc::new(launch(options)?);
    *slot = Arc::downgrade(&started);
    Ok(Ray { running: started })
}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> RayError {
    move |why| RayError::Start {
        why: format!("{what}: {why}"),
    }
}

fn launch(options: Builder) -> Result<Running> {
    if crate::worker::current().is_ok() {
        // A task's process has its runtime from the start.
        return Err(RayError::AlreadyInitialized {});
    }
    takeover::available().map_err(|error| failed("this process cannot start workers")(&error))?;
    let sources = Sources::of_this_process(options.settings).map_err(|error| failed("its settings")(&error))?;
    let config = Config::resolve(&sources).map_err(|error| failed("its settings")(&error))?;
    let base = options.temp_dir.as_ref().or(config.process.tmpdir.as_ref());
    let session = Session::create_in(base.map(PathBuf::as_path));
    let session = Arc::new(session.map_err(|error| failed("no session directory")(&error))?);
    let driver = WorkerId::random();
    let raylet_options = raylet_options(config, options.resources, &session, driver)?;
    let (ready, started) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("ray-io".into()).spawn(move || {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match built {
            Ok(runtime) => runtime,
            // Whoever waits is told below.
            Err(error) => return drop(ready.send(Err(failed("no runtime")(&error)))),
        };
        runtime.block_on(async move {
            match join(raylet_options, driver).await {
                Ok((worker, receiver, raylet)) => {
                    tokio::spawn(serve(worker.clone(), receiver));
                    if ready.send(Ok(worker)).is_ok() {
                        // An error means that the handle is gone, which comes to the same.
                        let _dropped = stopped.await;
                    }
                    raylet.shutdown().await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    });
    let thread = thread.map_err(|error| failed("no thread")(&error))?;
    let gone = || RayError::Start {
        why: "the thread `ray-io` ended before the session began".into(),
    };
    let worker = started.recv().map_err(|_| gone())??;
    set_current(Some(worker.clone()));
    let (stop, thread) = (Mutex::new(Some(stop)), Mutex::new(Some(thread)));
    Ok(Running {
        worker,
        stop,
        thread,
        session,
    })
}

type Joined = (Arc<Worker>, crate::wire::Receiver, raylet::Handle);

async fn join(options: raylet::Options, driver: WorkerId) -> Result<Joined> {
    let start = |error: &dyn std::fmt::Display| failed("the raylet cannot start")(error);
    let items = options.items;
    let head = gcs::serve();
    let [near, far] = local_pair();
    head.join(far).await.map_err(|error| start(&error))?;
    let raylet = Raylet::start(options, near).map_err(|error| start(&error))?;
    let hello = Hello::of_this_process(driver, items);
    let ((sender, receiver), welcome, store) = raylet.join(hello).await.map_err(|error| start(&error))?;
    let store = ray_objstore::Client::new(store).map_err(|error| start(&error))?;
    let identity = Identity::new(driver, &welcome);
    let config = config::Cluster::received(&welcome.config).map_err(|error| start(&error))?;
    let worker = Worker::new(identity, config, sender, store, tokio::runtime::Handle::current())?;
    Ok((worker, receiver, raylet))
}

fn raylet_options(
    config: Config,
    mut resources: BTreeMap<String, f64>,
    session: &Arc<Session>,
    driver: WorkerId,
) -> Result<raylet::Options> {
    let Config {
        process,
        node,
        mut cluster,
    } = config;
    let machine = Memory::detect().map_err(|error| failed("the machine's memory")(&error))?;
    let usable = node
        .memory_limit
        .map_or(machine.limit(), |limit| limit.min(machine.limit()));
    cluster.max_pending_task_bytes.get_or_insert(pending_bound(usable));
    let registry = Registry::global().map_err(|error| failed("the table of remote items")(&error))?;
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
    let usage = machine
        .usage()
        .map_err(|error| failed("the machine's memory")(&error))?;
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
    let logs = if process.log_to_driver {
        Some(follow_logs(&process)?)
    } else {
        None
    };
    let namespace = process
        .namespace
        .unwrap_or_else(|| format!("anonymous-{}", NodeId::random()));
    Ok(raylet::Options {
        node: NodeId::random(),
        resources,
        gpus: (0..gpus).map(named).collect(),
        idle_workers: cpus as usize,
        store_bytes,
        session: session.clone(),
        executable: Executable::current().map_err(|error| failed("this program's executable")(&error))?,
        job: (JobId::new(1), driver, namespace),
        machine,
        config: node,
        cluster,
        items: registry.table_hash(),
        logs,
    })
}

/// A quarter of the memory, at least 2 GiB, never over half of it.
fn pending_bound(memory: u64) -> u64 {
    (memory / 4).max(2 << 30).min(memory / 2)
}

fn follow_logs(config: &config::Process) -> Result<LogFollower> {
    let window = Duration::from_secs(config.dedup_logs_agg_window_s);
    let options = crate::session::logs::Options {
        deduplicate_within: config.dedup_logs.then_some(window),
        ..crate::session::logs::Options::default()
    };
    let show = |line: crate::session::logs::LogLine<'_>| {
        use std::io::Write;
        // A closed terminal is no reason to stop.
        let _closed = match line.stream {
            Stream::Stdout => writeln!(std::io::stdout().lock(), "{line}"),
            Stream::Stderr => writeln!(std::io::stderr().lock(), "{line}"),
        };
    };
    LogFollower::start(options, show).map_err(|error| failed("worker logs cannot be followed")(&error))
}

impl Drop for Running {
    fn drop(&mut self) {
        set_current(None);
        self.worker.end_session(&RayError::SessionEnded {});
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(target: "ray_core::init", "the thread `ray-io` panicked");
        }
    }
}
