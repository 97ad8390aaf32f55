//! Getting and waiting, from threads and from async runtimes, and the beginning and end of sessions.

use std::sync::Arc;
use std::time::Duration;

use ray_core::{
    ObjectRef, Ray, RayError, get, get_async, get_timeout, init, init_or_join, put, remote, runtime_context, wait,
    wait_async,
};

use crate::support::{Gate, Signs, in_own_process, wait_until};

#[remote]
fn square(number: u64) -> u64 {
    number * number
}

#[remote(num_cpus = 0)]
fn hold(gate: Gate, number: u64) -> u64 {
    gate.wait();
    number
}

#[remote(num_cpus = 0)]
async fn hold_async(gate: Gate, number: u64) -> u64 {
    while !gate.is_open() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    number
}

#[remote]
fn fail(text: String) -> Result<u64, String> {
    Err(text)
}

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

fn ids<T>(references: &[ObjectRef<T>]) -> Vec<ray_core::ids::ObjectId> {
    references.iter().map(ObjectRef::id).collect()
}

#[test]
fn many_references_and_tuples_of_them_are_got_in_their_order() {
    in_own_process(|| {
        let _ray = session();
        let many: Vec<_> = (0..1000).map(square::remote).collect();
        let squares: Vec<u64> = (0..1000).map(|number| number * number).collect();
        assert_eq!(get(&many).unwrap(), squares);
        assert_eq!(get(&many[..3]).unwrap(), [0, 1, 4]);
        let text = put("text").unwrap();
        let (two, texts, twice) = get((&many[2], &[text], (&many[3], &many[3]))).unwrap();
        assert_eq!((two, texts, twice), (4, vec!["text".to_owned()], (9, 9)));
        assert_eq!(get(Vec::<ObjectRef<u64>>::new()).unwrap(), Vec::<u64>::new());
    });
}

#[test]
fn a_time_limit_ends_a_get_and_the_task_goes_on() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let gate = signs.gate("gate");
        let (slow, quick) = (hold::remote(gate.clone(), 5), square::remote(2));
        assert_eq!(get(&quick).unwrap(), 4);
        assert_eq!(get_timeout(&quick, Duration::ZERO).unwrap(), 4);
        for limit in [Duration::ZERO, Duration::from_millis(50)] {
            match get_timeout((&quick, &slow), limit).unwrap_err() {
                RayError::GetTimeout { pending, of, waited } => assert_eq!((pending, of, waited), (1, 2, limit)),
                other => panic!("{other}"),
            }
        }
        gate.open();
        assert_eq!(get_timeout(&slow, Duration::from_secs(200)).unwrap(), 5);
    });
}

#[test]
fn the_first_error_wins_without_a_wait_for_those_after_it() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let gate = signs.gate("gate");
        let (slow, quick) = (hold::remote(gate.clone(), 5), square::remote(2));
        let failed = fail::remote("first");
        let text = get(vec![&quick, &failed, &slow]).unwrap_err().to_string();
        assert!(text.contains("first"), "{text}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = runtime
            .block_on(get_async((&quick, &failed, &slow)))
            .unwrap_err()
            .to_string();
        assert!(text.contains("first"), "{text}");
        assert!(get_timeout(&slow, Duration::ZERO).is_err());

        // The failure is there before the value in front of it.
        let front = signs.gate("front");
        let opens = front.clone();
        let awaited = hold::remote(front, 6);
        let opener = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            opens.open();
        });
        let text = get([&awaited, &failed, &slow]).unwrap_err().to_string();
        assert!(text.contains("first"), "{text}");
        opener.join().unwrap();

        gate.open();
        let later = fail::remote("later");
        let text = get([&slow, &failed, &later]).unwrap_err().to_string();
        assert!(text.contains("first"), "{text}");
    });
}

#[test]
fn wait_gives_exactly_as_many_as_asked_for_in_the_order_given() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let gates: Vec<Gate> = (0..4).map(|number| signs.gate(&number.to_string())).collect();
        let open: Vec<_> = (0..)
            .zip(&gates)
            .map(|(number, gate)| hold::remote(gate.clone(), number))
            .collect();
        let all = ids(&open);

        let (ready, rest) = wait(open, 1, Some(Duration::ZERO)).unwrap();
        assert_eq!((ids(&ready), ids(&rest)), (vec![], all.clone()));
        let (ready, rest) = wait(rest, 1, Some(Duration::from_millis(20))).unwrap();
        assert_eq!((ids(&ready), ids(&rest)), (vec![], all.clone()));

        gates[2].open();
        let (ready, rest) = wait(rest, 1, None).unwrap();
        assert_eq!((ids(&ready), ids(&rest)), (vec![all[2]], vec![all[0], all[1], all[3]]));

        // More are ready than asked for: the first of the input, and no more.
        gates.iter().for_each(Gate::open);
        let (done, none) = wait(rest, 3, None).unwrap();
        assert_eq!((ids(&done), none.len()), (vec![all[0], all[1], all[3]], 0));
        let (ready, rest) = wait(done, 2, None).unwrap();
        assert_eq!((ids(&ready), ids(&rest)), (vec![all[0], all[1]], vec![all[3]]));
    });
}

