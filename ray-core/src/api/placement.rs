//! Placement groups: resources set aside together, for tasks and actors that belong together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::object_ref::{ObjectRef, RawRef};
use crate::api::{blocking, get, get_async, wait, wait_async};
use crate::error::{RayError, Result};
use crate::ids::{NodeId, PlacementGroupId, WorkerId};
use crate::remote::{Amount, Lifetime, SchedulingStrategy};
use crate::wire::{GcsReply, GcsRequest, GroupInfo, GroupState};
use crate::worker::{Worker, context, current};

pub use crate::scheduling::bundles::Strategy as PlacementStrategy;

/// Resources that lie on one node: a part of a [`PlacementGroup`].
///
/// ```
/// use ray_core::Bundle;
///
/// let bundle = Bundle::new().num_cpus(2).resource("disk", 0.5);
/// assert_eq!(bundle, Bundle::from([("CPU", 2.0), ("disk", 0.5)]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle(BTreeMap<String, f64>);

impl Bundle {
    /// A bundle of nothing, which needs a resource before it can be placed.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many CPUs.
    #[must_use]
    pub fn num_cpus(self, number: impl Amount) -> Self {
        self.resource("CPU", number)
    }

    /// So many GPUs.
    #[must_use]
    pub fn num_gpus(self, number: impl Amount) -> Self {
        self.resource("GPU", number)
    }

    /// So many bytes of memory.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "amounts of memory are far below 2^52")]
        self.resource("memory", bytes as f64)
    }

    /// A quantity of a resource by name.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, number: impl Amount) -> Self {
        self.0.insert(name.into(), number.amount());
        self
    }

    /// The quantities by name.
    pub fn resources(&self) -> &BTreeMap<String, f64> {
        &self.0
    }
}

impl From<BTreeMap<String, f64>> for Bundle {
    fn from(resources: BTreeMap<String, f64>) -> Self {
        Self(resources)
    }
}

impl<const N: usize> From<[(&str, f64); N]> for Bundle {
    fn from(resources: [(&str, f64); N]) -> Self {
        Self(resources.map(|(name, number)| (name.to_owned(), number)).into())
    }
}

/// Resources that are set aside together: all bundles or none.
///
/// Tasks and actors run in it by their options `placement_group`, `bundle_index` and `capture_child_tasks`; they take from
/// its bundles what they would take from a node, and wait until the group is placed. Clones are the same group; it can be
/// passed to tasks. It lasts until [`remove_placement_group`], or until the job or the actor that made it ends.
///
/// ```
/// # use ray_core::prelude::*;
/// use std::time::Duration;
///
/// use ray_core::{Bundle, PlacementStrategy, placement_group, remove_placement_group};
///
/// #[remote]
/// fn work() -> u8 { 1 }
///
/// # fn main() -> ray_core::Result<()> {
/// let _ray = Ray::builder().num_cpus(2).init()?;
/// let group = placement_group([Bundle::new().num_cpus(1), Bundle::new().num_cpus(1)], PlacementStrategy::Pack)?;
/// assert!(group.wait(Duration::from_secs(60))?);
/// let worked = work::options().placement_group(&group).bundle_index(1).remote();
/// assert_eq!(get(&worked)?, 1);
/// remove_placement_group(&group)?;
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementGroup {
    id: PlacementGroupId,
    bundles: Vec<Bundle>,
}

impl fmt::Debug for PlacementGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlacementGroup({}, {} bundles)", self.id, self.bundles.len())
    }
}

impl From<&PlacementGroup> for SchedulingStrategy {
    fn from(group: &PlacementGroup) -> Self {
        let mut strategy = Self::default();
        strategy.set_group(group.id);
        strategy
    }
}

impl From<&PlacementGroup> for crate::Arg<PlacementGroup> {
    fn from(group: &PlacementGroup) -> Self {
        group.clone().into()
    }
}

