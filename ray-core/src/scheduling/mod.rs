//! Scheduling decisions as pure code: what a node has and who holds it, which lease request is next, which node a lease
//! or a bundle goes to. No clock, no socket, no thread: callers pass in what time it is and carry out what is decided.
//!
//! | module | decides |
//! | --- | --- |
//! | `fixed`, `resources` | quantities, sets of resources, the [`Shape`] of a lease |
//! | `pool`, `node` | what is taken from a node and given back, GPU by GPU, bundle by bundle |
//! | [`queue`] | which pending lease request of a node is granted next |
//! | [`bundles`] | which nodes the bundles of a placement group go to |
//! | [`policy`] | which node a lease goes to |

pub mod bundles;
mod fixed;
mod node;
pub mod policy;
mod pool;
pub mod queue;
mod resources;
#[cfg(test)]
mod tests;
mod view;

pub use fixed::{Fixed, QuantityError};
pub use node::{Allocation, BundleError, LeaseKind, NodeResources};
pub use pool::{Room, Shortfall};
pub use resources::{BundleTarget, ResourceError, ResourceName, ResourceSet, Shape};
pub use view::NodeView;