#[test]
fn wait_counts_failures_as_ready_and_refuses_what_makes_no_sense() {
    in_own_process(|| {
        let _ray = session();
        let failed = fail::remote("as told");
        let unscheduled = square::options().num_cpus(-1.0).remote(1);
        let (ready, rest) = wait(vec![failed, unscheduled], 2, None).unwrap();
        assert_eq!((ready.len(), rest.len()), (2, 0));
        assert!(get(&ready[0]).unwrap_err().to_string().contains("as told"));
        assert!(matches!(get(&ready[1]), Err(RayError::InvalidOption { .. })));

        let one = square::remote(1);
        for (references, number) in [
            (vec![one.clone(), one.clone()], 1),
            (vec![one.clone()], 0),
            (vec![one.clone()], 2),
            (vec![], 1),
        ] {
            let error = wait(references, number, None).unwrap_err();
            assert!(matches!(error, RayError::InvalidOption { .. }), "{error}");
        }
    });
}

async fn awaits_everything() {
    let signs = Signs::new();
    let gate = signs.gate("gate");
    assert_eq!(square::remote(3).await.unwrap(), 9);
    let reference = square::remote(4);
    assert_eq!((&reference).await.unwrap(), 16);
    assert_eq!(reference.await.unwrap(), 16);
    let text = fail::remote("awaited").await.unwrap_err().to_string();
    assert!(text.contains("awaited"), "{text}");

    // A future that loses a race or is dropped leaves its task alone.
    let slow = hold::remote(gate.clone(), 5);
    tokio::select! {
        biased;
        value = &slow => panic!("{value:?}"),
        quick = square::remote(5) => assert_eq!(quick.unwrap(), 25),
    }
    let mut dropped = Box::pin(std::future::IntoFuture::into_future(&slow));
    let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(Future::poll(dropped.as_mut(), cx).is_ready())).await;
    assert!(!poll);
    drop(dropped);

    let open = vec![slow.clone(), square::remote(6)];
    let (ready, rest) = wait_async(open, 1, None).await.unwrap();
    assert_eq!((get_async(&ready).await.unwrap(), rest.len()), (vec![36], 1));
    for limit in [Duration::ZERO, Duration::from_millis(20)] {
        let (ready, _) = wait_async(vec![slow.clone()], 1, Some(limit)).await.unwrap();
        assert_eq!(ready.len(), 0);
    }
    gate.open();
    let (first, second) = tokio::join!(get_async((&slow, square::remote(7))), async { (&slow).await });
    assert_eq!((first.unwrap(), second.unwrap()), ((5, 49), 5));
}

#[test]
fn references_are_awaited_on_runtimes_of_any_kind() {
    in_own_process(|| {
        let _ray = session();
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        single.block_on(awaits_everything());
        let many = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        many.block_on(awaits_everything());
        many.block_on(async { tokio::spawn(awaits_everything()).await.unwrap() });
    });
}

#[test]
fn a_call_that_blocks_is_refused_on_a_current_thread_runtime_and_moves_aside_on_another() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let (gate, blocked) = (signs.gate("gate"), signs.gate("blocked"));
        let slow = hold::remote(gate.clone(), 5);
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        single.block_on(async {
            assert!(matches!(get(&slow), Err(RayError::BlockingInAsync { .. })));
            assert!(matches!(
                wait(vec![slow.clone()], 1, None),
                Err(RayError::BlockingInAsync { .. })
            ));
        });
        let many = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        many.block_on(async {
            let (reference, is_blocked) = (slow.clone(), blocked.clone());
            let blocking = tokio::spawn(async move {
                is_blocked.open();
                get(&reference)
            });
            // The only thread of the runtime blocks; this needs it too.
            let opening = tokio::spawn(async move {
                while !blocked.is_open() {
                    tokio::task::yield_now().await;
                }
                gate.open();
            });
            opening.await.unwrap();
            assert_eq!(blocking.await.unwrap().unwrap(), 5);
        });
    });
}

