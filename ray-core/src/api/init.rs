//! `init`: a head, a raylet and an object store, in this process or in one of their own, and the handle that ends them; or
//! a place on a node that is there already.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Builder;
use crate::config::{Config, Sources};
use crate::error::{RayError, Result};
use crate::head::{self, Head, JobPlan, Plan};
use crate::ids::WorkerId;
use crate::process::takeover;
use crate::session::{Session, connect_to_node};
use crate::wire::Receiver;
use crate::worker::{self, Introduction, JoinError, Worker, serve, set_current};

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
    /// The directory of a session of its own, which ends with it.
    _session: Option<Arc<Session>>,
}

static RUNNING: Mutex<Weak<Running>> = Mutex::new(Weak::new());

fn running() -> MutexGuard<'static, Weak<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a session in this process: a head, a raylet and an object store, with all CPUs and GPUs that the process may
/// use. No TCP port is opened. With the setting `head_process` (`RAY_HEAD_PROCESS=1`) the three live in a process of their
/// own, which ends with this one.
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
        &self.running.worker.identity.session_dir
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

/// What a builder cannot ask of a node that is there already. The environment may say it all the same: it is for the sessions
/// that have a node of their own too.
fn leave_to_node(sources: &Sources, resources: &BTreeMap<String, f64>) -> std::result::Result<(), String> {
    let resources = resources.keys().map(|name| format!("resource `{name}`"));
    let settings = sources.built_for_node().map(|name| format!("`{name}`"));
    let given: Vec<String> = settings.chain(resources).collect();
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    Err(format!(
        "the node that this session joins decides on {given}: give that to `ray start`, and leave it out of the builder where \
         `address` is `auto`"
    ))
}

/// What a session is to be part of.
enum Start {
    /// A head of its own.
    Head(Box<Plan>),
    /// A node of this machine.
    Node(UnixStream),
}

fn launch(options: Builder) -> Result<Running> {
    if crate::worker::current().is_ok() {
        // A task's process has its runtime from the start.
        return Err(RayError::AlreadyInitialized {});
    }
    let settings = |error: &dyn std::fmt::Display| failed("its settings")(error);
    let sources = Sources::of_this_process(options.settings).map_err(|error| settings(&error))?;
    let config = Config::resolve(&sources).map_err(|error| settings(&error))?;
    let base = options.temp_dir.as_ref().or(config.process.tmpdir.as_ref());
    let base = base.map(PathBuf::as_path);
    let start = match config.process.address.as_deref() {
        None | Some("local") => {
            takeover::available().map_err(|error| failed("this process cannot start workers")(&error))?;
            let session = Session::create_in(base).map_err(|error| failed("no session directory")(&error))?;
            let plan = head::plan(&config, options.resources, Arc::new(session));
            Start::Head(Box::new(plan.map_err(|error| failed("the machine's memory")(&error))?))
        }
        Some("auto") => {
            leave_to_node(&sources, &options.resources).map_err(|error| settings(&error))?;
            takeover::available().map_err(|error| failed("workers cannot run this program")(&error))?;
            Start::Node(connect_to_node(base).map_err(|error| failed("no node to join")(&error))?)
        }
        Some(other) => {
            let known = "known are `auto` (the node of this machine) and `local` (a session of its own)";
            return Err(settings(&format!("`address` is `{other}`; {known}")));
        }
    };
    let session = match &start {
        Start::Head(plan) => Some(plan.session.clone()),
        Start::Node(_) => None,
    };
    let job = head::plan_job(&config.process);
    let welcome_within = Duration::from_secs(config.node.worker_register_timeout_seconds);
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
            match join(start, job, welcome_within).await {
                Ok((worker, receiver, head)) => {
                    tokio::spawn(serve(worker.clone(), receiver));
                    if ready.send(Ok(worker)).is_ok() {
                        // An error means that the handle is gone, which comes to the same.
                        let _dropped = stopped.await;
                    }
                    head.shutdown().await;
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
        _session: session,
    })
}

type Joined = (Arc<Worker>, Receiver, Head);

/// Starts the head, if it is to be one of this session's own, and joins.
async fn join(start: Start, job: JobPlan, welcome_within: Duration) -> Result<Joined> {
    let cannot = |error: &dyn std::fmt::Display| failed("the raylet cannot start")(error);
    let way = match start {
        Start::Head(plan) => Head::start(*plan, &job).await,
        Start::Node(node) => Head::join(node, &job),
    };
    let (head, way) = way.map_err(|error| cannot(&error))?;
    let introduction = Introduction::Driver {
        id: WorkerId::random(),
        job: job.setup,
        descriptors: way.descriptors,
    };
    match tokio::time::timeout(welcome_within, worker::join(way.connection, introduction)).await {
        Ok(Ok((worker, receiver))) => Ok((worker, receiver, head)),
        // An error of this process's own, as of the library's calls.
        Ok(Err(JoinError::Ray(error))) => Err(error),
        Ok(Err(error @ JoinError::NoWelcome)) => match head.died_of().await {
            Some(death) => Err(cannot(&death)),
            None => Err(cannot(&error)),
        },
        Ok(Err(error)) => Err(cannot(&error)),
        Err(_elapsed) => Err(cannot(&format!(
            "it did not answer within {welcome_within:?}; `worker_register_timeout_seconds` sets the time"
        ))),
    }
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