/// Sets bundles aside, as near to each other or as far from each other as the strategy says.
///
/// It does not wait until they are: [`PlacementGroup::ready`] and [`PlacementGroup::wait`] do. A group that no node could
/// ever hold waits for nodes that could; [`placement_group_table`] says so.
///
/// # Errors
/// [`RayError::PlacementGroup`] if there is no bundle, or a bundle is empty or makes no sense.
pub fn placement_group<B: Into<Bundle>>(
    bundles: impl IntoIterator<Item = B>,
    strategy: PlacementStrategy,
) -> Result<PlacementGroup> {
    PlacementGroup::options().create(bundles, strategy)
}

/// Gives the resources of a group back. What runs in it is killed, and what waits for it never runs: tasks end with
/// [`RayError::PlacementGroup`], actors are dead. Removing it again does nothing.
///
/// # Errors
/// [`RayError::Disconnected`], [`RayError::SessionEnded`].
pub fn remove_placement_group(group: &PlacementGroup) -> Result<()> {
    let call = "remove_placement_group()";
    blocking::run(call, "PlacementGroup::remove_async()", group.clone().remove_async())
}

/// A group by its name, in the job's namespace.
///
/// # Errors
/// [`RayError::PlacementGroup`] if no group has the name.
pub fn get_placement_group(name: &str) -> Result<PlacementGroup> {
    let worker = current()?;
    let request = GcsRequest::FindGroup {
        name: name.to_owned(),
        namespace: worker.identity.namespace.clone(),
    };
    known(worker.ask_blocking(request)?).map(PlacementGroup::of)
}

/// The group that the calling task or actor runs in.
///
/// # Errors
/// [`RayError::NotInitialized`], [`RayError::Disconnected`].
pub fn current_placement_group() -> Result<Option<PlacementGroup>> {
    let worker = current()?;
    let Some(id) = context::current().and_then(|context| context.group) else {
        return Ok(None);
    };
    let groups = groups(&worker)?;
    let found = groups.into_iter().find(|info| info.group == id);
    Ok(found.map(PlacementGroup::of))
}

/// All groups that were not removed, in the order of their creation.
///
/// # Errors
/// [`RayError::NotInitialized`], [`RayError::Disconnected`].
pub fn placement_group_table() -> Result<Vec<PlacementGroupSummary>> {
    let groups = groups(&current()?)?;
    Ok(groups.into_iter().map(PlacementGroupSummary::of).collect())
}

fn groups(worker: &Arc<Worker>) -> Result<Vec<GroupInfo>> {
    match worker.ask_blocking(GcsRequest::ListGroups {})? {
        GcsReply::Groups { groups } => Ok(groups),
        other => Err(RayError::internal(format!(
            "{other:?} answers a question for all groups"
        ))),
    }
}

fn known(reply: GcsReply) -> Result<GroupInfo> {
    match reply {
        GcsReply::Group { info } => Ok(info),
        other => Err(RayError::internal(format!("{other:?} answers a question for a group"))),
    }
}

impl PlacementGroup {
    /// Options of a group: its name and its lifetime.
    pub fn options() -> PlacementGroupOptions {
        PlacementGroupOptions::default()
    }

    fn of(info: GroupInfo) -> Self {
        Self {
            id: info.group,
            bundles: info.bundles.into_iter().map(Bundle).collect(),
        }
    }

    /// Its id.
    pub fn id(&self) -> PlacementGroupId {
        self.id
    }

    /// What its bundles are made of, by index.
    pub fn bundle_specs(&self) -> &[Bundle] {
        &self.bundles
    }

    /// A reference that is ready once all bundles are set aside, and [`RayError::PlacementGroup`] if the group is removed.
    pub fn ready(&self) -> ObjectRef<()> {
        let made = current().map(|worker| {
            let object = worker.with(|state, _, out| state.group_ready(self.id, out));
            RawRef::counted(&worker, object, worker.identity.worker)
        });
        ObjectRef::from_raw(made.unwrap_or_else(RawRef::failed))
    }

