//! The runtime context: who and where the running code is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::template;
use crate::error::Result;
use crate::host::gpus;
use crate::ids::{ActorId, JobId, NodeId, PlacementGroupId, TaskId, WorkerId};
use crate::worker::context::{self, Hosting, Resources, TaskContext};
use crate::worker::{Worker, current};

/// Who and where the running code is.
#[derive(Debug, Clone)]
pub struct RuntimeContext {
    worker: Arc<Worker>,
    task: Option<Arc<TaskContext>>,
}

/// The context of the code that calls this: in a task or actor, or in the driver.
///
/// # Errors
/// [`RayError::NotInitialized`](crate::RayError::NotInitialized).
pub fn runtime_context() -> Result<RuntimeContext> {
    Ok(RuntimeContext {
        worker: current()?,
        task: context::current(),
    })
}

impl RuntimeContext {
    /// The job.
    pub fn job_id(&self) -> JobId {
        self.worker.identity.job
    }

    /// The node this process runs on.
    pub fn node_id(&self) -> NodeId {
        self.worker.identity.node
    }

    /// This process.
    pub fn worker_id(&self) -> WorkerId {
        self.worker.identity.worker
    }

    /// The job's namespace for names of actors.
    pub fn namespace(&self) -> &str {
        &self.worker.identity.namespace
    }

    /// The session's directory.
    pub fn session_dir(&self) -> &Path {
        &self.worker.identity.session_dir
    }

    /// Where worker logs are.
    pub fn logs_dir(&self) -> PathBuf {
        self.worker.identity.session_dir.join("logs")
    }

    /// Whether this is the driver.
    pub fn is_driver(&self) -> bool {
        self.worker.identity.is_driver()
    }

    /// The running task or actor call; `None` in the driver.
    pub fn task_id(&self) -> Option<TaskId> {
        self.task.as_ref().map(|task| task.task)
    }

    /// The name of the running task or actor call.
    pub fn task_name(&self) -> Option<&str> {
        self.task.as_ref().map(|task| &*task.name)
    }

    /// Which attempt this is, from 0; in an actor's constructor, how often it was restarted.
    pub fn attempt(&self) -> u32 {
        self.task.as_ref().map_or(0, |task| task.attempt)
    }

    /// The actor whose code runs.
    pub fn actor_id(&self) -> Option<ActorId> {
        self.task.as_ref().and_then(|task| task.actor)
    }

    /// The placement group that the task runs in.
    pub fn placement_group_id(&self) -> Option<PlacementGroupId> {
        self.task.as_ref().and_then(|task| task.group)
    }

    /// Whether the tasks and actors that the running one starts run in its placement group too.
    pub fn captures_child_tasks(&self) -> bool {
        self.task
            .as_ref()
            .is_some_and(|task| task.group.is_some() && task.captures)
    }

    /// What the running task or actor was given, by resource name.
    pub fn assigned_resources(&self) -> BTreeMap<String, f64> {
        let steps = self.task.as_ref().map(|task| match &task.resources {
            Resources::Own(steps) => steps.clone(),
            Resources::OfShape(shape) => shape.resources.clone(),
            Resources::OfFunction(key) => template::resources_of_function(*key),
        });
        #[expect(clippy::cast_precision_loss, reason = "for people; amounts are far below 2^52 steps")]
        let amounts = steps
            .into_iter()
            .flatten()
            .map(|(name, steps)| (name, steps as f64 / 10_000.0));
        amounts.collect()
    }

    /// The GPUs that the running task or actor was given, as numbers for CUDA (`Device::new_cuda(number)` of candle,
    /// `CudaContext::new(number)` of cudarc). A process of its own sees no others, so there they are counted from 0.
    ///
    /// ```
    /// # use ray_core::prelude::*;
    /// # #[remote(num_cpus = 0, num_gpus = 0.5)]
    /// # fn train() -> Vec<usize> {
    /// let gpus = runtime_context().map(|context| context.gpus());
    /// # gpus.unwrap() }
    /// # fn main() -> ray_core::Result<()> {
    /// let _ray = Ray::builder().num_gpus(1).init()?;
    /// assert_eq!(get(&train::remote())?, [0]);
    /// # Ok(()) }
    /// ```
    pub fn gpus(&self) -> Vec<usize> {
        match &self.task {
            Some(task) if matches!(task.hosting, Hosting::Shared(_)) => {
                task.gpus.iter().map(|index| *index as usize).collect()
            }
            _ => (0..self.gpu_ids().len()).collect(),
        }
    }

    /// The same GPUs as `CUDA_VISIBLE_DEVICES` of the node's own process names them, by number or UUID: for people, and to
    /// tell two tasks' apart.
    pub fn gpu_ids(&self) -> Vec<String> {
        let Some(task) = &self.task else { return Vec::new() };
        match task.hosting {
            Hosting::Shared(_) => {
                let names = gpus::visible_names();
                let name = |index: &u32| names.get(*index as usize).cloned().unwrap_or_else(|| index.to_string());
                task.gpus.iter().map(name).collect()
            }
            Hosting::Process if self.assigned_resources().get("GPU").is_some_and(|amount| *amount > 0.0) => {
                gpus::visible_names()
            }
            Hosting::Process => Vec::new(),
        }
    }

    /// The time that the running task has left before its timeout, or that of a task above it, cancels it; `None` without
    /// a limit.
    pub fn time_left(&self) -> Option<Duration> {
        self.task.as_ref().and_then(|task| task.time_left())
    }

    /// Whether somebody has cancelled the running task. Sync code that runs for long looks here from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.cancel.is_set())
    }
}
