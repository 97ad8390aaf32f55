//! Why a value cannot be written or read, and where in it.

use std::fmt;

/// The way from the root of a value to the place of an error, innermost step first.
///
/// It is collected while the error travels up, so a value without errors pays nothing for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Index(usize),
    Variant(String),
}

impl Path {
    /// Beyond this, steps add nothing for a reader; the outermost are dropped.
    const MAX_STEPS: usize = 64;

    fn push(&mut self, step: Step) {
        if self.0.len() < Self::MAX_STEPS {
            self.0.push(step);
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("value")?;
        self.0.iter().rev().try_for_each(|step| match step {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Variant(name) => write!(f, "::{name}"),
        })
    }
}

macro_rules! located_error {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $verb:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Box<(Path, $kind)>);

        impl $name {
            pub(super) fn new(kind: $kind) -> Self {
                Self(Box::new((Path::default(), kind)))
            }

            /// What went wrong.
            pub fn kind(&self) -> &$kind {
                &self.0.1
            }

            /// Where in the value, as in `value.layers[3].weights`.
            pub fn path(&self) -> String {
                self.0.0.to_string()
            }

            #[cold]
            pub(super) fn at(mut self, step: Step) -> Self {
                self.0.0.push(step);
                self
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("cannot ", $verb, " `{}`: {}"), self.0.0, self.0.1)
            }
        }

        impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0.1)
            }
        }

        impl From<$kind> for $name {
            #[cold]
            fn from(kind: $kind) -> Self {
                Self::new(kind)
            }
        }
    };
}

located_error!(
    /// A value that cannot be turned into bytes: what is wrong and at which place in it.
    EncodeError, EncodeErrorKind, "encode");
located_error!(
    /// Bytes that cannot be turned into the value asked for: what is wrong and at which place in it.
    DecodeError, DecodeErrorKind, "decode");

/// What can be wrong with a value that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The `Serialize` impl of a type in the value refused.
    #[error("{0}")]
    Custom(String),
    /// The value is nested too deeply to be read back without exhausting the stack.
    #[error("nested deeper than {limit} levels; flatten the value, or keep the levels in a `Vec` linked by index")]
    TooDeep {
        /// How many levels are allowed.
        limit: usize,
    },
    /// A `Serialize` impl announced one number of elements and wrote another.
    #[error("its `Serialize` announced {announced} elements and wrote {written}")]
    WrongCount {
        /// What the impl said.
        announced: usize,
        /// What it wrote.
        written: usize,
    },
    /// More buffers or references than an object's header can count.
    #[error("more than {limit} buffers or references in one value; put parts of it as objects of their own")]
    TooMany {
        /// How many are allowed.
        limit: u32,
    },
}

/// What can be wrong with bytes that are to be read as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The `Deserialize` impl of a type in the value refused: another type was written, or its own check failed.
    #[error("{0}")]
    Custom(String),
    /// The bytes do not begin as an object does.
    #[error("the bytes are not an object of ray-core")]
    NotAnObject,
    /// The object was written by another version of the format.
    #[error("the object has format version {found}, this program reads version {expected}")]
    Version {
        /// In the object.
        found: u8,
        /// Of this program.
        expected: u8,
    },
    /// The object was written with a codec that this program does not have.
    #[error("the object was written with codec {found}, which this program does not know")]
    Codec {
        /// In the object.
        found: u8,
    },
    /// The object's parts do not add up to its length.
    #[error("the object has {found} bytes where its header tells of {expected}")]
    Length {
        /// By the header.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The in-band bytes end inside a value.
    #[error("the bytes end inside the value")]
    Truncated,
    /// Bytes remain after the value.
    #[error("{count} bytes remain after the value; it was written as another type")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A byte that opens no value, or a value that contradicts itself.
    #[error("malformed at byte {at}: {what}")]
    Malformed {
        /// Offset into the in-band bytes.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The value is nested too deeply to be read without exhausting the stack.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// How many levels are allowed.
        limit: usize,
    },
}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(EncodeErrorKind::Custom(message.to_string()))
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(DecodeErrorKind::Custom(message.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_place_from_the_root_down() {
        let error = EncodeError::new(EncodeErrorKind::TooDeep { limit: 3 })
            .at(Step::Index(7))
            .at(Step::Variant("Dense".into()))
            .at(Step::Field("layers".into()));
        assert_eq!(error.path(), "value.layers::Dense[7]");
        assert!(
            error
                .to_string()
                .starts_with("cannot encode `value.layers::Dense[7]`: nested deeper than 3 levels")
        );
    }
}
