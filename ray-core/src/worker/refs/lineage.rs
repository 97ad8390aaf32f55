//! Which tasks can be run again to make lost objects again, and which specifications need be kept for that.
//!
//! - LN-1: a specification is kept while the task runs, while a result of it is in scope, or while a kept
//!   specification has a result of it among its arguments: so a dropped argument's value is freed and its lineage stays.
//! - LN-2: the bytes of all kept specifications stay under the limit, running tasks aside: those that finished first are
//!   given up first.
//! - LN-3: what was given up is remembered as long as LN-1 would have kept it, so that the error can name the reason.
//! - LN-4: a specification is released exactly once. However long the chain, no recursion.

use std::collections::VecDeque;

use smallvec::{SmallVec, smallvec};

use super::Effect;
use crate::id_hash::{IdMap, IdSet};
use crate::ids::{ObjectId, TaskId};

/// Why an object cannot be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreconstructable {
    /// It, or something it was made from, was put and not made by a task.
    #[error("object {object} was made by `put`, which no task can repeat")]
    Put {
        /// The object.
        object: ObjectId,
    },
    /// The task's specification was given up.
    #[error(
        "the specification of task {task} was given up to stay under the limit of {limit} bytes (max_lineage_bytes)"
    )]
    LineageEvicted {
        /// The task.
        task: TaskId,
        /// The limit.
        limit: usize,
    },
    /// No specification was ever kept: the task may not be retried, has taken its arguments, or is another process's.
    #[error(
        "task {task} cannot be run again: it may not be retried, it was given values that never left its process \
         (give references), or its lineage is not kept by this process"
    )]
    NotKept {
        /// The task.
        task: TaskId,
    },
}

#[derive(Debug)]
struct Spec {
    bytes: usize,
    /// The arguments that this process owns.
    args: Box<[ObjectId]>,
    results_in_scope: u32,
    /// How many arguments of kept specifications it made.
    dependents: u32,
    running: bool,
    evicted: bool,
}

impl Spec {
    fn is_needed(&self) -> bool {
        self.running || self.results_in_scope > 0 || self.dependents > 0
    }
}

/// The specifications that a process keeps for its tasks; it knows their sizes and arguments, and who keeps them.
#[derive(Debug)]
pub struct LineageTable {
    limit: usize,
    /// Of the specifications that are kept and not running.
    bytes: usize,
    specs: IdMap<TaskId, Spec>,
    /// In the order in which they finished; may name tasks that are gone, or run again.
    ages: VecDeque<TaskId>,
}

/// Ray's default for all specifications of a process (`max_lineage_bytes`).
pub const DEFAULT_MAX_LINEAGE_BYTES: usize = 1 << 30;

