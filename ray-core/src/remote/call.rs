//! The sending side of a call: [`CallBuilder`] takes the arguments one after another.
//!
//! - CA-1: in the process lane an argument without buffers and references costs no allocation of its own: all are
//!   encoded one behind the other into one buffer.
//! - CA-2: an argument that cannot be encoded never stops the caller: the first such error is kept and becomes the
//!   error of the call's references.
//! - CA-3: references inside an argument are held until whoever takes the call holds them itself.

use std::any::Any;
use std::ops::Range;

use smallvec::SmallVec;

use super::arg::Source;
use super::{Arg, NativeValue, RemoteValue};
use crate::api::object_ref::RawRef;
use crate::value::{self, EncodeError, Parts};

/// How the arguments of a call travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// To another process, or to be sent again: encoded at once.
    Process,
    /// Within this process and only once: as they are.
    Native,
}

/// One argument on its way.
#[derive(Debug)]
pub enum Argument {
    /// In [`Call::buffer`].
    Encoded {
        /// Where there.
        range: Range<usize>,
        /// Buffers that go beside it and references in it, if there are any.
        parts: Option<Box<Parts>>,
    },
    /// A value that stays in this process.
    Native(NativeValue),
    /// An object that becomes the argument.
    Reference(RawRef),
}

/// An argument that cannot be sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("argument {position} (`{name}`) of the call cannot be sent: {source}")]
pub struct CallError {
    /// Its place, from 1.
    pub position: usize,
    /// The parameter.
    pub name: &'static str,
    /// What its `Serialize` said.
    pub source: EncodeError,
}

/// The arguments of one call, ready to be submitted.
#[derive(Debug)]
pub struct Call {
    /// All encoded arguments, one behind the other.
    pub buffer: Vec<u8>,
    /// The arguments, in the order of the parameters.
    pub arguments: SmallVec<[Argument; 4]>,
    /// Values with references inside (CA-3).
    pub held: Vec<Box<dyn Any + Send>>,
}

/// Collects the arguments of one call.
#[derive(Debug)]
pub struct CallBuilder {
    lane: Lane,
    call: Call,
    error: Option<CallError>,
}

impl CallBuilder {
    /// A call without arguments.
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            call: Call {
                buffer: Vec::new(),
                arguments: SmallVec::new(),
                held: Vec::new(),
            },
            error: None,
        }
    }

    /// Adds the next argument, which is the parameter `name`.
    pub fn argument<T: RemoteValue>(&mut self, name: &'static str, argument: impl Into<Arg<T>>) {
        let value = match argument.into().0 {
            Source::Reference(reference) => return self.call.arguments.push(Argument::Reference(reference)),
            Source::Value(value) => value,
        };
        if self.lane == Lane::Native {
            return self.call.arguments.push(Argument::Native(NativeValue::new(value)));
        }
        if self.error.is_some() {
            return;
        }
        let start = self.call.buffer.len();
        match value::encode_into(&value, &mut self.call.buffer) {
            Ok(parts) => {
                if !parts.refs.is_empty() {
                    self.call.held.push(Box::new(value));
                }
                let plain = parts.buffers.is_empty() && parts.refs.is_empty();
                self.call.arguments.push(Argument::Encoded {
                    range: start..self.call.buffer.len(),
                    parts: (!plain).then(|| Box::new(parts)),
                });
            }
            Err(source) => {
                self.error = Some(CallError {
                    position: self.call.arguments.len() + 1,
                    name,
                    source,
                });
            }
        }
    }

    /// Takes out the arguments, if all are values that stay as they are.
    pub(crate) fn take_values(&mut self) -> Option<SmallVec<[NativeValue; 2]>> {
        let native = |argument: &Argument| matches!(argument, Argument::Native(_));
        if self.lane != Lane::Native || !self.call.arguments.iter().all(native) {
            return None;
        }
        let values = self.call.arguments.drain(..).filter_map(|argument| match argument {
            Argument::Native(value) => Some(value),
            Argument::Encoded { .. } | Argument::Reference(_) => None,
        });
        Some(values.collect())
    }

    /// Takes back what was taken out.
    pub(crate) fn give_back(&mut self, values: impl IntoIterator<Item = NativeValue>) {
        self.call.arguments = values.into_iter().map(Argument::Native).collect();
    }

    /// The call, for the one who submits it.
    ///
    /// # Errors
    ///
    /// The first argument that cannot be sent (CA-2).
    pub fn finish(self) -> Result<Call, CallError> {
        self.error.map_or(Ok(self.call), Err)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::{Deserialize, Serialize, Serializer};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Refusing;

    impl Serialize for Refusing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    #[test]
    fn ca_1_scalars_lie_one_behind_the_other_in_one_buffer() {
        let mut builder = CallBuilder::new(Lane::Process);
        builder.argument::<i64>("a", 3);
        builder.argument::<String>("b", "four");
        let call = builder.finish().unwrap();
        let ranges: Vec<_> = call
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Encoded { range, parts: None } => range.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            (ranges[0].start, ranges[0].end, ranges[1].end),
            (0, ranges[1].start, call.buffer.len())
        );
        let bytes = Bytes::from(call.buffer);
        assert_eq!(value::decode::<i64>(&bytes.slice(ranges[0].clone())).unwrap(), 3);
        assert_eq!(
            value::decode::<String>(&bytes.slice(ranges[1].clone())).unwrap(),
            "four"
        );
    }

    #[test]
    fn ca_2_the_first_argument_that_cannot_be_sent_is_the_error_of_the_call() {
        let mut builder = CallBuilder::new(Lane::Process);
        builder.argument::<i64>("a", 3);
        builder.argument::<Refusing>("b", Refusing);
        builder.argument::<Refusing>("c", Refusing);
        let error = builder.finish().unwrap_err().to_string();
        assert!(
            error.starts_with("argument 2 (`b`)") && error.contains("not today"),
            "{error}"
        );
    }

    #[test]
    fn in_the_native_lane_values_are_moved_and_never_encoded() {
        let mut builder = CallBuilder::new(Lane::Native);
        builder.argument::<Refusing>("a", Refusing);
        let mut call = builder.finish().unwrap();
        assert!(call.buffer.is_empty());
        let Some(Argument::Native(value)) = call.arguments.pop() else {
            panic!("not native")
        };
        assert!(value.encode().is_err());
        assert!(value.into_any().is::<Refusing>());
    }
}
