//! Beginning from a saved state instead of the constructor.

use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::ledger::Ledger;
use super::place::Place;
use super::record::Record;
use super::saving::{Saver, Saving, shown_name};
use crate::error::{RayError, Result};
use crate::registry::ActorType;
use crate::remote::{CheckpointVTable, Instance};
use crate::wire::ActorSpec;
use crate::worker::execute::panic;

/// What an actor whose state is saved begins with.
pub(super) struct Begun {
    pub(super) saver: Saver,
    pub(super) saving: Saving,
    /// `None`: there is no saved state, and the constructor makes the instance.
    pub(super) instance: Option<Instance>,
}

/// Opens the place where the actor's state is saved, and restores the newest, if there is one. A request to object storage
/// may take that long.
pub(super) fn begin(spec: &ActorSpec, item: &ActorType, limit: Duration) -> Result<Option<Begun>> {
    let Some(checkpoint) = &spec.checkpoint else {
        return Ok(None);
    };
    let failed = |why: String| RayError::Checkpoint {
        actor: spec.actor,
        name: shown_name(spec),
        why,
    };
    let Some(vtable) = item.checkpoint() else {
        return Err(failed(
            "cannot be saved: its type does not implement ray_core::Checkpoint".into(),
        ));
    };
    let mut place =
        Place::open(&checkpoint.place, &checkpoint.key, limit).map_err(|error| failed(error.to_string()))?;
    let record = place.newest().map_err(|error| failed(error.to_string()))?;
    let (instance, ledger) = match record {
        None => (None, Ledger::default()),
        Some(record) => {
            let (instance, ledger) = restore(spec, vtable, &record).map_err(|why| {
                failed(format!(
                    "cannot be restored: {}: {why}; use the build that wrote it, or {} to begin anew",
                    place.shown(record.number),
                    place.anew(),
                ))
            })?;
            (Some(instance), ledger)
        }
    };
    Ok(Some(Begun {
        saver: Saver {
            vtable,
            place: Mutex::new(place),
            lasting: checkpoint.lasting,
            written: Condvar::new(),
        },
        saving: Saving::new(checkpoint, ledger),
        instance,
    }))
}

fn restore(spec: &ActorSpec, vtable: CheckpointVTable, record: &Record) -> Result<(Instance, Ledger), String> {
    if record.type_name != spec.type_name {
        return Err(format!(
            "it is the state of a `{}`, and the actor is a `{}`",
            record.type_name, spec.type_name
        ));
    }
    // Callers of another actor, which had the same name, do not call this one.
    let ledger = if record.actor == spec.actor {
        let calls = crate::wire::from_bytes(record.calls.clone()).map_err(|error| error.to_string())?;
        Ledger::restored(calls)
    } else {
        Ledger::default()
    };
    match std::panic::catch_unwind(AssertUnwindSafe(|| (vtable.restore)(&record.state))) {
        Ok(Ok(instance)) => Ok((instance, ledger)),
        Ok(Err(error)) => Err(error.chain().join(": ")),
        Err(_payload) => {
            let panic = panic::take_last();
            Err(format!("`restore` panicked: {}, at {}", panic.message, panic.location))
        }
    }
}
