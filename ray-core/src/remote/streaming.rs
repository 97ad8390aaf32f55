//! Iterators and streams of users as streams of [`Outcome`]s.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{ItemIterator, ItemStream, Outcome};

/// The items of an iterator, each converted.
pub fn items<'a, I>(iterator: I, convert: fn(I::Item) -> Outcome) -> ItemIterator<'a>
where
    I: IntoIterator,
    I::IntoIter: Send + 'a,
    I::Item: 'a,
{
    Box::new(iterator.into_iter().map(convert))
}

/// The items of a stream, each converted.
pub fn stream<'a, S>(stream: S, convert: fn(S::Item) -> Outcome) -> ItemStream<'a>
where
    S: Stream + Send + 'a,
    S::Item: 'a,
{
    Box::pin(Converted {
        stream: Box::pin(stream),
        convert,
    })
}

/// The items of an iterator that an `async fn` made, each converted.
pub fn stream_of_items<'a, I>(iterator: I, convert: fn(I::Item) -> Outcome) -> ItemStream<'a>
where
    I: IntoIterator,
    I::IntoIter: Send + 'a,
    I::Item: 'a,
{
    Box::pin(Ready(items(iterator, convert)))
}

struct Converted<S: Stream> {
    stream: Pin<Box<S>>,
    convert: fn(S::Item) -> Outcome,
}

impl<S: Stream> Stream for Converted<S> {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let convert = self.convert;
        self.stream.as_mut().poll_next(context).map(|item| item.map(convert))
    }
}

struct Ready<'a>(ItemIterator<'a>);

impl Stream for Ready<'_> {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Outcome>> {
        Poll::Ready(self.0.next())
    }
}
