//! When and where the state of an actor is saved, as its options say, and how its saves stand.

use std::fmt::Write as _;
use std::path::Path;

use super::actors::invalid;
use crate::error::{RayError, Result};
use crate::ids::ActorId;
use crate::registry::RemoteItem;
use crate::remote::{ActorOptions, CheckpointPolicy};
use crate::session::CHECKPOINTS;
use crate::storage::{self, Location};
use crate::wire::{CheckpointSpec, SaveState};
use crate::worker::Worker;

/// How the saves of an actor's state stand, as its process last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// When its state is saved.
    pub policy: CheckpointPolicy,
    /// Saves that succeeded in its present process.
    pub saves: u64,
    /// Calls that had ended and were in no saved state.
    pub unsaved_calls: u64,
    /// How many answered calls a crash can lose, those apart that ran at the same time: none where every call is saved,
    /// fewer than twice the policy's calls otherwise. `None`: no number of calls bounds it, since the policy has only a
    /// time, or the last save failed.
    pub loss_bound: Option<u64>,
    /// Why the last save failed, if it did. The next one tries again.
    pub error: Option<String>,
}

impl CheckpointSummary {
    pub(super) fn of(saves: SaveState) -> Self {
        let policy = CheckpointPolicy {
            every_calls: u32::try_from(saves.every_calls).ok().filter(|calls| *calls > 0),
            every: saves.every,
        };
        let bound = match saves.every_calls {
            0 => None,
            1 => Some(0),
            calls => Some(calls.saturating_mul(2) - 1),
        };
        Self {
            policy,
            saves: saves.saves,
            unsaved_calls: saves.unsaved,
            loss_bound: bound.filter(|_| saves.error.is_none()),
            error: saves.error,
        }
    }
}

/// When and where the state of a new actor is saved, if it is.
pub(super) fn spec(
    worker: &Worker,
    item: &RemoteItem,
    options: &ActorOptions,
    actor: ActorId,
    namespace: &str,
) -> Result<Option<CheckpointSpec>> {
    let Some(policy) = options.checkpoint else {
        return Ok(None);
    };
    let type_name = item.identity().name;
    if item.as_actor().and_then(|actor| actor.checkpoint()).is_none() {
        let why = "a checkpoint policy needs a type that implements ray_core::Checkpoint";
        return Err(invalid(type_name, why));
    }
    let place = match &options.checkpoint_place {
        None => path_text(&worker.identity.session_dir.join(CHECKPOINTS)),
        Some(place) => located(type_name, place)?,
    };
    // A session's own directory ends with the session, and so do the states in it.
    let name = options.name.as_deref().filter(|_| options.checkpoint_place.is_some());
    Ok(Some(CheckpointSpec {
        every_calls: policy.every_calls.map_or(0, u64::from),
        every: policy.every,
        place,
        key: name.map_or_else(|| actor.to_string(), |name| named_key(namespace, name)),
        lasting: name.is_some(),
    }))
}

/// The place that a user gave, as its process will read it.
fn located(type_name: &str, place: &str) -> Result<String> {
    match storage::locate(place) {
        Ok(Location::Directory(directory)) => Ok(path_text(&directory)),
        Ok(Location::Url(url)) => Ok(url),
        Err(why) if storage::is_url(place) => Err(RayError::Unsupported {
            call: format!("checkpoint_place `{place}` of an actor `{type_name}`"),
            why: why.to_string(),
        }),
        Err(why) => Err(invalid(type_name, &format!("checkpoint_place `{place}`: {why}"))),
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The directory of a named actor, the same in a later run. Where no namespace was chosen it is one for all runs.
fn named_key(namespace: &str, name: &str) -> String {
    let is_of_session = namespace
        .strip_prefix("anonymous-")
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let namespace = if is_of_session { "anonymous" } else { namespace };
    // The point separates: it stands in neither, nor in the id that names the directory of an actor without a name.
    format!("{}.{}", file_name(namespace), file_name(name))
}

/// A text as part of a file's name: what is not a letter, digit, `-` or `_` is written as `%` and two digits.
fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _written = write!(name, "%{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_named_actor_is_the_same_in_every_run_and_its_own() {
        assert_eq!(named_key("prod", "counter"), "prod.counter");
        let anonymous = |digit: &str| named_key(&format!("anonymous-{}", digit.repeat(32)), "a");
        assert_eq!(anonymous("3"), anonymous("f"));
        assert_ne!(named_key("a.b", "c"), named_key("a", "b.c"));
        assert_eq!(named_key("..", "../x"), "%2e%2e.%2e%2e%2fx");
    }
}
