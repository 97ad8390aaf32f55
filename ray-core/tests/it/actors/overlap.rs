//! Which calls of an actor run at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use ray_core::{RayError, get, remote};

use crate::support::{Gate, Signs, Watchdog, wait_until};

#[derive(Default)]
struct Meeting {
    present: AtomicUsize,
    most: AtomicUsize,
}

#[remote(concurrency_groups(few = 1, io = 2))]
impl Meeting {
    fn new() -> Self {
        Self::default()
    }

    /// Returns when so many are here at once.
    fn meet(&self, wanted: usize) -> usize {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        wait_until(|| self.most.load(Ordering::SeqCst) >= wanted);
        self.present.fetch_sub(1, Ordering::SeqCst);
        present
    }

    async fn meet_async(&self, wanted: usize) {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        while self.most.load(Ordering::SeqCst) < wanted {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.present.fetch_sub(1, Ordering::SeqCst);
    }

    /// Stays for a while, and says how many were here at most.
    fn stay(&self) -> usize {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
        self.present.fetch_sub(1, Ordering::SeqCst);
        present
    }

    /// Whether nobody else is here.
    fn alone(&mut self) -> bool {
        let present = self.present.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(1));
        self.present.fetch_sub(1, Ordering::SeqCst);
        present == 0
    }

    #[method(concurrency_group = "few")]
    fn in_few(&self, until: Gate) {
        until.wait();
    }

    fn present(&self) -> usize {
        self.present.load(Ordering::SeqCst)
    }
}

#[test]
fn shared_calls_overlap() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let meeting = Meeting::options().max_concurrency(4).remote();
    let calls: Vec<_> = (0..4).map(|_| meeting.meet(4)).collect();
    get(&calls).unwrap();
}

#[test]
fn an_exclusive_call_is_alone() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let meeting = Meeting::options().max_concurrency(8).remote();
    let mut alone = Vec::new();
    for _ in 0..20 {
        (0..4).for_each(|_| drop(meeting.stay()));
        alone.push(meeting.alone());
    }
    assert_eq!(get(&alone).unwrap(), vec![true; 20]);
}

#[test]
fn a_thousand_async_calls_overlap() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let meeting = Meeting::remote();
    let calls: Vec<_> = (0..1000).map(|_| meeting.meet_async(1000)).collect();
    get(&calls).unwrap();
}

#[test]
fn max_concurrency_bounds_calls_of_both_kinds() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let meeting = Meeting::options().max_concurrency(2).remote();
    let calls: Vec<_> = (0..20).map(|_| meeting.stay()).collect();
    assert!(get(&calls).unwrap().into_iter().all(|present| present <= 2));
}

#[test]
fn a_full_group_leaves_the_others_their_slots() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let meeting = Meeting::remote();
    let gate = signs.gate("go");
    let held = meeting.in_few(gate.clone());
    let waiting = meeting.in_few(gate.clone());
    get(&meeting.present()).unwrap();
    // By default such a call counts to no group; here it is put into the full one.
    let behind = meeting.options().concurrency_group("few").present();
    let beside = meeting.options().concurrency_group("io").present();
    get(&beside).unwrap();
    let looked = ray_core::get_timeout(&behind, std::time::Duration::ZERO);
    assert!(matches!(looked, Err(RayError::GetTimeout { .. })));
    gate.open();
    get((&held, &waiting)).unwrap();
    get(&behind).unwrap();
}

#[test]
fn a_group_that_the_actor_lacks_is_an_error_that_names_those_it_has() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let meeting = Meeting::remote();
    let error = get(&meeting.options().concurrency_group("many").present()).unwrap_err();
    assert!(matches!(error, RayError::InvalidOption { .. }), "{error}");
    assert!(error.to_string().contains("few"), "{error}");
}
