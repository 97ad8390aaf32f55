//! The erased forms of users' functions, constructors and methods: plain function pointers.
//!
//! Panics pass through: whoever runs a body catches them.

use std::any::Any;
use std::fmt;
use std::pin::Pin;

use futures_core::Stream;

use super::{Arguments, Outcome, TaskError};
use crate::registry::Receiver;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// What a function yields that returns an iterator.
pub type ItemIterator<'a> = Box<dyn Iterator<Item = Outcome> + Send + 'a>;
/// What a function yields that returns a stream.
pub type ItemStream<'a> = Pin<Box<dyn Stream<Item = Outcome> + Send + 'a>>;
/// An actor's state, as the runtime keeps it.
pub type Instance = Box<dyn Any + Send + Sync>;
/// What a method is called on.
pub type AnyActor = dyn Any + Send + Sync;

/// How to run a function.
#[derive(Clone, Copy)]
pub enum FunctionBody {
    /// An ordinary function.
    Sync(fn(Arguments) -> Outcome),
    /// An `async fn`.
    Async(fn(Arguments) -> BoxFuture<'static, Outcome>),
    /// A function that returns an iterator; each item becomes an object.
    Iter(fn(Arguments) -> Result<ItemIterator<'static>, TaskError>),
    /// A function that returns a stream, or an `async fn` that returns an iterator; each item becomes an object.
    Stream(fn(Arguments) -> BoxFuture<'static, Result<ItemStream<'static>, TaskError>>),
}

/// How to make an actor's instance.
#[derive(Clone, Copy)]
pub enum ConstructBody {
    /// An ordinary function.
    Sync(fn(Arguments) -> Result<Instance, TaskError>),
    /// An `async fn`.
    Async(fn(Arguments) -> BoxFuture<'static, Result<Instance, TaskError>>),
}

/// How to run a method; the argument is the instance without its box (`&*instance`).
#[derive(Clone, Copy)]
pub enum MethodBody {
    /// `fn (&self)`.
    SharedSync(fn(&AnyActor, Arguments) -> Outcome),
    /// `fn (&mut self)`.
    ExclusiveSync(fn(&mut AnyActor, Arguments) -> Outcome),
    /// `async fn (&self)`.
    SharedAsync(for<'a> fn(&'a AnyActor, Arguments) -> BoxFuture<'a, Outcome>),
    /// `async fn (&mut self)`.
    ExclusiveAsync(for<'a> fn(&'a mut AnyActor, Arguments) -> BoxFuture<'a, Outcome>),
    /// `fn (&self)` that returns an iterator.
    SharedIter(for<'a> fn(&'a AnyActor, Arguments) -> Result<ItemIterator<'a>, TaskError>),
    /// `fn (&self)` that returns a stream, or `async fn (&self)` that returns an iterator.
    SharedStream(for<'a> fn(&'a AnyActor, Arguments) -> BoxFuture<'a, Result<ItemStream<'a>, TaskError>>),
}

impl FunctionBody {
    /// Whether a call gives a stream of objects.
    pub const fn is_streaming(&self) -> bool {
        matches!(self, Self::Iter(_) | Self::Stream(_))
    }
}

impl MethodBody {
    /// Whether calls may overlap with others.
    pub const fn receiver(&self) -> Receiver {
        match self {
            Self::SharedSync(_) | Self::SharedAsync(_) | Self::SharedIter(_) | Self::SharedStream(_) => {
                Receiver::Shared
            }
            Self::ExclusiveSync(_) | Self::ExclusiveAsync(_) => Receiver::Exclusive,
        }
    }

    /// Whether a call is a future or a stream: such calls overlap without threads.
    pub const fn is_async(&self) -> bool {
        matches!(
            self,
            Self::SharedAsync(_) | Self::ExclusiveAsync(_) | Self::SharedStream(_)
        )
    }

    /// Whether a call gives a stream of objects.
    pub const fn is_streaming(&self) -> bool {
        matches!(self, Self::SharedIter(_) | Self::SharedStream(_))
    }
}

impl fmt::Debug for FunctionBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Sync",
            Self::Async(_) => "Async",
            Self::Iter(_) => "Iter",
            Self::Stream(_) => "Stream",
        })
    }
}

impl fmt::Debug for ConstructBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Sync",
            Self::Async(_) => "Async",
        })
    }
}

impl fmt::Debug for MethodBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedSync(_) => "SharedSync",
            Self::ExclusiveSync(_) => "ExclusiveSync",
            Self::SharedAsync(_) => "SharedAsync",
            Self::ExclusiveAsync(_) => "ExclusiveAsync",
            Self::SharedIter(_) => "SharedIter",
            Self::SharedStream(_) => "SharedStream",
        })
    }
}