    /// Whether all bundles are set aside within this time.
    ///
    /// # Errors
    /// [`RayError::PlacementGroup`] if the group is removed.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let (ready, _) = wait(vec![self.ready()], 1, Some(timeout))?;
        Ok(!get(ready)?.is_empty())
    }

    /// As [`wait`](Self::wait), without blocking.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self, timeout: Duration) -> Result<bool> {
        let (ready, _) = wait_async(vec![self.ready()], 1, Some(timeout)).await?;
        Ok(!get_async(ready).await?.is_empty())
    }

    /// As [`remove_placement_group`], without blocking.
    ///
    /// # Errors
    /// As [`remove_placement_group`].
    pub async fn remove_async(self) -> Result<()> {
        current()?
            .ask(GcsRequest::RemoveGroup { group: self.id })
            .await
            .map(drop)
    }
}

/// Options of a [`PlacementGroup`].
#[derive(Debug, Clone, Default)]
pub struct PlacementGroupOptions {
    name: Option<String>,
    lifetime: Lifetime,
}

impl PlacementGroupOptions {
    /// A name by which [`get_placement_group`] finds it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it outlives who made it.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Lets it outlive who made it: it lasts until it is removed.
    #[must_use]
    pub fn detached(self) -> Self {
        self.lifetime(Lifetime::Detached)
    }

    /// As [`placement_group`].
    ///
    /// # Errors
    /// As [`placement_group`], and if the name is taken.
    pub fn create<B: Into<Bundle>>(
        self,
        bundles: impl IntoIterator<Item = B>,
        strategy: PlacementStrategy,
    ) -> Result<PlacementGroup> {
        let created = self.create_async(bundles, strategy);
        blocking::run("placement_group()", "PlacementGroupOptions::create_async()", created)
    }

    /// As [`create`](Self::create), without blocking.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_async<B: Into<Bundle>>(
        self,
        bundles: impl IntoIterator<Item = B>,
        strategy: PlacementStrategy,
    ) -> Result<PlacementGroup> {
        let bundles = bundles.into_iter().map(|bundle| bundle.into().0).collect();
        let worker = current()?;
        let request = GcsRequest::CreateGroup {
            group: PlacementGroupId::random(),
            name: self.name,
            namespace: worker.identity.namespace.clone(),
            bundles,
            strategy: strategy.as_str().to_owned(),
            owner: owner(&worker),
            detached: self.lifetime == Lifetime::Detached,
        };
        known(worker.ask(request).await?).map(PlacementGroup::of)
    }
}

/// With whom a group ends: the actor that makes it, else the driver. A task's process serves other tasks too.
fn owner(worker: &Worker) -> WorkerId {
    let in_actor = context::current().is_some_and(|context| context.actor.is_some());
    if in_actor {
        worker.identity.worker
    } else {
        worker.identity.driver
    }
}

/// How a placement group stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlacementGroupSummary {
    /// The group.
    pub id: PlacementGroupId,
    /// The name it is found by, if it has one.
    pub name: Option<String>,
    /// What its bundles are made of.
    pub bundles: Vec<Bundle>,
    /// PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
    pub strategy: String,
    /// Whether it outlives who made it.
    pub detached: bool,
    /// PENDING, CREATED, REMOVED, or INFEASIBLE: it waits for nodes that could hold it.
    pub state: &'static str,
    /// What it waits for.
    pub why: Option<String>,
    /// The node of each bundle, once they are set aside.
    pub nodes: Vec<NodeId>,
}

impl PlacementGroupSummary {
    fn of(info: GroupInfo) -> Self {
        let (state, why, nodes) = match info.state {
            GroupState::Pending { why } => ("PENDING", Some(why), Vec::new()),
            GroupState::Created { nodes } => ("CREATED", None, nodes),
            GroupState::Removed {} => ("REMOVED", None, Vec::new()),
            GroupState::Infeasible { why } => ("INFEASIBLE", Some(why), Vec::new()),
        };
        Self {
            id: info.group,
            name: info.name,
            bundles: info.bundles.into_iter().map(Bundle).collect(),
            strategy: info.strategy,
            detached: info.detached,
            state,
            why,
            nodes,
        }
    }
}
