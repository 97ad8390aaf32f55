//! Queues between tasks, actors and the driver.

use std::time::Duration;

use ray_core::util::Queue;
use ray_core::value::Buffer;
use ray_core::{ActorOptions, ObjectRef, Ray, RayError, get, init_or_join, put, remote};

use crate::support::{Signs, Tally, Watchdog, in_own_process, wait_until};

#[remote(num_cpus = 0)]
fn produce(queue: Queue<u64>, numbers: Vec<u64>) -> Result<(), RayError> {
    numbers.iter().try_for_each(|number| queue.put(number))
}

#[remote(num_cpus = 0)]
fn consume(queue: Queue<u64>, number: usize) -> Result<Vec<u64>, RayError> {
    (0..number).map(|_| queue.get()).collect()
}

#[remote(num_cpus = 0)]
async fn consume_later(queue: Queue<u64>, number: usize) -> Result<u64, RayError> {
    let mut sum = 0;
    for _ in 0..number {
        sum += queue.get_async(None).await?;
    }
    Ok(sum)
}

#[remote(num_cpus = 0)]
fn wait_at(queue: Queue<u64>, arrived: Tally) -> Result<u64, RayError> {
    arrived.add();
    queue.get()
}

#[remote(num_cpus = 0)]
fn put_reference(queue: Queue<ObjectRef<String>>, text: String) -> Result<(), RayError> {
    queue.put(&put(text.as_str())?)
}

#[remote(num_cpus = 0)]
fn pass_on(queue: Queue<(String, Queue<u64>)>) -> Result<u64, RayError> {
    let (text, inner) = queue.get()?;
    inner.put(&(text.len() as u64))?;
    Ok(inner.qsize()? as u64)
}

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

#[test]
fn items_come_in_the_order_in_which_they_were_put() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::new(0);
    for number in 0..100_u64 {
        queue.put(&number).unwrap();
    }
    assert_eq!(
        (
            queue.qsize().unwrap(),
            queue.is_empty().unwrap(),
            queue.is_full().unwrap()
        ),
        (100, false, false)
    );
    assert_eq!(queue.get().unwrap(), 0);
    assert_eq!(queue.get_nowait().unwrap(), 1);
    assert_eq!(queue.get_timeout(Duration::from_secs(100)).unwrap(), 2);
    assert_eq!(queue.get_nowait_batch(97).unwrap(), (3..100).collect::<Vec<_>>());
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_full_queue_says_so_and_waits_for_room_where_it_may() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::new(2);
    queue.put_nowait_batch(&[1_u64, 2]).unwrap();
    assert!(queue.is_full().unwrap() && queue.maxsize() == 2);
    for full in [
        queue.put_nowait(&3),
        queue.put_timeout(&3, Duration::from_millis(20)),
        queue.put_nowait_batch(&[3]),
    ] {
        match full.unwrap_err() {
            RayError::QueueFull { held, maxsize, given } => assert_eq!((held, maxsize, given), (2, 2, 1)),
            other => panic!("{other}"),
        }
    }
    let produced = produce::remote(&queue, vec![3, 4, 5]);
    let received: Vec<u64> = (0..5).map(|_| queue.get().unwrap()).collect();
    assert_eq!(received, [1, 2, 3, 4, 5]);
    get(&produced).unwrap();
}

#[test]
fn a_batch_is_put_and_taken_whole_or_not_at_all() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::new(4);
    queue.put_nowait_batch(&[1_u64, 2]).unwrap();
    assert!(matches!(
        queue.put_nowait_batch(&[3, 4, 5]),
        Err(RayError::QueueFull { held: 2, given: 3, .. })
    ));
    assert!(matches!(
        queue.get_nowait_batch(3),
        Err(RayError::QueueEmpty { held: 2, wanted: 3 })
    ));
    assert_eq!(queue.qsize().unwrap(), 2);
    queue.put_nowait_batch(&[3, 4]).unwrap();
    assert_eq!(queue.get_nowait_batch(4).unwrap(), [1, 2, 3, 4]);
    assert_eq!(queue.get_nowait_batch(0).unwrap(), [0; 0]);
}

#[test]
fn an_empty_queue_says_so_and_waits_for_an_item_where_it_may() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::<u64>::new(3);
    for empty in [queue.get_nowait(), queue.get_timeout(Duration::from_millis(20))] {
        assert!(
            matches!(empty, Err(RayError::QueueEmpty { held: 0, wanted: 1 })),
            "{empty:?}"
        );
    }
    // More items than fit pass between two tasks that wait for each other.
    let consumed = consume::remote(&queue, 20);
    let produced = produce::remote(&queue, (0..20).collect::<Vec<u64>>());
    assert_eq!(get(&consumed).unwrap(), (0..20).collect::<Vec<_>>());
    get(&produced).unwrap();
}

#[test]
fn many_waiting_getters_do_not_keep_a_putter_out() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::<u64>::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // As many as may wait at once, and some more, which wait for those.
    let sum: u64 = runtime.block_on(async {
        let getters: Vec<_> = (0..1100)
            .map(|_| {
                let queue = queue.clone();
                async move { queue.get_async(None).await.unwrap() }
            })
            .map(Box::pin)
            .collect();
        let putter = async {
            for number in 0..1100 {
                queue.put_async(&number, None).await.unwrap();
            }
        };
        let getters = join_all(getters);
        let ((), received) = tokio::join!(putter, getters);
        received.into_iter().sum()
    });
    assert_eq!(sum, 1099 * 1100 / 2);
}

