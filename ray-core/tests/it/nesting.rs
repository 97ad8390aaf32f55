//! Tasks that wait for tasks, and who gets the resources of the node.

use std::collections::HashSet;
use std::time::Duration;

use ray_core::{ObjectRef, Ray, RayError, get, get_async, get_timeout, remote, runtime_context, wait, wait_async};

use crate::support::{Gate, Signs, Tally, in_own_process, wait_until};

fn session(cpus: u32) -> Ray {
    Ray::builder().num_cpus(cpus).log_to_driver(false).init().unwrap()
}

#[remote]
fn down(depth: u32) -> u32 {
    if depth == 0 {
        0
    } else {
        get(&down::remote(depth - 1)).unwrap() + 1
    }
}

#[remote]
async fn down_async(depth: u32) -> u32 {
    match depth % 3 {
        _ if depth == 0 => 0,
        0 if depth.is_multiple_of(2) => get(&down_async::remote(depth - 1)).unwrap() + 1,
        0 => down_async::remote(depth - 1).await.unwrap() + 1,
        1 => get_async(&down_async::remote(depth - 1)).await.unwrap() + 1,
        _ => {
            let (ready, _) = wait_async(vec![down_async::remote(depth - 1)], 1, None).await.unwrap();
            get_async(&ready[0]).await.unwrap() + 1
        }
    }
}

/// The number of nodes of a tree.
#[remote]
fn tree(depth: u32, fan_out: u32) -> u32 {
    if depth == 0 {
        return 1;
    }
    let mut open: Vec<_> = (0..fan_out).map(|_| tree::remote(depth - 1, fan_out)).collect();
    let mut sum = 1;
    while !open.is_empty() {
        let (ready, rest) = wait(open, 1, None).unwrap();
        sum += get(&ready[0]).unwrap();
        open = rest;
    }
    sum
}

/// Returns a reference to a task of its own, which its caller resolves.
#[remote]
fn hands_out(depth: u32) -> Vec<ObjectRef<u32>> {
    vec![down::remote(depth)]
}

#[remote]
fn seven() -> u32 {
    7
}

#[remote]
fn pid() -> u32 {
    std::process::id()
}

#[remote(max_calls = 3)]
fn retiring_pid() -> u32 {
    std::process::id()
}

#[remote]
fn hold(entered: Tally, gate: Gate) {
    entered.add();
    gate.wait();
}

#[test]
fn tasks_nest_deeper_than_there_are_cpus() {
    in_own_process(|| {
        for cpus in [1, 2] {
            let _ray = session(cpus);
            assert_eq!(get(&down::remote(20)).unwrap(), 20);
            assert_eq!(get(&down_async::remote(20)).unwrap(), 20);
            assert_eq!(get(&tree::remote(3, 3)).unwrap(), 40);
            let several: Vec<_> = (0..4).map(|_| down::remote(4)).collect();
            assert_eq!(get(&several).unwrap(), [4; 4]);
            let inner = get(&hands_out::remote(3)).unwrap();
            assert_eq!(get(&inner).unwrap(), [3]);
        }
    });
}

#[test]
fn a_task_of_no_cpu_runs_beside_those_that_hold_all_and_a_node_of_none_runs_only_such() {
    in_own_process(|| {
        let signs = Signs::new();
        {
            let _ray = session(1);
            let (entered, gate) = (signs.tally("entered"), signs.gate("gate"));
            let holds = hold::remote(entered.clone(), gate.clone());
            wait_until(|| entered.count() == 1);
            assert_eq!(get(&seven::options().num_cpus(0).remote()).unwrap(), 7);
            gate.open();
            get(&holds).unwrap();
        }
        let _ray = session(0);
        assert_eq!(get(&seven::options().num_cpus(0).remote()).unwrap(), 7);
        let error = get(&seven::remote()).unwrap_err();
        assert!(matches!(error, RayError::Unschedulable { .. }), "{error}");
    });
}

