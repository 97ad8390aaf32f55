//! Functions that yield many objects, and functions that return several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::Stream;
use ray_core::{ObjectRef, ObjectRefStream, Ray, RayError, get, remote, runtime_context};

use crate::support::{Gate, Signs, Tally, in_own_process, kill_process, wait_until};

/// How far a producer may be ahead of its consumer.
const AHEAD: usize = 64;

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

#[remote]
fn count(to: u64) -> impl Iterator<Item = u64> {
    0..to
}

#[remote]
fn count_and_tell(to: u64, told: Tally) -> impl Iterator<Item = u64> {
    (0..to).inspect(move |_| {
        told.add();
    })
}

/// A stream without a helper crate: counts, and yields to its runtime before each item.
struct Counting {
    next: u64,
    to: u64,
    rested: bool,
}

impl Stream for Counting {
    type Item = u64;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
        if self.next == self.to {
            return std::task::Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.rested, true) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        self.rested = false;
        self.next += 1;
        std::task::Poll::Ready(Some(self.next - 1))
    }
}

#[remote]
fn count_as_a_stream(to: u64) -> impl Stream<Item = u64> {
    Counting {
        next: 0,
        to,
        rested: false,
    }
}

#[remote]
fn fails_after(number: u64) -> Result<impl Iterator<Item = Result<u64, String>>, String> {
    if number == 0 {
        return Err("refused".to_owned());
    }
    Ok((0..=number).map(move |item| {
        if item == number {
            Err(format!("no item {item}"))
        } else {
            Ok(item)
        }
    }))
}

#[remote]
fn panics_after(number: u64) -> impl Iterator<Item = u64> {
    (0..).inspect(move |item| assert!(*item < number, "item {item} is too much"))
}

/// Kills its worker at this item, once.
#[remote(max_retries = 1)]
fn dies_at(at: u64, to: u64, size: usize, died: Tally, gate: Gate) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..to).map(move |item| {
        if item == at && died.count() == 0 {
            gate.wait();
            died.add();
            kill_process(std::process::id());
            std::thread::park();
        }
        (item, vec![item as u8; size])
    })
}

#[remote]
fn never_ends(begun: Tally, ended: Tally) -> impl Iterator<Item = u64> {
    struct Ends(Tally);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    begun.add();
    let ends = Ends(ended);
    (0..).inspect(move |_| {
        let _alive = &ends;
    })
}

#[remote]
fn seven() -> u32 {
    7
}

#[remote]
fn sums(to: u64) -> u64 {
    // Each item needs a further task, while the producer holds its own place.
    count::remote(to).map(|item| get(&double::remote(&item)).unwrap()).sum()
}

#[remote]
fn double(number: u64) -> u64 {
    2 * number
}

#[remote(num_returns = 3)]
fn three(number: u64) -> (u64, String, Vec<u8>) {
    (number, number.to_string(), vec![7; 300_000])
}

#[remote(num_returns = 2)]
fn fails_twice() -> Result<(u64, u64), String> {
    Err("neither".to_owned())
}

struct Source {
    next: AtomicU64,
}

#[remote]
impl Source {
    fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
        }
    }

    fn take(&self, number: u64) -> impl Iterator<Item = u64> {
        (0..number).map(|_| self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn all<T: serde::de::DeserializeOwned + 'static>(stream: ObjectRefStream<T>) -> Vec<T> {
    stream.map(|item| get(&item).unwrap()).collect()
}

async fn next<T>(stream: &mut ObjectRefStream<T>) -> Option<ObjectRef<T>> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
}

#[test]
fn items_come_one_after_another_in_order_from_functions_and_methods() {
    in_own_process(|| {
        let _ray = session();
        let numbers: Vec<u64> = (0..500).collect();
        assert_eq!(all(count::remote(500)), numbers);
        assert_eq!(all(count_as_a_stream::remote(500)), numbers);
        assert_eq!(all(count::remote(0)), Vec::<u64>::new());
        let source = Source::remote();
        assert_eq!(all(source.take(100)), (1..=100).collect::<Vec<_>>());
        assert_eq!(all(source.take(3)), [101, 102, 103]);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stream = count_as_a_stream::remote(200);
            let mut got = Vec::new();
            while let Some(item) = next(&mut stream).await {
                got.push(item.await.unwrap());
            }
            assert_eq!(got, numbers[..200]);
        });
        assert_eq!(get(&sums::options().num_cpus(2).remote(150)).unwrap(), 150 * 149);
    });
}

