//! What an actor takes of its node.

use ray_core::{Ray, RayError, get, get_timeout, remote};

use super::Counter;
use crate::support::{Signs, Tally, Watchdog, in_own_process};

#[remote]
fn note(runs: Tally) {
    runs.add();
}

#[test]
fn an_actor_that_no_node_can_hold_says_what_is_short() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let counter = Counter::options().resource("unobtainium", 1).remote(0);
    let error = get(&counter.add(1)).unwrap_err();
    assert!(matches!(error, RayError::Unschedulable { .. }), "{error}");
    assert!(error.to_string().contains("unobtainium"), "{error}");
}

#[test]
fn an_actor_with_a_cpu_holds_it_and_one_without_a_number_does_not() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).init().unwrap();
        let signs = Signs::new();
        let runs = signs.tally("runs");
        let idle: Vec<_> = (0..3).map(Counter::remote).collect();
        for counter in &idle {
            get(&counter.add(1)).unwrap();
        }
        get(&note::remote(runs.clone())).unwrap();
        let holder = Counter::options().num_cpus(1).remote(0);
        get(&holder.add(1)).unwrap();
        let waiting = note::remote(runs.clone());
        for _ in 0..10 {
            get(&holder.add(1)).unwrap();
        }
        let looked = get_timeout(&waiting, std::time::Duration::ZERO);
        assert!(matches!(looked, Err(RayError::GetTimeout { .. })));
        drop(holder);
        get(&waiting).unwrap();
        assert_eq!(runs.count(), 2);
    });
}