#[test]
fn what_no_node_can_ever_run_is_told_with_what_is_short() {
    in_own_process(|| {
        let _ray = Ray::builder()
            .num_cpus(2)
            .resource("licence", 1.0)
            .log_to_driver(false)
            .init()
            .unwrap();
        let requests = [
            (seven::options().num_cpus(3).remote(), "CPU"),
            (seven::options().resource("licence", 1.5).remote(), "licence"),
            (seven::options().resource("unheard-of", 1.0).remote(), "unheard-of"),
            (seven::options().num_gpus(64).remote(), "GPU"),
        ];
        for (reference, short) in requests {
            let error = get(&reference).unwrap_err();
            assert!(matches!(error, RayError::Unschedulable { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(short) && text.contains("seven"), "{text}");
        }
        assert_eq!(
            get(&seven::options().num_cpus(2).resource("licence", 1.0).remote()).unwrap(),
            7
        );
    });
}

#[remote(num_cpus = 0)]
fn alone(running: Tally, gone: Tally) -> bool {
    let first = running.add() == gone.count() + 1;
    std::thread::sleep(std::time::Duration::from_millis(2));
    let still = running.count() == gone.count() + 1;
    gone.add();
    first && still
}

#[test]
fn no_more_tasks_hold_a_resource_than_there_is_of_it() {
    in_own_process(|| {
        let _ray = Ray::builder()
            .num_cpus(2)
            .resource("one", 1.0)
            .log_to_driver(false)
            .init()
            .unwrap();
        let signs = Signs::new();
        let (running, gone) = (signs.tally("running"), signs.tally("gone"));
        let many: Vec<_> = (0..100)
            .map(|number| {
                let share = if number % 2 == 0 { 1.0 } else { 0.51 };
                alone::options()
                    .resource("one", share)
                    .remote(running.clone(), gone.clone())
            })
            .collect();
        assert!(get(&many).unwrap().into_iter().all(|alone| alone));
        assert_eq!((running.count(), gone.count()), (100, 100));
        let assigned = get(&assigned::options().resource("one", 0.5).remote()).unwrap();
        assert_eq!(assigned, [("CPU".to_owned(), 1.0), ("one".to_owned(), 0.5)].into());
    });
}

#[remote]
fn assigned() -> std::collections::BTreeMap<String, f64> {
    runtime_context().unwrap().assigned_resources()
}

/// Keeps tasks in line for as long as the gate is shut, and tells when it began.
#[remote(num_cpus = 0)]
fn floods(begun: Gate, stop: Gate) -> u32 {
    let mut open = Vec::new();
    let mut done = 0;
    while !stop.is_open() {
        while open.len() < 50 {
            open.push(seven::remote());
        }
        let (ready, rest) = wait(open, 1, None).unwrap();
        done += ready.len() as u32;
        open = rest;
        begun.open();
    }
    done
}

#[test]
fn neither_another_shape_nor_another_owner_starves() {
    in_own_process(|| {
        let _ray = session(1);
        let signs = Signs::new();
        let stop = signs.gate("stop");
        let begun: Vec<Gate> = (0..2).map(|number| signs.gate(&format!("begun {number}"))).collect();
        let floods: Vec<_> = begun
            .iter()
            .map(|begun| floods::remote(begun.clone(), stop.clone()))
            .collect();
        begun.iter().for_each(Gate::wait);
        for _ in 0..5 {
            // The driver's own tasks, in shapes of their own, come to their turn.
            assert_eq!(get(&seven::remote()).unwrap(), 7);
            assert_eq!(get(&seven::options().num_cpus(0.5).remote()).unwrap(), 7);
            assert_eq!(get(&seven::options().resource("memory", 1.0).remote()).unwrap_or(7), 7);
        }
        stop.open();
        assert!(get(&floods).unwrap().into_iter().all(|done| done > 0));
    });
}

#[test]
fn a_large_request_gets_its_turn_while_small_ones_keep_coming() {
    in_own_process(|| {
        let _ray = session(2);
        let signs = Signs::new();
        let (begun, stop) = (signs.gate("begun"), signs.gate("stop"));
        let flood = floods::remote(begun.clone(), stop.clone());
        begun.wait();
        assert_eq!(get(&seven::options().num_cpus(2).remote()).unwrap(), 7);
        stop.open();
        assert!(get(&flood).unwrap() > 0);
    });
}

#[test]
fn a_worker_is_used_again_and_retires_after_its_calls() {
    in_own_process(|| {
        let _ray = session(1);
        let reused: HashSet<u32> = (0..20).map(|_| get(&pid::remote()).unwrap()).collect();
        assert_eq!(reused.len(), 1);
        let pids: Vec<u32> = (0..9).map(|_| get(&retiring_pid::remote()).unwrap()).collect();
        let different: HashSet<u32> = pids.iter().copied().collect();
        assert_eq!(different.len(), 3, "{pids:?}");
        assert!(
            pids.chunks(3).all(|three| three.iter().all(|pid| *pid == three[0])),
            "{pids:?}"
        );
        let at_once: Vec<_> = (0..30).map(|_| retiring_pid::remote()).collect();
        let pids = get(&at_once).unwrap();
        for pid in &pids {
            assert!(pids.iter().filter(|other| *other == pid).count() <= 3, "{pids:?}");
        }
    });
}

/// Ends at once; a thread that it leaves behind waits for one more task.
#[remote]
fn leaves_a_waiting_thread(done: Gate) {
    std::thread::spawn(move || {
        if get(&down::remote(2)).unwrap() == 2 {
            done.open();
        }
    });
}

#[test]
fn a_thread_that_waits_in_the_background_keeps_no_task_from_its_worker() {
    in_own_process(|| {
        let _ray = session(1);
        let signs = Signs::new();
        for round in 0..5 {
            let done = signs.gate(&format!("done{round}"));
            get(&leaves_a_waiting_thread::remote(done.clone())).unwrap();
            done.wait();
        }
        assert_eq!(get(&down::remote(1)).unwrap(), 1);
    });
}

/// Waits for the others, is one of these, or only takes its time.
#[remote]
fn take_part(part: u8, here: Tally, _held: Vec<ObjectRef<u32>>) {
    match part {
        0 => {}
        1 => wait_until(|| here.count() == 2),
        2 => drop(here.add()),
        _ => std::thread::sleep(Duration::from_millis(20)),
    }
}

#[test]
fn a_task_does_not_wait_behind_a_long_one_while_a_cpu_is_free() {
    in_own_process(|| {
        let _ray = session(2);
        let signs = Signs::new();
        let seven = seven::remote();
        for held in [Vec::new(), vec![seven]] {
            let here = signs.tally(&held.len().to_string());
            let take_part = |part: u8| take_part::remote(part, here.clone(), held.clone());
            // So short that several are sent to a worker at a time.
            for _ in 0..5 {
                get(&(0..100).map(|_| take_part(0)).collect::<Vec<_>>()).unwrap();
            }
            // Each worker gets one that takes long, and one that the first of them waits for.
            let parts = [1, 3, 2, 2].map(take_part);
            get_timeout(&parts, Duration::from_secs(60)).unwrap();
        }
    });
}