async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut ended: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, ended) in futures.iter_mut().zip(&mut ended) {
            if ended.is_none()
                && let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(cx)
            {
                *ended = Some(output);
            }
        }
        if ended.iter().all(Option::is_some) {
            std::task::Poll::Ready(ended.iter_mut().filter_map(Option::take).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

#[test]
fn a_queue_is_awaited_in_tasks_and_on_a_single_thread() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let queue = Queue::<u64>::new(1);
    let consumers: Vec<_> = (0..2).map(|_| consume_later::remote(&queue, 5)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for number in 1..=10 {
            queue.put_async(&number, None).await.unwrap();
        }
        let limit = Some(Duration::from_millis(20));
        let (mut sums, mut waiting) = (0, consumers.into_iter());
        sums += waiting.next().unwrap().await.unwrap();
        sums += waiting.next().unwrap().await.unwrap();
        assert_eq!(sums, 55);
        assert!(matches!(queue.get_async(limit).await, Err(RayError::QueueEmpty { .. })));
        queue.put_async(&1, limit).await.unwrap();
        assert!(matches!(
            queue.put_async(&2, limit).await,
            Err(RayError::QueueFull { .. })
        ));
    });
}

#[test]
fn references_queues_and_large_items_travel_through_a_queue() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    // The reference's task has ended, and nobody but the queue holds the object.
    let references = Queue::new(0);
    get(&put_reference::remote(&references, "kept")).unwrap();
    assert_eq!(get(&references.get().unwrap()).unwrap(), "kept");

    let (outer, inner) = (Queue::new(0), Queue::<u64>::new(0));
    let passed = pass_on::remote(&outer);
    outer.put(&("seven..".to_owned(), inner.clone())).unwrap();
    assert_eq!(get(&passed).unwrap(), 1);
    assert_eq!(inner.get().unwrap(), 7);

    let large = Queue::new(0);
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for _ in 0..3 {
        large.put(&Buffer::from(bytes.clone())).unwrap();
    }
    for _ in 0..3 {
        assert!(large.get().unwrap().as_slice() == bytes);
    }
}

#[test]
fn a_shutdown_is_told_to_those_who_wait_and_to_all_clones() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        for force in [false, true] {
            let queue = Queue::<u64>::new(1);
            let arrived = signs.tally(if force { "by force" } else { "in peace" });
            let waiting: Vec<_> = (0..2).map(|_| wait_at::remote(&queue, arrived.clone())).collect();
            wait_until(|| arrived.count() == 2);
            let clone = queue.clone();
            queue.shutdown(force).unwrap();
            for waiting in waiting {
                let error = get(&waiting).unwrap_err();
                let text = error.to_string();
                assert!(text.contains("RAY0007"), "{text}");
            }
            for used in [clone.put(&1), clone.get().map(drop), clone.qsize().map(drop)] {
                assert!(matches!(used, Err(RayError::ActorDied { .. })), "{used:?}");
            }
            clone.shutdown(force).unwrap();
        }
    });
}

#[test]
fn a_queue_takes_the_options_of_an_actor() {
    in_own_process(|| {
        let _ray = session();
        let options = ActorOptions {
            name: Some("jobs".into()),
            num_cpus: Some(1.0),
            ..ActorOptions::default()
        };
        let queue = Queue::with_options(1, options);
        queue.put(&7_u64).unwrap();
        assert!(matches!(queue.put_nowait(&8), Err(RayError::QueueFull { .. })));
        let actors = ray_core::list_actors().unwrap();
        assert_eq!(
            actors.iter().map(|actor| actor.name.as_deref()).collect::<Vec<_>>(),
            [Some("jobs")]
        );
        wait_until(|| ray_core::available_resources().unwrap()["CPU"] == 1.0);
        drop(queue);
        wait_until(|| ray_core::available_resources().unwrap()["CPU"] == 2.0);
    });
}

#[test]
fn a_named_queue_is_found_again() {
    in_own_process(|| {
        let _ray = session();
        let named = || {
            let options = ActorOptions {
                name: Some("jobs".into()),
                get_if_exists: true,
                ..ActorOptions::default()
            };
            Queue::<u64>::with_options(1, options)
        };
        let queue = named();
        queue.put(&7).unwrap();
        let same = named();
        assert!(matches!(same.put_nowait(&8), Err(RayError::QueueFull { .. })));
        assert_eq!(same.get().unwrap(), 7);
        assert!(queue.is_empty().unwrap());
    });
}

#[test]
fn a_queue_ends_with_its_last_handle() {
    in_own_process(|| {
        let _ray = session();
        for number in 0..10 {
            let queue = Queue::new(0);
            queue.put(&number).unwrap();
            drop(queue);
        }
        let is_dead = |actor: &ray_core::ActorSummary| actor.state == "DEAD";
        wait_until(|| ray_core::list_actors().unwrap().iter().all(is_dead));
        assert_eq!(ray_core::list_actors().unwrap().len(), 10);
    });
}

#[test]
fn an_item_of_another_type_is_an_error_that_names_it() {
    let _watchdog = Watchdog::start();
    let _ray = init_or_join().unwrap();
    let numbers = Queue::<u64>::new(0);
    numbers.put(&1).unwrap();
    // A put value is typed by whoever reads it.
    let raw = put(&numbers).unwrap().into_raw();
    let texts = get(&ObjectRef::<Queue<String>>::from_raw(raw)).unwrap();
    let error = texts.get().unwrap_err();
    assert!(
        matches!(&error, RayError::Decode { ty, .. } if ty.contains("String")),
        "{error}"
    );
}
