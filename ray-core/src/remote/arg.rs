//! The sending side of one argument: [`Arg`].

use std::fmt;
use std::path::{Path, PathBuf};

use crate::api::object_ref::{ObjectRef, RawRef};

/// An argument of type `T` of a remote call: a value, or a reference to one that may not exist yet.
///
/// Every parameter of a remote call is `impl Into<Arg<T>>`, so both are simply passed. A reference makes its object a
/// dependency: the call starts when the object exists, and the function gets the value. References are cheap to clone,
/// so a borrowed one is taken too. Texts, slices and paths convert to their owned forms.
///
/// ```
/// use ray_core::Arg;
///
/// let number: Arg<i64> = 3.into();
/// let text: Arg<String> = "three".into();
/// let list: Arg<Vec<u8>> = (&[1, 2, 3][..]).into();
/// ```
pub struct Arg<T>(pub(super) Source<T>);

pub(super) enum Source<T> {
    Value(T),
    Reference(RawRef),
}

impl<T> fmt::Debug for Arg<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Value(_) => "Arg::Value",
            Source::Reference(_) => "Arg::Reference",
        })
    }
}

// A `T` that is an `Arg<T>`, an `ObjectRef<T>` or a reference to one would be infinite, so none of these overlap.
impl<T> From<T> for Arg<T> {
    fn from(value: T) -> Self {
        Self(Source::Value(value))
    }
}

impl<T> From<ObjectRef<T>> for Arg<T> {
    fn from(reference: ObjectRef<T>) -> Self {
        Self(Source::Reference(reference.into_raw()))
    }
}

impl<T> From<&ObjectRef<T>> for Arg<T> {
    fn from(reference: &ObjectRef<T>) -> Self {
        Self(Source::Reference(reference.raw().clone()))
    }
}

impl<T: Clone> From<&[T]> for Arg<Vec<T>> {
    fn from(slice: &[T]) -> Self {
        Self(Source::Value(slice.to_vec()))
    }
}

impl<T: Clone, const N: usize> From<&[T; N]> for Arg<Vec<T>> {
    fn from(array: &[T; N]) -> Self {
        Self(Source::Value(array.to_vec()))
    }
}

impl<T, const N: usize> From<[T; N]> for Arg<Vec<T>> {
    fn from(array: [T; N]) -> Self {
        Self(Source::Value(array.into()))
    }
}

impl<T: Clone> From<&Vec<T>> for Arg<Vec<T>> {
    fn from(list: &Vec<T>) -> Self {
        Self(Source::Value(list.clone()))
    }
}

macro_rules! from_borrowed {
    ($($borrowed:ty => $owned:ty),* $(,)?) => {$(
        impl From<&$borrowed> for Arg<$owned> {
            fn from(borrowed: &$borrowed) -> Self {
                Self(Source::Value(borrowed.to_owned()))
            }
        }
    )*};
}
from_borrowed!(str => String, String => String, Path => PathBuf, PathBuf => PathBuf);

impl From<&str> for Arg<PathBuf> {
    fn from(path: &str) -> Self {
        Self(Source::Value(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<T>(argument: impl Into<Arg<T>>) -> T {
        match argument.into().0 {
            Source::Value(value) => value,
            Source::Reference(_) => panic!("a reference"),
        }
    }

    #[test]
    fn literals_and_borrowed_forms_find_their_type() {
        assert_eq!(value::<i64>(3), 3);
        assert_eq!(value::<f32>(0.5), 0.5);
        assert_eq!(value::<Option<u8>>(None), None);
        assert_eq!(value::<Vec<u8>>(vec![1, 2]), [1, 2]);
        assert_eq!(value::<Vec<u8>>([1, 2]), [1, 2]);
        assert_eq!(value::<Vec<u8>>(&[1, 2]), [1, 2]);
        assert_eq!(value::<String>("text"), "text");
        assert_eq!(value::<PathBuf>("a/b"), Path::new("a/b"));
    }
}
