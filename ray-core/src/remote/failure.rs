//! From a user's error to a [`TaskError`], as much of it as its type allows.
//!
//! Generated code knows the concrete type, so method resolution chooses: each trait below is implemented for a
//! [`Failure`] behind more references the more it needs, and a call through as many references takes the first whose
//! bounds hold.

use std::any::type_name;
use std::error::Error;
use std::fmt::Display;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TaskError;
use crate::value;

/// An error that a remote function may return: anything that is `Display`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a remote function",
    label = "does not implement `std::fmt::Display`",
    note = "implement `Display` (`thiserror` and `anyhow` do), and `Serialize + Deserialize` if callers should get the error itself"
)]
pub trait RemoteError {}

#[diagnostic::do_not_recommend]
impl<E: Display + ?Sized> RemoteError for E {}

/// Fails to compile, on the user's type, if an error cannot travel.
pub const fn require_error<E: RemoteError + ?Sized>(_: &E) {}

/// A user's error.
#[derive(Debug)]
pub struct Failure<'a, E>(pub &'a E);

impl<E> Failure<'_, E> {
    /// Everything that could be learned of the error.
    pub fn into_task_error(self, chain: Vec<String>, value: Option<Bytes>, retry: bool) -> TaskError {
        TaskError::application(type_name::<E>(), chain, value, retry)
    }
}

fn chain_of(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect()
}

/// The chain of an error of the standard kind.
pub trait StandardChain {
    /// The texts of the error and its sources.
    fn chain(&self) -> Vec<String>;
}

impl<E: Error + 'static> StandardChain for &&&Failure<'_, E> {
    fn chain(&self) -> Vec<String> {
        chain_of(self.0)
    }
}

/// The chain of `anyhow::Error`, `eyre::Report` and boxed errors, which only lend an error of the standard kind.
pub trait LentChain {
    /// The texts of the error and its sources.
    fn chain(&self) -> Vec<String>;
}

impl<E: AsRef<dyn Error + Send + Sync + 'static>> LentChain for &&Failure<'_, E> {
    fn chain(&self) -> Vec<String> {
        chain_of(self.0.as_ref())
    }
}

/// The chain of an error that is only a text.
pub trait TextChain {
    /// The text of the error.
    fn chain(&self) -> Vec<String>;
}

impl<E: Display> TextChain for &Failure<'_, E> {
    fn chain(&self) -> Vec<String> {
        vec![self.0.to_string()]
    }
}

/// What is left for an error without text, which [`require_error`] refuses.
pub trait NoChain {
    /// Nothing.
    fn chain(&self) -> Vec<String>;
}

impl<E> NoChain for Failure<'_, E> {
    fn chain(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The bytes of an error that can travel itself.
pub trait Travelling {
    /// The encoded error, unless its `Serialize` fails.
    fn value(&self) -> Option<Bytes>;
}

impl<E: Serialize + DeserializeOwned + 'static> Travelling for &Failure<'_, E> {
    fn value(&self) -> Option<Bytes> {
        value::encode(self.0).ok().map(|encoded| encoded.to_bytes())
    }
}

/// An error of which only texts travel.
pub trait TextOnly {
    /// Nothing.
    fn value(&self) -> Option<Bytes>;
}

impl<E> TextOnly for Failure<'_, E> {
    fn value(&self) -> Option<Bytes> {
        None
    }
}

/// Makes a [`TaskError`] of an error whose concrete type is known here.
#[doc(hidden)]
#[macro_export]
macro_rules! __task_error {
    ($error:expr, $retry:expr) => {{
        #[allow(unused_imports)]
        use $crate::__private::failure::{LentChain, NoChain, StandardChain, TextChain, TextOnly, Travelling};
        let failure = $crate::__private::failure::Failure($error);
        let chain = (&&&&failure).chain();
        let value = (&&failure).value();
        failure.into_task_error(chain, value, $retry)
    }};
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
    #[error("the reading is {degrees} degrees")]
    struct TooHot {
        degrees: i32,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the oven failed")]
    struct Oven(#[source] TooHot);

    struct Plain;

    impl fmt::Display for Plain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("plain")
        }
    }

    #[test]
    fn an_error_with_sources_gives_its_chain() {
        let error = crate::__task_error!(&Oven(TooHot { degrees: 300 }), false);
        assert_eq!(error.chain(), ["the oven failed", "the reading is 300 degrees"]);
        assert_eq!(error.to_string(), "the oven failed: the reading is 300 degrees");
        assert!(error.downcast_ref::<TooHot>().is_none());
    }

    #[test]
    fn an_error_that_is_serializable_travels_itself() {
        let error = crate::__task_error!(&TooHot { degrees: 300 }, true);
        let travelled: TaskError = value::decode(&value::encode(&error).unwrap().to_bytes()).unwrap();
        assert_eq!(travelled.downcast_ref::<TooHot>(), Some(&TooHot { degrees: 300 }));
        assert_eq!(travelled.downcast_ref::<String>(), None);
        assert!(travelled.wants_retry());
    }

    #[test]
    fn a_boxed_error_gives_the_chain_of_what_it_holds() {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(Oven(TooHot { degrees: 1 }));
        assert_eq!(crate::__task_error!(&boxed, false).chain().len(), 2);
    }

    #[test]
    fn a_text_and_any_display_are_errors_too() {
        assert_eq!(
            crate::__task_error!(&"no".to_owned(), false)
                .downcast_ref::<String>()
                .unwrap(),
            "no"
        );
        assert_eq!(crate::__task_error!(&Plain, false).chain(), ["plain"]);
    }
}
