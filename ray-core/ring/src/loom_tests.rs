//! Every interleaving of the ring and of the bell: `RUSTFLAGS="--cfg ray_loom" cargo test -p ray-core-ring --lib loom --release`.
//!
//! A lost wake-up shows as a deadlock, which loom reports.

use loom::sync::Mutex;
use loom::thread;

use crate::channel::Channel;
use crate::doorbell::{Doorbell, Rung};
use crate::layout::TINY_LINES;
use crate::record::RecordState;
use crate::sync::{Arc, AtomicU32, Ordering};

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn bell_1_no_wake_up_is_lost_with_one_producer() {
    loom::model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = Arc::new(AtomicU32::new(0));
        let (ringer, post) = (bell.ringer(), Arc::clone(&posted));
        let producer = thread::spawn(move || {
            post.store(1, Ordering::Release);
            ringer.ring();
        });
        while posted.load(Ordering::Acquire) != 1 {
            bell.sleep(None, || posted.load(Ordering::Acquire) == 1);
        }
        producer.join().unwrap();
    });
}

#[test]
fn bell_1_no_wake_up_is_lost_with_two_producers_and_bell_2_each_sleep_costs_at_most_one_call() {
    model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let woken = Arc::new(Mutex::new(0));
        let producers = posted.clone().map(|post| {
            let (ringer, woken) = (bell.ringer(), Arc::clone(&woken));
            thread::spawn(move || {
                post.store(1, Ordering::Release);
                if ringer.ring() == Rung::Woke {
                    *woken.lock().unwrap() += 1;
                }
            })
        });
        let count = || posted.iter().filter(|post| post.load(Ordering::Acquire) == 1).count();
        let (mut seen, mut sleeps) = (0, 0);
        while seen < 2 {
            sleeps += 1;
            bell.sleep(None, || count() > seen);
            seen = count();
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(*woken.lock().unwrap() <= sleeps);
    });
}

#[test]
fn bell_1_no_wake_up_of_a_parked_reactor_is_lost() {
    model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = Arc::new(AtomicU32::new(0));
        let producers = [(); 2].map(|()| {
            let (ringer, post) = (bell.ringer(), Arc::clone(&posted));
            thread::spawn(move || {
                post.fetch_add(1, Ordering::Release);
                ringer.ring();
            })
        });
        while posted.load(Ordering::Acquire) < 2 {
            let seen = posted.load(Ordering::Acquire);
            if seen < 2 && bell.arm(|| posted.load(Ordering::Acquire) > seen) {
                bell.park();
            }
            bell.disarm();
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// Another producer rings before the victim's swap or after it; the news of the death comes last.
fn victim_and_other(bell: &Doorbell, posted: &Arc<AtomicU32>) -> thread::JoinHandle<()> {
    let (victim, ringer, post) = (bell.ringer(), bell.ringer(), Arc::clone(posted));
    let dies = thread::spawn(move || victim.die_while_ringing());
    thread::spawn(move || {
        post.store(1, Ordering::Release);
        ringer.ring();
        dies.join().unwrap();
        ringer.rouse();
    })
}

#[test]
fn bell_4_a_producer_that_dies_while_it_rings_takes_nobody_elses_wake_up_with_it() {
    model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = Arc::new(AtomicU32::new(0));
        let other = victim_and_other(&bell, &posted);
        while posted.load(Ordering::Acquire) != 1 {
            bell.sleep(None, || posted.load(Ordering::Acquire) == 1);
        }
        other.join().unwrap();
    });
}

#[test]
fn bell_4_nor_that_of_a_parked_reactor() {
    model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = Arc::new(AtomicU32::new(0));
        let other = victim_and_other(&bell, &posted);
        while posted.load(Ordering::Acquire) != 1 {
            if bell.arm(|| posted.load(Ordering::Acquire) == 1) {
                bell.park();
            }
            bell.disarm();
        }
        other.join().unwrap();
    });
}

