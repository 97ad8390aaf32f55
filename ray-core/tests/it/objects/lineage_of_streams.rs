//! Lost items of streams are made again by running the stream's task for them, and its consumer notices nothing.

use futures_core::Stream;
use ray_core::value::Buffer;
use ray_core::{ObjectRef, Ray, get, remote};

use super::lineage::{check, lose, reason, session};
use super::{MIB, all_is_freed, pattern, small_store};
use crate::support::{Gate, Signs, Tally, in_own_process};

fn buffer(number: u64) -> Buffer {
    Buffer::from(pattern(number, MIB))
}

#[remote]
fn items(count: u64, runs: Tally) -> impl Iterator<Item = Buffer> {
    runs.add();
    (0..count).map(buffer)
}

/// A stream without a helper crate.
struct Counting(std::ops::Range<u64>);

impl Stream for Counting {
    type Item = Buffer;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Buffer>> {
        std::task::Poll::Ready(self.0.next().map(buffer))
    }
}

#[remote]
fn items_as_a_stream(count: u64, runs: Tally) -> impl Stream<Item = Buffer> {
    runs.add();
    Counting(0..count)
}

#[remote]
fn without_end(runs: Tally) -> impl Iterator<Item = Buffer> {
    runs.add();
    (0..).map(buffer)
}

/// Yields one more before it waits.
#[remote]
fn held_after(count: u64, runs: Tally, gate: Gate) -> impl Iterator<Item = Buffer> {
    let waits = runs.add() == 1;
    (0..2 * count).map(move |number| {
        if waits && number == count {
            gate.wait();
        }
        buffer(number)
    })
}

/// The second run yields less.
#[remote]
fn fewer_and_fewer(count: u64, runs: Tally) -> impl Iterator<Item = Buffer> {
    let less = runs.add() as u64 - 1;
    (0..count - less).map(buffer)
}

#[remote(max_retries = 1)]
fn items_twice(count: u64) -> impl Iterator<Item = Buffer> {
    (0..count).map(buffer)
}

#[remote(max_retries = 0)]
fn items_once(count: u64) -> impl Iterator<Item = Buffer> {
    (0..count).map(buffer)
}

#[remote]
fn fails_after(count: u64, runs: Tally) -> impl Iterator<Item = Result<Buffer, String>> {
    runs.add();
    (0..=count).map(move |number| {
        if number < count {
            Ok(buffer(number))
        } else {
            Err("no more".to_owned())
        }
    })
}

fn assert_item(item: &ObjectRef<Buffer>, number: u64) {
    assert!(get(item).unwrap().as_slice() == pattern(number, MIB), "item {number}");
}

/// A stream's producer is at most two items ahead.
fn two_ahead() -> Ray {
    small_store(16)
        .config("generator_backpressure_num_objects", 2)
        .init()
        .unwrap()
}

#[test]
fn a_lost_item_is_made_again_and_the_others_stay() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        for (name, is_stream) in [("iterator", false), ("stream", true)] {
            let runs = signs.tally(name);
            let mut stream = if is_stream {
                items_as_a_stream::remote(4, runs.clone())
            } else {
                items::remote(4, runs.clone())
            };
            let taken: Vec<_> = stream.by_ref().take(4).collect();
            assert!(stream.next().is_none());
            // What is read stays in memory, so that the others are lost.
            let held = get(&taken[2]).unwrap();
            lose(&ray, &taken[1]);
            assert_item(&taken[1], 1);
            assert_eq!(runs.count(), 2);
            (0..).zip(&taken).for_each(|(number, item)| assert_item(item, number));
            assert!(held.as_slice() == pattern(2, MIB));
            // An argument.
            lose(&ray, &taken[3]);
            assert!(get(&check::remote(3, &taken[3])).unwrap());
            assert!(stream.next().is_none());
        }
        all_is_freed();
    });
}

#[test]
fn an_item_that_was_not_taken_yet_is_made_again_too_and_each_is_seen_once() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let mut stream = items::remote(4, runs.clone());
        let first = stream.next().unwrap();
        assert_item(&first, 0);
        lose(&ray, &first);
        let mut seen = 1;
        for (number, item) in (1..).zip(&mut stream) {
            assert_item(&item, number);
            seen += 1;
        }
        assert_item(&first, 0);
        assert_eq!(seen, 4);
        drop((first, stream));
        all_is_freed();
    });
}

#[test]
fn an_item_that_is_lost_while_the_producer_waits_for_its_consumer_is_made_again() {
    in_own_process(|| {
        let ray = two_ahead();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let mut stream = without_end::remote(runs.clone());
        let taken: Vec<_> = stream.by_ref().take(2).collect();
        get(&taken).unwrap();
        lose(&ray, &taken[0]);
        // The producer is two ahead, and has no room for more.
        assert_item(&taken[0], 0);
        assert_eq!(runs.count(), 2);
        for (number, item) in (2..6).zip(&mut stream) {
            assert_item(&item, number);
        }
        // The task has no end, and yet what it makes again is made.
        drop(stream);
        let before = runs.count();
        lose(&ray, &taken[1]);
        assert_item(&taken[1], 1);
        assert!(runs.count() > before);
        drop(taken);
        all_is_freed();
    });
}

#[test]
fn an_item_that_is_lost_while_the_producer_makes_the_next_comes_after_that() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let (runs, gate) = (signs.tally("runs"), signs.gate("go on"));
        let mut stream = held_after::remote(2, runs.clone(), gate.clone());
        let taken: Vec<_> = stream.by_ref().take(2).collect();
        get(&taken).unwrap();
        lose(&ray, &taken[1]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| assert_item(&taken[1], 1));
            gate.open();
            waits.join().unwrap();
        });
        for (number, item) in (2..).zip(&mut stream) {
            assert_item(&item, number);
        }
        (0..).zip(&taken).for_each(|(number, item)| assert_item(item, number));
        assert!(stream.next().is_none() && runs.count() > 1);
        drop((taken, stream));
        all_is_freed();
    });
}

#[test]
fn items_of_a_stream_that_failed_later_are_made_again_and_its_error_stays_the_last() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let mut stream = fails_after::remote(2, runs.clone());
        let taken: Vec<_> = stream.by_ref().take(2).collect();
        let error = stream.next().unwrap();
        assert!(get(&error).unwrap_err().to_string().contains("no more"));
        lose(&ray, &taken[0]);
        (0..).zip(&taken).for_each(|(number, item)| assert_item(item, number));
        assert!(stream.next().is_none() && runs.count() > 1);
        drop((taken, stream, error));
        all_is_freed();
    });
}

#[test]
fn items_that_cannot_be_made_again_say_why() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let mut stream = fewer_and_fewer::remote(3, runs.clone());
        let taken: Vec<_> = stream.by_ref().collect();
        let held = get(&taken[..2].to_vec()).unwrap();
        lose(&ray, &taken[2]);
        assert!(
            reason(&taken[2]).contains("yielded 2 items only"),
            "{}",
            reason(&taken[2])
        );
        assert_eq!(runs.count(), 2);
        drop((held, taken, stream));

        let once: Vec<_> = items_once::remote(1).collect();
        lose(&ray, &once[0]);
        assert!(reason(&once[0]).contains("may not be retried"), "{}", reason(&once[0]));

        let twice: Vec<_> = items_twice::remote(1).collect();
        lose(&ray, &twice[0]);
        assert_item(&twice[0], 0);
        lose(&ray, &twice[0]);
        let text = reason(&twice[0]);
        assert!(text.contains("used up its max_retries"), "{text}");
        drop((once, twice));
        all_is_freed();
    });
}
