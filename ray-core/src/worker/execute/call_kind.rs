//! How a call of an actor is to be run: what the method says, and the concurrency group that the call or the method names.

use super::actor_queue::Kind;
use crate::error::{RayError, Result};
use crate::registry::{ActorMethod, Receiver};
use crate::wire::ActorCallSpec;

impl Kind {
    /// A call of this method in the group with this index.
    pub(crate) fn of_method(method: &ActorMethod, group: usize) -> Self {
        Self {
            exclusive: method.receiver() == Receiver::Exclusive,
            is_async: method.body.is_async(),
            group,
        }
    }

    /// A call that has arrived at an actor of this type. `group`: the index of a named group, or the names that there are.
    pub(crate) fn of_call(
        call: &ActorCallSpec,
        method: Option<&ActorMethod>,
        type_name: &str,
        group: impl FnOnce(&str) -> Result<usize, Vec<String>>,
    ) -> Result<Self> {
        let method = method.ok_or_else(|| RayError::UnknownItem {
            what: format!("a method of actor `{type_name}`"),
            why: "its index is not in the table".into(),
        })?;
        let group = match call.group.as_deref().or(method.concurrency_group) {
            None => 0,
            Some(name) => group(name).map_err(|known| RayError::InvalidOption {
                option: "concurrency_group".into(),
                name: format!("{type_name}::{}", method.name),
                why: format!("the actor has no group `{name}`; it has {known:?}"),
            })?,
        };
        Ok(Self::of_method(method, group))
    }
}
