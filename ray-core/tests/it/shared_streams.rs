//! Streams of shared tasks and actors: items that are never encoded, and producers that wait for their consumers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use ray_core::{ObjectRefStream, RayError, get, remote};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::{Gate, Signs, Tally, Watchdog, in_own_process, wait_until};

/// How far a producer may be ahead of its consumer.
const AHEAD: u64 = 64;
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// An item whose encoding would be noticed.
#[derive(Debug, Deserialize)]
pub(crate) struct Native(u64);

impl Native {
    fn new(number: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self(number)
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serialize for Native {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("item {} is encoded", self.0)
    }
}

/// Counts, and yields to its runtime before each item.
struct Later {
    next: u64,
    to: u64,
    rested: bool,
}

impl Stream for Later {
    type Item = Native;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Native>> {
        if self.next == self.to {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.rested, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.rested = false;
        self.next += 1;
        Poll::Ready(Some(Native::new(self.next - 1)))
    }
}

#[remote(isolation = "shared")]
fn count(to: u64) -> impl Iterator<Item = Native> {
    (0..to).map(Native::new)
}

#[remote(isolation = "shared")]
fn count_later(to: u64) -> impl Stream<Item = Native> {
    Later {
        next: 0,
        to,
        rested: false,
    }
}

#[remote(isolation = "shared")]
fn numbers(to: u64) -> impl Iterator<Item = u64> {
    0..to
}

#[remote(isolation = "shared")]
fn texts(to: u64, length: usize) -> impl Iterator<Item = String> {
    (0..to).map(move |_| "x".repeat(length))
}

/// Fails at this item, the first time.
#[remote(isolation = "shared", max_retries = 1, retry_exceptions = true)]
fn fails_once(at: u64, to: u64, failed: Tally, go_on: Gate) -> impl Iterator<Item = Result<u64, String>> {
    (0..to).map(move |item| {
        if item == at && failed.count() == 0 {
            go_on.wait();
            failed.add();
            return Err("the first time".to_owned());
        }
        Ok(item)
    })
}

#[remote]
fn double(number: u64) -> u64 {
    number * 2
}

#[remote]
fn length(text: String) -> usize {
    text.len()
}

#[remote]
fn sum_elsewhere(to: u64) -> (u32, u64) {
    (
        std::process::id(),
        numbers::remote(to).map(|item| get(item).unwrap()).sum(),
    )
}

pub(crate) struct Source {
    from: u64,
}

#[remote(isolation = "shared")]
impl Source {
    pub(crate) fn new(from: u64) -> Self {
        Self { from }
    }

    pub(crate) fn count(&self, to: u64) -> impl Iterator<Item = Native> {
        (self.from..to).map(Native::new)
    }

    pub(crate) fn later(&self, to: u64) -> impl Stream<Item = Native> {
        Later {
            next: self.from,
            to,
            rested: false,
        }
    }
}

fn taken(stream: ObjectRefStream<Native>) -> Vec<u64> {
    stream.map(|item| get(item).unwrap().0).collect()
}

#[test]
fn items_of_shared_tasks_and_actors_come_as_they_are() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let all: Vec<u64> = (0..1000).collect();
    assert_eq!(taken(count::remote(1000)), all);
    assert_eq!(taken(count_later::remote(1000)), all);
    let source = Source::remote(0);
    assert_eq!(taken(source.count(1000)), all);
    assert_eq!(taken(source.later(1000)), all);
    let named = Source::options().name("s-source").remote(0);
    assert_eq!(taken(named.count(1000)), all);
    assert_eq!(taken(named.later(1000)), all);
}

#[test]
fn an_item_is_encoded_when_another_process_needs_it() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let doubled: u64 = numbers::remote(200)
        .map(|item| get(&double::remote(item)).unwrap())
        .sum();
    assert_eq!(doubled, 199 * 200);
    for item in texts::remote(3, 300_000) {
        assert_eq!(get(&length::remote(&item)).unwrap(), 300_000);
        assert_eq!(get(item).unwrap().len(), 300_000);
    }
    // A consumer elsewhere.
    let (pid, sum) = get(&sum_elsewhere::remote(500)).unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(sum, 499 * 500 / 2);
}

#[test]
fn a_shared_producer_is_a_bounded_number_of_items_ahead() {
    static MADE: AtomicU64 = AtomicU64::new(0);
    #[remote(isolation = "shared")]
    fn count_made(to: u64) -> impl Iterator<Item = u64> {
        (0..to).inspect(|item| MADE.store(item + 1, Ordering::SeqCst))
    }
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let mut stream = count_made::remote(1000);
    wait_until(|| MADE.load(Ordering::SeqCst) == AHEAD);
    for number in 0..500 {
        assert!(MADE.load(Ordering::SeqCst) <= number + AHEAD);
        assert_eq!(get(stream.next().unwrap()).unwrap(), number);
    }
    wait_until(|| MADE.load(Ordering::SeqCst) == 500 + AHEAD);
    assert_eq!(stream.count(), 500);
}

#[test]
fn a_shared_stream_that_drops_or_is_cancelled_stops_and_leaves_nothing() {
    in_own_process(|| {
        let ray = ray_core::init().unwrap();
        let source = Source::remote(0);
        let streams: [fn(&SourceHandle) -> ObjectRefStream<Native>; 4] = [
            |_| count::remote(u64::MAX),
            |_| count_later::remote(u64::MAX),
            |source| source.count(u64::MAX),
            |source| source.later(u64::MAX),
        ];
        for open in streams {
            let mut stream = open(&source);
            let first = stream.next().unwrap();
            // It has made what it may, and waits.
            wait_until(|| ALIVE.load(Ordering::SeqCst) as u64 == AHEAD + 1);
            drop(stream);
            wait_until(|| ALIVE.load(Ordering::SeqCst) == 1);
            assert_eq!(get(first).unwrap().0, 0);
            assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
        }
        drop(source);
        drop(ray);
    });
}

#[test]
fn a_shared_stream_that_fails_goes_on_where_it_was() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let signs = Signs::new();
    let (failed, go_on) = (signs.tally("failed"), signs.gate("go-on"));
    let mut stream = fails_once::remote(AHEAD * 3, AHEAD * 5, failed.clone(), go_on.clone());
    let mut items = Vec::new();
    for _ in 0..AHEAD * 3 {
        items.push(get(stream.next().unwrap()).unwrap());
    }
    go_on.open();
    items.extend(stream.map(|item| get(item).unwrap()));
    assert!(items.into_iter().eq(0..AHEAD * 5));
    assert_eq!(failed.count(), 1);
}

#[test]
fn an_actor_that_is_killed_fails_its_streams() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for source in [Source::remote(0), Source::options().name("s-ended").remote(0)] {
        let mut stream = source.count(u64::MAX);
        assert_eq!(get(stream.next().unwrap()).unwrap().0, 0);
        ray_core::kill(&source, true).unwrap();
        let error = stream.find_map(|item| get(item).err()).unwrap();
        assert!(matches!(error, RayError::ActorDied { .. }), "{error}");
    }
}