impl LineageTable {
    /// An empty table that keeps at most `limit` bytes of specifications.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            specs: IdMap::default(),
            ages: VecDeque::new(),
        }
    }

    /// The bytes of all kept specifications, running tasks aside.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many specifications are kept.
    pub fn len(&self) -> usize {
        self.specs.values().filter(|spec| !spec.evicted).count()
    }

    /// Whether nothing is kept nor remembered.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// A task that may be retried is submitted, with `results` results in scope. `args` are the objects of this process
    /// among or inside its arguments; those of other owners are their owners' to make again.
    pub fn submitted(&mut self, task: TaskId, bytes: usize, args: impl IntoIterator<Item = ObjectId>, results: u32) {
        let args: Box<[ObjectId]> = args.into_iter().collect();
        for arg in &args {
            if let Some(maker) = self.maker_mut(arg) {
                maker.dependents += 1;
            }
        }
        let spec = Spec {
            bytes,
            args,
            results_in_scope: results,
            dependents: 0,
            running: true,
            evicted: false,
        };
        self.specs.insert(task, spec);
    }

    /// The task is done, for now: with a result, or with an error.
    pub fn finished(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let Some(spec) = self.specs.get_mut(&task).filter(|spec| spec.running) else {
            return;
        };
        spec.running = false;
        self.bytes += spec.bytes;
        self.release_if_unneeded(task, effects);
        if self.specs.contains_key(&task) {
            self.ages.push_back(task);
            self.evict(effects);
        }
        if self.ages.len() > 2 * self.specs.len() + 64 {
            let specs = &self.specs;
            self.ages
                .retain(|task| specs.get(task).is_some_and(|spec| !spec.evicted && !spec.running));
        }
    }

    /// The task is run again to make its lost results again.
    ///
    /// # Errors
    /// [`Unreconstructable`] when its specification is not there.
    pub fn resubmitted(&mut self, task: TaskId) -> Result<(), Unreconstructable> {
        self.kept(task)?;
        if let Some(spec) = self.specs.get_mut(&task).filter(|spec| !spec.running) {
            spec.running = true;
            self.bytes -= spec.bytes;
        }
        Ok(())
    }

    /// A result that was freed is in scope again, because a task that is run again needs it.
    pub fn back_in_scope(&mut self, object: ObjectId) {
        if let Some(spec) = self.maker_mut(&object) {
            spec.results_in_scope += 1;
        }
    }

    /// An owned object went out of scope ([`Effect::FreeValue`]).
    pub fn out_of_scope(&mut self, object: ObjectId, effects: &mut Vec<Effect>) {
        if let Some(spec) = self.maker_mut(&object) {
            spec.results_in_scope = spec.results_in_scope.saturating_sub(1);
            self.release_if_unneeded(object.task(), effects);
        }
    }

    /// The task that made the object: of one that was put, none did.
    fn maker_mut(&mut self, object: &ObjectId) -> Option<&mut Spec> {
        self.specs.get_mut(&object.task()).filter(|_| !object.is_put())
    }

    fn kept(&self, task: TaskId) -> Result<&Spec, Unreconstructable> {
        match self.specs.get(&task) {
            None => Err(Unreconstructable::NotKept { task }),
            Some(spec) if spec.evicted => Err(Unreconstructable::LineageEvicted {
                task,
                limit: self.limit,
            }),
            Some(spec) => Ok(spec),
        }
    }

    /// The tasks to run again to make `lost` again, each after those whose results it needs. `has_value` tells of an
    /// argument whether its value is still there; a task that is running counts as if it were.
    ///
    /// # Errors
    /// The first [`Unreconstructable`] that is met.
    pub fn tasks_to_rerun(
        &self,
        lost: ObjectId,
        has_value: impl Fn(&ObjectId) -> bool,
    ) -> Result<Vec<TaskId>, Unreconstructable> {
        enum Visit {
            Enter(ObjectId),
            Leave(TaskId),
        }
        let mut order = Vec::new();
        let mut seen = IdSet::default();
        let mut visits = vec![Visit::Enter(lost)];
        while let Some(visit) = visits.pop() {
            let object = match visit {
                Visit::Leave(task) => {
                    order.push(task);
                    continue;
                }
                Visit::Enter(object) => object,
            };
            if object.is_put() {
                return Err(Unreconstructable::Put { object });
            }
            let task = object.task();
            let spec = self.kept(task)?;
            if spec.running || !seen.insert(task) {
                continue;
            }
            visits.push(Visit::Leave(task));
            visits.extend(
                spec.args
                    .iter()
                    .filter(|arg| !has_value(arg))
                    .map(|arg| Visit::Enter(*arg)),
            );
        }
        Ok(order)
    }

    /// LN-1, LN-4.
    fn release_if_unneeded(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let mut candidates: SmallVec<[TaskId; 8]> = smallvec![task];
        while let Some(task) = candidates.pop() {
            if self.specs.get(&task).is_some_and(|spec| !spec.is_needed())
                && let Some(spec) = self.specs.remove(&task)
            {
                self.bytes -= spec.bytes;
                if !spec.evicted {
                    effects.push(Effect::ReleaseSpec { task });
                }
                self.let_go(&spec.args, &mut candidates);
            }
        }
    }

    fn let_go(&mut self, args: &[ObjectId], makers: &mut SmallVec<[TaskId; 8]>) {
        for arg in args {
            if let Some(maker) = self.maker_mut(arg) {
                maker.dependents -= 1;
                makers.push(arg.task());
            }
        }
    }

    /// LN-2, LN-3.
    fn evict(&mut self, effects: &mut Vec<Effect>) {
        while self.bytes > self.limit
            && let Some(task) = self.ages.pop_front()
        {
            let Some(spec) = self.specs.get_mut(&task).filter(|spec| !spec.evicted && !spec.running) else {
                continue;
            };
            spec.evicted = true;
            self.bytes -= std::mem::take(&mut spec.bytes);
            let args = std::mem::take(&mut spec.args);
            effects.push(Effect::ReleaseSpec { task });
            let mut makers = SmallVec::new();
            self.let_go(&args, &mut makers);
            for maker in makers {
                self.release_if_unneeded(maker, effects);
            }
        }
    }
}
