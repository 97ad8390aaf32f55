//! What the table holds: functions, and actors with their methods.

use std::fmt;
use std::sync::LazyLock;

use super::{Identity, ItemKey};
use crate::remote::{
    ActorOptions, CheckpointVTable, ConstructBody, FunctionBody, MethodBody, MethodOptions, TaskOptions,
};

/// A parameter of a remote function, constructor or method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The text of its type.
    pub type_text: &'static str,
}

/// One entry of the table.
#[derive(Debug)]
pub struct RemoteItem {
    identity: Identity,
    key: ItemKey,
    kind: ItemKind,
}

impl RemoteItem {
    /// An item; its key is computed at compile time.
    pub const fn new(identity: Identity, kind: ItemKind) -> Self {
        let key = identity.key();
        Self { identity, key, kind }
    }

    /// Who it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its name between processes.
    pub const fn key(&self) -> ItemKey {
        self.key
    }

    /// What it is.
    pub const fn kind(&self) -> &ItemKind {
        &self.kind
    }

    /// The function, if it is one.
    pub const fn as_function(&self) -> Option<&RemoteFunction> {
        match &self.kind {
            ItemKind::Function(function) => Some(function),
            ItemKind::Actor(_) => None,
        }
    }

    /// The actor, if it is one.
    pub const fn as_actor(&self) -> Option<&ActorType> {
        match &self.kind {
            ItemKind::Actor(actor) => Some(actor),
            ItemKind::Function(_) => None,
        }
    }
}

/// What an item is.
#[derive(Debug)]
pub enum ItemKind {
    /// A function.
    Function(RemoteFunction),
    /// An actor.
    Actor(ActorType),
}

/// A function that can run as a task.
pub struct RemoteFunction {
    /// How to run it.
    pub body: FunctionBody,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// How many references a call gives; of a stream, 1.
    pub num_returns: u32,
    defaults: LazyLock<TaskOptions>,
}

impl RemoteFunction {
    /// A function; `defaults` are the options of its attribute.
    pub const fn new(
        body: FunctionBody,
        parameters: &'static [Parameter],
        num_returns: u32,
        defaults: fn() -> TaskOptions,
    ) -> Self {
        Self {
            body,
            parameters,
            num_returns,
            defaults: LazyLock::new(defaults),
        }
    }

    /// The options of the attribute over Ray's defaults.
    pub fn defaults(&self) -> &TaskOptions {
        &self.defaults
    }
}

impl fmt::Debug for RemoteFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFunction")
            .field("body", &self.body)
            .field("parameters", &self.parameters)
            .field("num_returns", &self.num_returns)
            .finish_non_exhaustive()
    }
}

/// A type whose instances live as actors.
pub struct ActorType {
    /// How to make an instance.
    pub construct: ConstructBody,
    /// Parameters of the constructor.
    pub parameters: &'static [Parameter],
    /// Its methods; a call names one by its index.
    pub methods: &'static [ActorMethod],
    checkpoint: fn() -> Option<CheckpointVTable>,
    defaults: LazyLock<ActorOptions>,
}

impl ActorType {
    /// An actor; `defaults` are the options of its attribute.
    pub const fn new(
        construct: ConstructBody,
        parameters: &'static [Parameter],
        methods: &'static [ActorMethod],
        checkpoint: fn() -> Option<CheckpointVTable>,
        defaults: fn() -> ActorOptions,
    ) -> Self {
        Self {
            construct,
            parameters,
            methods,
            checkpoint,
            defaults: LazyLock::new(defaults),
        }
    }

    /// The options of the attribute over Ray's defaults.
    pub fn defaults(&self) -> &ActorOptions {
        &self.defaults
    }

    /// How to save and restore an instance, if the type implements [`Checkpoint`](crate::remote::Checkpoint).
    pub fn checkpoint(&self) -> Option<CheckpointVTable> {
        (self.checkpoint)()
    }

    /// The method with this index.
    pub fn method(&self, index: u32) -> Option<&'static ActorMethod> {
        self.methods.get(usize::try_from(index).ok()?)
    }
}

impl fmt::Debug for ActorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorType")
            .field("construct", &self.construct)
            .field("parameters", &self.parameters)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

/// Whether a method's calls may overlap with others of the same actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// `&self`: with other shared calls.
    Shared,
    /// `&mut self`: with none.
    Exclusive,
}

/// A method of an actor.
pub struct ActorMethod {
    /// Its name.
    pub name: &'static str,
    /// How to run it; its kind also says the receiver.
    pub body: MethodBody,
    /// Its parameters, without the receiver.
    pub parameters: &'static [Parameter],
    /// How many references a call gives; of a stream, 1.
    pub num_returns: u32,
    /// The concurrency group of its attribute.
    pub concurrency_group: Option<&'static str>,
    defaults: LazyLock<MethodOptions>,
}

impl ActorMethod {
    /// A method; `defaults` are the options of its attribute.
    pub const fn new(
        name: &'static str,
        body: MethodBody,
        parameters: &'static [Parameter],
        num_returns: u32,
        concurrency_group: Option<&'static str>,
        defaults: fn() -> MethodOptions,
    ) -> Self {
        Self {
            name,
            body,
            parameters,
            num_returns,
            concurrency_group,
            defaults: LazyLock::new(defaults),
        }
    }

    /// Whether calls of it may overlap with others.
    pub const fn receiver(&self) -> Receiver {
        self.body.receiver()
    }

    /// The options of the attribute over Ray's defaults.
    pub fn defaults(&self) -> &MethodOptions {
        &self.defaults
    }
}

impl fmt::Debug for ActorMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorMethod")
            .field("name", &self.name)
            .field("body", &self.body)
            .field("parameters", &self.parameters)
            .field("num_returns", &self.num_returns)
            .field("concurrency_group", &self.concurrency_group)
            .finish_non_exhaustive()
    }
}
