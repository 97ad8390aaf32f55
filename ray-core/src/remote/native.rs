//! Values whose type the runtime does not know: [`RemoteValue`] and [`NativeValue`].

use std::any::{Any, type_name};
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::value::{self, EncodeError, Encoded, Parts};

/// From this size on a value of plain data counts as one whose object may be large: its encoding can be a multiple of it.
const LARGE: usize = 4 << 10;

/// A type that can be an argument or a result: `Serialize + DeserializeOwned + Send + 'static`.
///
/// It is implemented for every such type; nobody implements it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "not an argument or a result of a remote function",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own its data (`Send + 'static`, no references, no `Rc`)",
    note = "or keep it inside an actor, and let methods take and return what can be sent"
)]
pub trait RemoteValue: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> RemoteValue for T {}

/// A [`RemoteValue`] behind a pointer.
pub trait ErasedValue: Send {
    /// The value as bytes and buffers.
    ///
    /// # Errors
    ///
    /// What the type's `Serialize` says.
    fn encode(&self) -> Result<Encoded, EncodeError>;

    /// Appends the value's object to `out`, without what is large (see [`value::encode_into`]).
    ///
    /// # Errors
    ///
    /// What the type's `Serialize` says.
    fn encode_into(&self, out: &mut Vec<u8>) -> Result<Parts, EncodeError>;

    /// The value itself, for a reader in this process.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;

    /// The name of its type, for messages.
    fn type_name(&self) -> &'static str;

    /// Whether a value of its type may be larger than the type itself.
    fn may_be_large(&self) -> bool;
}

impl<T: RemoteValue> ErasedValue for T {
    fn encode(&self) -> Result<Encoded, EncodeError> {
        value::encode(self)
    }

    fn encode_into(&self, out: &mut Vec<u8>) -> Result<Parts, EncodeError> {
        value::encode_into(self, out)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn type_name(&self) -> &'static str {
        type_name::<T>()
    }

    fn may_be_large(&self) -> bool {
        // What owns nothing is as large as it looks.
        std::mem::needs_drop::<T>() || size_of::<T>() >= LARGE
    }
}

/// A value as it is in memory: an argument that stays in this process, or what a function returned. The runtime
/// chooses whether it is moved to its reader or encoded.
pub struct NativeValue(Box<dyn ErasedValue>);

impl NativeValue {
    /// Takes a value; a value without size costs no allocation.
    pub fn new<T: RemoteValue>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The value as bytes and buffers.
    ///
    /// # Errors
    ///
    /// What the type's `Serialize` says.
    pub fn encode(&self) -> Result<Encoded, EncodeError> {
        self.0.encode()
    }

    /// Appends the value's object to `out`, without what is large (see [`value::encode_into`]).
    ///
    /// # Errors
    ///
    /// What the type's `Serialize` says.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<Parts, EncodeError> {
        self.0.encode_into(out)
    }

    /// The value itself, to be downcast by its reader.
    pub fn into_any(self) -> Box<dyn Any + Send> {
        self.0.into_any()
    }

    /// The name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    /// Whether, by its type, its object may be large.
    pub(crate) fn may_be_large(&self) -> bool {
        self.0.may_be_large()
    }
}

impl fmt::Debug for NativeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NativeValue").field(&self.type_name()).finish()
    }
}
