//! The boundary between users' typed functions and the runtime, which knows no types.
//!
//! `#[remote]` writes, for each function, constructor and method, a body that takes [`Arguments`] and yields an
//! [`Outcome`]; and, for its callers, functions that collect [`Arg`]s in a [`CallBuilder`].
//!
//! - RE-1: nothing here starts a thread, opens a file or knows a process: bodies run where they are called.
//! - RE-2: a body never catches a panic.

pub mod actor;
mod arg;
mod arguments;
mod body;
mod call;
pub mod checkpoint;
pub mod failure;
mod native;
mod options;
mod outcome;
pub mod returns;
pub mod streaming;
mod task_error;

pub use actor::{Actor, ActorHandle, ActorState};
pub use arg::Arg;
pub use arguments::{Arguments, Incoming};
pub use body::{AnyActor, BoxFuture, ConstructBody, FunctionBody, Instance, ItemIterator, ItemStream, MethodBody};
pub use call::{Argument, Call, CallBuilder, CallError, Lane};
pub use checkpoint::{Checkpoint, CheckpointVTable};
pub use failure::RemoteError;
pub use native::{ErasedValue, NativeValue, RemoteValue};
pub use options::{
    ActorOptions, Amount, CheckpointPolicy, Isolation, Lifetime, MethodChanges, MethodOptions, OptionsError,
    RetryBackoff, RetryExceptions, SchedulingStrategy, TaskOptions, UNLIMITED,
};
pub use outcome::{Outcome, ReturnValues};
pub use returns::Submission;
pub use task_error::{TaskError, TaskErrorKind};
