//! What generated code reaches for: no part of the public API, and free to change at any time.

pub use std::boxed::Box;
pub use std::clone::Clone;
pub use std::convert::Into;
pub use std::default::Default;
pub use std::fmt;
pub use std::option::Option::{self, None, Some};
pub use std::result::Result::{self, Err, Ok};
pub use std::string::String;
pub use std::sync::Arc;
pub use std::time::Duration;
pub use std::vec::Vec;

pub use linkme;
pub use serde;
pub use smallvec::smallvec;

pub use crate::api::PlacementGroup;
pub use crate::api::object_ref::{ObjectRef, ObjectRefStream, RawActorHandle};
pub use crate::api::submit;
pub use crate::error::RayError;
pub use crate::process::setup::WORKER_SETUP;
pub use crate::registry::{
    ActorMethod, ActorType, Identity, ItemKind, Parameter, REMOTE_ITEMS, RemoteFunction, RemoteItem,
};
pub use crate::remote::actor::{deserialize_handle, exclusive, instance, serialize_handle, shared};
pub use crate::remote::failure::{self, require_error};
pub use crate::remote::returns::FromReturns;
pub use crate::remote::{
    Actor, ActorHandle, ActorOptions, Amount, AnyActor, Arg, Arguments, BoxFuture, CallBuilder, CheckpointPolicy,
    ConstructBody, FunctionBody, Instance, Isolation, ItemIterator, ItemStream, Lifetime, MethodBody, MethodChanges,
    MethodOptions, NativeValue, Outcome, RemoteValue, RetryBackoff, RetryExceptions, SchedulingStrategy, Submission,
    TaskError, TaskOptions, checkpoint, streaming,
};
pub use crate::testing;
pub use crate::{
    __actor_options as actor_options, __method_option as method_option, __task_error as task_error,
    __task_options as task_options,
};

/// A resource amount in an attribute.
pub fn amount(number: impl Amount) -> f64 {
    number.amount()
}
