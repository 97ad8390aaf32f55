//! Saved states of actors: when and where they are made, what they know of calls, and how saving goes.

use std::time::Duration;

use super::values::TaskOutcome;
use crate::ids::WorkerId;
use crate::wire::codec::wire_types;

wire_types! {
    layouts pub(super) LAYOUTS;

    /// When and where an actor's state is saved.
    #[derive(Debug, Clone)]
    struct CheckpointSpec {
        /// After this many calls; 0: not by calls.
        every_calls: u64,
        /// After this much time, if calls came.
        every: Option<Duration>,
        /// The directory that holds the states of many actors.
        place: String,
        /// The actor's own directory in there. That of a named actor is the same in a later run.
        key: String,
        /// Whether the state is of use after the actor: a later one of the same name takes it over.
        lasting: bool,
    }

    /// What a saved state knows of the calls that it contains.
    #[derive(Debug, Clone)]
    struct SavedCalls {
        /// One a process that has called the actor.
        callers: Vec<SavedCaller>,
    }

    /// What a saved state knows of the calls of one process.
    #[derive(Debug, Clone)]
    struct SavedCaller {
        /// The process.
        caller: WorkerId,
        /// The last number of a call of this process that had ended.
        through: u64,
        /// Numbers up to that one of calls that had come and not ended.
        open: Vec<u64>,
        /// Outcomes that the caller may not have seen.
        answers: Vec<SavedAnswer>,
    }

    /// The outcome of a call that a saved state contains.
    #[derive(Debug, Clone)]
    struct SavedAnswer {
        /// The caller's number for the call.
        sequence: u64,
        /// How it ended.
        outcome: TaskOutcome,
    }

    /// How the saves of an actor stand, as its process last told.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct SaveState {
        /// After how many calls its state is saved; 0: not by calls.
        every_calls: u64,
        /// After how much time.
        every: Option<Duration>,
        /// Saves that succeeded in its present process.
        saves: u64,
        /// Calls that had ended and were not in a saved state.
        unsaved: u64,
        /// Why the last save failed, if it did.
        error: Option<String>,
    }
}