#[test]
fn many_threads_and_futures_get_the_same_reference() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let gate = signs.gate("gate");
        let slow = Arc::new(hold_async::remote(gate.clone(), 5));
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let slow = slow.clone();
                std::thread::spawn(move || match number % 4 {
                    0 => get(&*slow).unwrap(),
                    1 => get((*slow).clone()).unwrap(),
                    2 => get(&wait(vec![(*slow).clone()], 1, None).unwrap().0).unwrap()[0],
                    _ => {
                        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                        runtime.block_on(async { (&*slow).await.unwrap() })
                    }
                })
            })
            .collect();
        gate.open();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 5);
        }
    });
}

#[test]
fn whoever_waits_when_the_session_ends_is_told_and_so_is_who_comes_later() {
    in_own_process(|| {
        let ray = session();
        let signs = Signs::new();
        let gate = signs.gate("never");
        let pending = hold::remote(gate.clone(), 5);
        let done = square::remote(3);
        let stored = put(&vec![1u8; 1 << 20]).unwrap();
        assert_eq!(get(&done).unwrap(), 9);
        let waits_in_get = std::thread::spawn({
            let pending = pending.clone();
            move || get(&pending)
        });
        let waits_in_await = std::thread::spawn({
            let pending = pending.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async { pending.await })
            }
        });
        let waits_in_wait = std::thread::spawn({
            let pending = pending.clone();
            move || wait(vec![pending], 1, None).map(|(ready, _)| ready.len())
        });
        std::thread::sleep(Duration::from_millis(100));
        ray.shutdown();
        let ended = |error: RayError| assert!(matches!(error, RayError::SessionEnded {}), "{error}");
        ended(waits_in_get.join().unwrap().unwrap_err());
        ended(waits_in_await.join().unwrap().unwrap_err());
        if let Err(error) = waits_in_wait.join().unwrap() {
            ended(error);
        }
        ended(get(&pending).unwrap_err());
        ended(get(&done).unwrap_err());
        ended(get(&stored).unwrap_err());
        ended(wait(vec![done.clone()], 1, None).map(drop).unwrap_err());
        ended(ray_core::cancel(&pending).unwrap_err());
        let error = get(&square::remote(&done)).unwrap_err();
        assert!(
            matches!(error, RayError::NotInitialized {} | RayError::SessionEnded {}),
            "{error}"
        );

        // A new session knows nothing of the old references.
        let _ray = session();
        ended(get(&done).unwrap_err());
        ended(get(&square::remote(&done)).unwrap_err());
        assert_eq!(get(&square::remote(3)).unwrap(), 9);
        drop((pending, done, stored));
        assert_eq!(get(&square::remote(4)).unwrap(), 16);
    });
}

#[test]
fn there_is_one_session_at_a_time_and_another_after_it() {
    in_own_process(|| {
        assert!(matches!(get(&square::remote(1)), Err(RayError::NotInitialized {})));
        assert!(matches!(runtime_context(), Err(RayError::NotInitialized {})));
        for number in 0..5 {
            let ray = session();
            assert!(matches!(init(), Err(RayError::AlreadyInitialized {})));
            let further = init_or_join().unwrap();
            assert_eq!(further.session_dir(), ray.session_dir());
            drop(ray);
            assert_eq!(get(&square::remote(number)).unwrap(), number * number);
            further.shutdown();
        }
        let threads: Vec<_> = (0..4)
            .map(|number| {
                std::thread::spawn(move || {
                    for round in 0..5 {
                        let _ray = init_or_join().unwrap();
                        assert_eq!(get(&square::remote(number + round)).unwrap(), (number + round).pow(2));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_session_starts_in_an_async_main_as_well() {
    in_own_process(|| {
        for many in [false, true] {
            let runtime = if many {
                tokio::runtime::Builder::new_multi_thread().enable_all().build()
            } else {
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            runtime.unwrap().block_on(async {
                let ray = session();
                assert_eq!(square::remote(3).await.unwrap(), 9);
                ray.shutdown();
            });
        }
    });
}

#[remote]
fn starts_a_session() -> bool {
    matches!(init(), Err(RayError::AlreadyInitialized {})) && get(&square::remote(2)).unwrap() == 4
}

#[test]
fn a_task_has_its_session_already() {
    in_own_process(|| {
        let _ray = session();
        assert!(get(&starts_a_session::remote()).unwrap());
        wait_until(|| get(&square::remote(2)).is_ok());
    });
}