#[test]
fn a_producer_is_at_most_so_far_ahead_and_a_dropped_stream_ends_it() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let told = signs.tally("told");
        let mut stream = count_and_tell::remote(1000, told.clone());
        wait_until(|| told.count() == AHEAD);
        std::thread::sleep(Duration::from_millis(50));
        for taken in 0..10 {
            assert!(told.count() <= AHEAD + taken, "{} after {taken}", told.count());
            assert_eq!(get(&stream.next().unwrap()).unwrap(), taken as u64);
        }
        wait_until(|| told.count() == AHEAD + 10);
        drop(stream);

        let (begun, ended) = (signs.tally("begun"), signs.tally("ended"));
        for round in 1..=3 {
            let mut stream = never_ends::remote(begun.clone(), ended.clone());
            stream.next().unwrap();
            drop(stream);
            wait_until(|| ended.count() == round);
        }
        // Dropped before it begins.
        drop(never_ends::remote(begun.clone(), ended.clone()));
        assert_eq!(get(&seven::options().num_cpus(2).remote()).unwrap(), 7);
        wait_until(|| begun.count() == ended.count());
    });
}

#[test]
fn an_error_is_the_last_item() {
    in_own_process(|| {
        let _ray = session();
        let items: Vec<_> = fails_after::remote(5).map(|item| get(&item)).collect();
        assert_eq!(items.len(), 6);
        assert!(
            items[..5]
                .iter()
                .enumerate()
                .all(|(index, item)| *item.as_ref().unwrap() == index as u64)
        );
        assert!(items[5].as_ref().unwrap_err().to_string().contains("no item 5"));

        let refused: Vec<_> = fails_after::remote(0).map(|item| get(&item)).collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].as_ref().unwrap_err().to_string().contains("refused"));

        let panicked: Vec<_> = panics_after::remote(70).map(|item| get(&item)).collect();
        assert_eq!(panicked.len(), 71);
        let error = panicked[70].as_ref().unwrap_err();
        let RayError::TaskFailed { failure } = error else {
            panic!("{error}")
        };
        assert!(
            failure.panic_location.as_deref().unwrap().contains("streams.rs"),
            "{error}"
        );

        let infeasible: Vec<_> = count::options().num_cpus(99).remote(5).map(|item| get(&item)).collect();
        assert_eq!(infeasible.len(), 1);
        assert!(matches!(infeasible[0], Err(RayError::Unschedulable { .. })));
    });
}

#[test]
fn a_worker_that_dies_in_mid_stream_neither_loses_nor_doubles_an_item() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        // Small items in the reply and large ones in the store; dying before, at, and far beyond the room ahead.
        for (size, at) in [(8, 0), (8, 10), (8, 64), (8, 300), (200_000, 100)] {
            let name = format!("{size} {at}");
            let (died, gate) = (signs.tally(&name), signs.gate(&format!("gate {name}")));
            let mut stream = dies_at::remote(at, 400, size, died.clone(), gate.clone());
            let mut got = Vec::new();
            for _ in 0..at {
                got.push(get(&stream.next().unwrap()).unwrap());
            }
            gate.open();
            got.extend(stream.map(|item| get(&item).unwrap()));
            let numbers: Vec<u64> = got.iter().map(|(item, _)| *item).collect();
            assert_eq!(numbers, (0..400).collect::<Vec<_>>());
            assert!(got.iter().all(|(item, bytes)| *bytes == vec![*item as u8; size]));
            assert_eq!(died.count(), 1);
        }
        let (died, gate) = (signs.tally("once"), signs.gate("once open"));
        let mut stream = dies_at::options().max_retries(0).remote(10, 20, 8, died, gate.clone());
        let mut items: Vec<_> = stream.by_ref().take(10).map(|item| get(&item)).collect();
        // Not before: what has not left its process dies with it.
        gate.open();
        items.extend(stream.map(|item| get(&item)));
        assert_eq!(items.len(), 11);
        let error = items[10].as_ref().unwrap_err();
        assert!(matches!(error, RayError::WorkerCrashed { .. }), "{error}");
    });
}

#[test]
fn whoever_reads_a_stream_when_the_session_ends_is_told() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let (died, gate) = (signs.tally("died"), signs.gate("never"));
        let mut stream = dies_at::remote(0, 1, 8, died, gate);
        let reader = std::thread::spawn(move || stream.next().map(|item| get(&item)));
        std::thread::sleep(Duration::from_millis(100));
        ray.shutdown();
        let error = reader.join().unwrap().unwrap().unwrap_err();
        assert!(matches!(error, RayError::SessionEnded {}), "{error}");
        assert!(runtime_context().is_err());
    });
}

#[test]
fn several_results_are_references_of_their_own() {
    in_own_process(|| {
        let _ray = session();
        let (number, text, bytes) = three::remote(5);
        assert_eq!(
            get((&number, &text, &bytes)).unwrap(),
            (5, "5".to_owned(), vec![7; 300_000])
        );
        let (number, _, bytes) = three::remote(&number);
        assert_eq!(get(&double::remote(&number)).unwrap(), 10);
        assert_eq!(get(&bytes).unwrap().len(), 300_000);
        let (first, second) = fails_twice::remote();
        assert!(get(&first).unwrap_err().to_string().contains("neither"));
        assert!(get(&second).unwrap_err().to_string().contains("neither"));
    });
}
