//! The receiving side of a call: [`Arguments`].

use std::any::{Any, type_name};
use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{RemoteValue, TaskError};
use crate::value;

/// One argument, as it reaches the function. References are resolved before.
pub enum Incoming {
    /// A serialized value: the whole object.
    Payload(Bytes),
    /// A value that never left this process.
    Native(Box<dyn Any + Send>),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(payload) => write!(f, "Payload({} bytes)", payload.len()),
            Self::Native(_) => f.write_str("Native"),
        }
    }
}

/// The arguments of one call, in the order of the parameters.
#[derive(Debug)]
pub struct Arguments {
    incoming: smallvec::IntoIter<[Incoming; 4]>,
    position: usize,
}

impl Arguments {
    /// Arguments in the order of the parameters.
    pub fn new(incoming: impl IntoIterator<Item = Incoming>) -> Self {
        let incoming: SmallVec<[Incoming; 4]> = incoming.into_iter().collect();
        Self {
            incoming: incoming.into_iter(),
            position: 0,
        }
    }

    /// The next argument, which is the parameter `name`.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not a `T`.
    pub fn next<T: RemoteValue>(&mut self, name: &'static str) -> Result<T, TaskError> {
        self.position += 1;
        let refused = |reason: &dyn fmt::Display| TaskError::argument(self.position, name, type_name::<T>(), reason);
        match self.incoming.next() {
            Some(Incoming::Payload(payload)) => value::decode(&payload).map_err(|error| refused(&error)),
            Some(Incoming::Native(value)) => value
                .downcast()
                .map(|value| *value)
                .map_err(|_| refused(&"the value is of another type")),
            None => Err(refused(&"the call has fewer arguments")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_and_native_arguments_arrive_in_order() {
        let payload = value::encode(&7i64).unwrap().to_bytes();
        let mut arguments = Arguments::new([Incoming::Payload(payload), Incoming::Native(Box::new("x".to_owned()))]);
        assert_eq!(arguments.next::<i64>("a").unwrap(), 7);
        assert_eq!(arguments.next::<String>("b").unwrap(), "x");
    }

    #[test]
    fn a_wrong_or_missing_argument_is_named_in_the_error() {
        let mut arguments = Arguments::new([Incoming::Native(Box::new(1u8))]);
        let wrong = arguments.next::<String>("text").unwrap_err().to_string();
        assert!(
            wrong.contains("argument 1 (`text`)") && wrong.contains("String"),
            "{wrong}"
        );
        let missing = arguments.next::<u8>("more").unwrap_err().to_string();
        assert!(missing.contains("argument 2 (`more`)"), "{missing}");
    }
}
