//! What a call gives its caller: [`FromReturns`], and [`Submission`] for the form that waits for room.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::api::object_ref::{ObjectRef, RawRef};
use crate::api::submit::Admission;

/// The typed form of a call's references: one, or a tuple of them.
pub trait FromReturns: Sized {
    /// Gives each reference its type. A call has as many references as its item's `num_returns` says.
    fn from_returns(references: Vec<RawRef>) -> Self;
}

impl<T> FromReturns for ObjectRef<T> {
    fn from_returns(references: Vec<RawRef>) -> Self {
        let mut references = references.into_iter();
        next(&mut references)
    }
}

fn next<T>(references: &mut std::vec::IntoIter<RawRef>) -> ObjectRef<T> {
    #[expect(
        clippy::expect_used,
        reason = "generated code asks for exactly as many references as it takes"
    )]
    ObjectRef::from_raw(references.next().expect("one reference per return"))
}

macro_rules! tuples {
    ($($($item:ident)+;)*) => {$(
        impl<$($item),+> FromReturns for ($(ObjectRef<$item>,)+) {
            fn from_returns(references: Vec<RawRef>) -> Self {
                let mut references = references.into_iter();
                ($(next::<$item>(&mut references),)+)
            }
        }
    )*};
}
tuples! {
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}

/// A call that waits while too much work is pending: await it, or call [`blocking`](Self::blocking).
#[must_use = "the call is submitted when this is awaited"]
pub struct Submission<R> {
    admission: Admission,
    returns: PhantomData<fn() -> R>,
}

impl<R: FromReturns> Submission<R> {
    /// A call on its way.
    pub fn new(admission: Admission) -> Self {
        Self {
            admission,
            returns: PhantomData,
        }
    }

    /// Waits on this thread until there is room.
    pub fn blocking(self) -> R {
        R::from_returns(self.admission.wait())
    }
}

impl<R: FromReturns> Future for Submission<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        Pin::new(&mut self.admission).poll(context).map(R::from_returns)
    }
}

impl<R> fmt::Debug for Submission<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Submission")
    }
}