#[test]
fn bell_1_nor_is_one_lost_that_comes_between_a_thread_that_takes_over_and_the_reactor() {
    model(|| {
        let mut bell = Doorbell::on_heap();
        let posted = Arc::new(AtomicU32::new(0));
        let (ringer, post) = (bell.ringer(), Arc::clone(&posted));
        let producer = thread::spawn(move || {
            for _ in 0..2 {
                post.fetch_add(1, Ordering::Release);
                ringer.ring();
            }
        });
        let none = |bell: &mut Doorbell, seen: u32| bell.arm(|| posted.load(Ordering::Acquire) > seen);
        // The reactor is announced, a thread takes over and drains, and announces it again.
        let _armed = none(&mut bell, posted.load(Ordering::Acquire));
        bell.take_over();
        while posted.load(Ordering::Acquire) < 2 {
            let seen = posted.load(Ordering::Acquire);
            if seen < 2 && none(&mut bell, seen) {
                bell.park();
            }
            bell.disarm();
        }
        producer.join().unwrap();
    });
}

#[test]
fn rec_2_a_frame_is_either_taken_or_revoked_and_whole() {
    model(|| {
        let (mut owner, mut worker) = Channel::on_heap(TINY_LINES);
        let taker = thread::spawn(move || {
            let mut frames = Vec::new();
            for _ in 0..3 {
                if worker.receiver.pop(|frame| frames.push(frame.to_vec())) != Ok(true) {
                    thread::yield_now();
                }
            }
            (frames, worker)
        });
        let first = owner.sender.try_push(&[b"first frame"]).unwrap();
        let second = owner.sender.try_push(&[b"second"]).unwrap();
        let revoked = owner.sender.revoke(second);
        let (mut frames, mut worker) = taker.join().unwrap();
        while worker.receiver.pop(|frame| frames.push(frame.to_vec())).unwrap() {}
        let expected: Vec<&[u8]> = if revoked {
            vec![b"first frame"]
        } else {
            vec![b"first frame", b"second"]
        };
        assert_eq!(frames, expected);
        assert_eq!(owner.sender.state(first), Ok(RecordState::Finished));
        assert!(owner.sender.is_drained());
    });
}

#[test]
fn rcv_2_lines_are_reused_only_after_they_were_read() {
    model(|| {
        let (mut owner, mut worker) = Channel::on_heap(TINY_LINES);
        for index in 0..3_u8 {
            owner.sender.try_push(&[&[index]]).unwrap();
        }
        let taker = thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..2 {
                worker.receiver.pop(|frame| assert_eq!(frame, [seen])).unwrap();
                seen += 1;
            }
            (worker, seen)
        });
        let mut pushed = 3_u8;
        for _ in 0..3 {
            if owner.sender.try_push(&[&[pushed]]).is_ok() {
                pushed += 1;
            }
        }
        let (mut worker, mut seen) = taker.join().unwrap();
        while worker.receiver.pop(|frame| assert_eq!(frame, [seen])).unwrap() {
            seen += 1;
        }
        assert_eq!(seen, pushed);
    });
}

#[test]
fn a_sender_that_waits_for_room_is_woken() {
    model(|| {
        let (mut owner, mut worker) = Channel::on_heap(TINY_LINES);
        let mut bell = Doorbell::on_heap();
        let ringer = bell.ringer();
        for _ in 0..TINY_LINES {
            owner.sender.try_push(&[b"x"]).unwrap();
        }
        let taker = thread::spawn(move || {
            worker.receiver.pop(|_| ()).unwrap();
            if worker.receiver.frees_a_waiting_sender() {
                ringer.ring();
            }
            worker
        });
        // The first look is the one after the announcement.
        let sender = &owner.sender;
        bell.sleep(None, || sender.has_room(1));
        while !sender.has_room(1) {
            bell.sleep(None, || sender.has_room(1));
        }
        owner.sender.try_push(&[b"y"]).unwrap();
        drop(taker.join().unwrap());
    });
}

#[test]
fn the_last_frame_before_the_end_is_not_lost() {
    model(|| {
        let (mut owner, mut worker) = Channel::on_heap(TINY_LINES);
        let sender = thread::spawn(move || {
            owner.sender.try_push(&[b"last"]).unwrap();
            drop(owner);
        });
        let mut frames = 0;
        loop {
            match worker.receiver.pop(|_| frames += 1) {
                Ok(true) => {}
                Ok(false) => thread::yield_now(),
                Err(error) => {
                    assert_eq!(error, crate::RingError::Closed);
                    break;
                }
            }
        }
        assert_eq!(frames, 1);
        sender.join().unwrap();
    });
}
