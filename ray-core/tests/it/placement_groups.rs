//! Placement groups on one node: what is set aside, what runs where, and how groups end.

use std::time::Duration;

use ray_core::{
    ActorOptions, Bundle, Isolation, ObjectRef, PlacementGroup, PlacementStrategy, Ray, RayError, available_resources,
    current_placement_group, get, get_placement_group, kill, list_actors, placement_group, placement_group_table,
    remote, remove_placement_group, runtime_context,
};

use crate::support::{Gate, Signs, Tally, in_own_process, kill_process, wait_until};

/// Longer than any test may take: the watchdog comes first.
const LONG: Duration = Duration::from_secs(600);

#[remote]
fn group_of_task() -> Option<String> {
    runtime_context().unwrap().placement_group_id().map(|id| id.to_string())
}

#[remote]
fn hold(started: Tally, gate: Gate) -> u32 {
    started.add();
    gate.wait();
    std::process::id()
}

#[remote(num_cpus = 0)]
fn wait_for(group: PlacementGroup) -> Result<bool, RayError> {
    group.wait(LONG)
}

#[remote(num_cpus = 0)]
fn children(how: u8) -> Result<(bool, Option<String>), RayError> {
    let child = match how {
        0 => group_of_task::remote(),
        1 => group_of_task::options().name("child").num_cpus(0.5).remote(),
        2 => return get(Member::remote().group()).map(|group| (true, group)),
        _ => group_of_task::options()
            .scheduling_strategy(ray_core::SchedulingStrategy::Spread)
            .remote(),
    };
    Ok((runtime_context()?.captures_child_tasks(), get(child)?))
}

#[remote(num_cpus = 0)]
fn make_group(name: String) -> Result<PlacementGroup, RayError> {
    PlacementGroup::options()
        .name(name)
        .create([one_cpu()], PlacementStrategy::Pack)
}

struct Member;

#[remote]
impl Member {
    fn new() -> Self {
        Self
    }

    fn group(&self) -> Option<String> {
        let current = current_placement_group().unwrap();
        let id = runtime_context().unwrap().placement_group_id();
        assert_eq!(current.map(|group| group.id()), id);
        id.map(|id| id.to_string())
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn make_group(&self, detached: bool) -> Result<PlacementGroup, RayError> {
        let options = PlacementGroup::options();
        let options = if detached { options.detached() } else { options };
        options.create([one_cpu()], PlacementStrategy::Pack)
    }
}

fn session() -> Ray {
    Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap()
}

fn one_cpu() -> Bundle {
    Bundle::new().num_cpus(1)
}

fn cpus() -> f64 {
    available_resources().unwrap().get("CPU").copied().unwrap_or_default()
}

fn ready(group: &PlacementGroup) {
    assert!(group.wait(LONG).unwrap(), "{group:?}");
}

/// How a group stands, in words.
fn state_of(group: &PlacementGroup) -> (&'static str, String) {
    let table = placement_group_table().unwrap();
    let found = table.into_iter().find(|summary| summary.id == group.id());
    found.map_or(("GONE", String::new()), |found| {
        (found.state, found.why.unwrap_or_default())
    })
}

fn is_group_error<T: std::fmt::Debug>(result: Result<T, RayError>, group: &PlacementGroup) {
    match result {
        Err(RayError::PlacementGroup { group: named, .. }) => assert_eq!(named, group.id().to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_sets_its_bundles_aside_and_gives_them_back() {
    in_own_process(|| {
        let _ray = session();
        for strategy in [
            PlacementStrategy::Pack,
            PlacementStrategy::StrictPack,
            PlacementStrategy::Spread,
        ] {
            let group = placement_group([one_cpu(), one_cpu()], strategy).unwrap();
            get(group.ready()).unwrap();
            assert_eq!((cpus(), state_of(&group).0), (0.0, "CREATED"));
            assert_eq!(group.bundle_specs(), [one_cpu(), one_cpu()]);
            // There is room in the group, and nowhere else.
            let within = group_of_task::options().placement_group(&group).remote();
            assert_eq!(get(within).unwrap(), Some(group.id().to_string()));
            let outside = group_of_task::remote();
            let late = ray_core::get_timeout(&outside, Duration::from_millis(100));
            assert!(matches!(late, Err(RayError::GetTimeout { .. })), "{late:?}");
            remove_placement_group(&group).unwrap();
            assert_eq!(get(outside).unwrap(), None);
            wait_until(|| cpus() == 2.0);
            assert_eq!(state_of(&group).0, "GONE");
            remove_placement_group(&group).unwrap();
        }
    });
}

#[test]
fn bundles_bound_what_runs_in_them() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("gate"));
        let group = placement_group([one_cpu(), one_cpu()], PlacementStrategy::Pack).unwrap();
        let held = |index: u32| {
            let options = hold::options().bundle_index(index).placement_group(&group);
            options.remote(started.clone(), gate.clone())
        };
        let (first, second) = (held(0), held(0));
        wait_until(|| started.count() == 1);
        let other = held(1);
        wait_until(|| started.count() == 2);
        // The second of bundle 0 waits although bundle 1 was free.
        let (done, _) = ray_core::wait(vec![second.clone()], 1, Some(Duration::from_millis(100))).unwrap();
        assert!(done.is_empty() && started.count() == 2);
        gate.open();
        let pids = get([&first, &second, &other]).unwrap();
        assert_ne!(pids[0], pids[2]);
        assert_eq!(started.count(), 3);
    });
}

#[test]
fn what_asks_for_a_group_waits_until_it_is_placed() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("gate"));
        let busy = hold::options().num_cpus(2).remote(started.clone(), gate.clone());
        wait_until(|| started.count() == 1);
        let group = placement_group([one_cpu()], PlacementStrategy::StrictPack).unwrap();
        let task = group_of_task::options().placement_group(&group).remote();
        let actor = Member::options()
            .num_cpus(0)
            .placement_group(&group)
            .bundle_index(0)
            .remote();
        let of_actor = actor.group();
        let elsewhere = wait_for::remote(&group);
        assert!(!group.wait(Duration::from_millis(100)).unwrap());
        assert_eq!(state_of(&group).0, "PENDING");
        let (done, _) = ray_core::wait(vec![task.clone(), of_actor.clone()], 1, Some(Duration::ZERO)).unwrap();
        assert!(done.is_empty());
        gate.open();
        get(busy).unwrap();
        ready(&group);
        assert!(get(elsewhere).unwrap());
        let id = Some(group.id().to_string());
        assert_eq!(get((task, of_actor)).unwrap(), (id.clone(), id));
    });
}

#[test]
fn a_group_is_awaited_and_found_by_its_name() {
    in_own_process(|| {
        let _ray = session();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let group = runtime.block_on(async {
            let options = PlacementGroup::options().name("pair").detached();
            let bundles = [[("CPU", 1.0)], [("CPU", 0.5)]];
            let group = options.create_async(bundles, PlacementStrategy::Pack).await.unwrap();
            group.ready().await.unwrap();
            assert!(group.wait_async(LONG).await.unwrap());
            group
        });
        let found = get_placement_group("pair").unwrap();
        assert_eq!(found, group);
        let summary = &placement_group_table().unwrap()[0];
        assert_eq!(
            (summary.name.as_deref(), summary.strategy.as_str(), summary.nodes.len()),
            (Some("pair"), "PACK", 2)
        );
        assert!(summary.detached);
        let taken = make_group::remote("pair");
        let text = get(taken).unwrap_err().to_string();
        assert!(
            text.contains("`pair`") || text.contains("pair: the name is taken"),
            "{text}"
        );
        runtime.block_on(group.remove_async()).unwrap();
        assert!(matches!(get_placement_group("pair"), Err(RayError::PlacementGroup { group, .. }) if group == "pair"));
        let again = get(make_group::remote("pair")).unwrap();
        assert_eq!(get_placement_group("pair").unwrap(), again);
        // Made in a task: it lasts as long as the job.
        ready(&again);
    });
}

#[test]
fn children_run_in_the_group_only_if_they_are_captured() {
    in_own_process(|| {
        let _ray = session();
        let group = placement_group([one_cpu()], PlacementStrategy::Pack).unwrap();
        let id = Some(group.id().to_string());
        let parent = |capture: bool, how: u8| {
            let options = children::options().placement_group(&group).capture_child_tasks(capture);
            get(options.remote(how)).unwrap()
        };
        for how in [0, 1, 2] {
            assert_eq!(parent(true, how), (true, id.clone()), "{how}");
        }
        assert_eq!(parent(true, 3), (true, None));
        assert_eq!(parent(false, 0), (false, None));
        // The defaults of the function are as they were.
        assert_eq!(get(group_of_task::remote()).unwrap(), None);
        assert_eq!(current_placement_group().unwrap(), None);
    });
}

#[test]
fn what_one_node_can_never_hold_stays_pending_and_says_why() {
    in_own_process(|| {
        let _ray = session();
        let spread = placement_group([one_cpu(), one_cpu()], PlacementStrategy::StrictSpread).unwrap();
        let large = placement_group([Bundle::new().num_cpus(3)], PlacementStrategy::Pack).unwrap();
        let unknown = placement_group([Bundle::new().resource("tape", 1)], PlacementStrategy::Pack).unwrap();
        for (group, word) in [(&spread, "STRICT_SPREAD"), (&large, "CPU"), (&unknown, "tape")] {
            assert!(!group.wait(Duration::from_millis(50)).unwrap());
            let (state, why) = state_of(group);
            assert!(state == "INFEASIBLE" && why.contains(word), "{state}: {why}");
        }
        // They hold nobody up, and nothing.
        assert_eq!(cpus(), 2.0);
        let waiting = group_of_task::options().placement_group(&spread).remote();
        let single = placement_group([one_cpu()], PlacementStrategy::StrictSpread).unwrap();
        ready(&single);
        remove_placement_group(&spread).unwrap();
        is_group_error(get(waiting), &spread);
        is_group_error(get(spread.ready()), &spread);
        is_group_error(spread.wait(LONG), &spread);
    });
}

#[test]
fn bundles_that_make_no_sense_are_refused_with_their_index() {
    in_own_process(|| {
        let _ray = session();
        let refused = |bundles: Vec<Bundle>, words: &str| {
            let error = placement_group(bundles, PlacementStrategy::Pack).unwrap_err();
            assert!(matches!(error, RayError::PlacementGroup { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(Vec::new(), "at least one bundle");
        refused(vec![one_cpu(), Bundle::new()], "bundle 1 is empty");
        refused(vec![one_cpu(), Bundle::new().num_cpus(0)], "bundle 1 is empty");
        refused(vec![Bundle::new().num_cpus(-1.0)], "bundle 0");
        refused(vec![one_cpu(), one_cpu(), Bundle::new().num_gpus(1.5)], "bundle 2");
        assert!(placement_group_table().unwrap().is_empty());
    });
}

#[test]
fn what_no_bundle_can_hold_is_refused() {
    in_own_process(|| {
        let _ray = session();
        let group = placement_group([one_cpu(), one_cpu()], PlacementStrategy::Pack).unwrap();
        let within = |index: u32, cpus: f64| {
            let options = group_of_task::options().placement_group(&group).bundle_index(index);
            get(options.num_cpus(cpus).remote())
        };
        assert_eq!(within(1, 1.0).unwrap(), Some(group.id().to_string()));
        let error = within(2, 1.0).unwrap_err();
        assert!(
            error.to_string().contains("no bundle 2: its bundles are 0 to 1"),
            "{error}"
        );
        for error in [
            within(0, 2.0).unwrap_err(),
            // Together the bundles would do, but a task lies in one.
            get(group_of_task::options().placement_group(&group).num_cpus(2).remote()).unwrap_err(),
        ] {
            assert!(matches!(error, RayError::Unschedulable { .. }), "{error}");
            assert!(error.to_string().contains("no bundle that can ever hold it"), "{error}");
        }
        let actor = Member::options().num_cpus(2).placement_group(&group).remote();
        let error = get(actor.pid()).unwrap_err();
        assert!(error.to_string().contains("no bundle that can ever hold it"), "{error}");
        let actor = Member::options()
            .num_cpus(1)
            .placement_group(&group)
            .bundle_index(7)
            .remote();
        let error = get(actor.pid()).unwrap_err();
        assert!(error.to_string().contains("no bundle 7"), "{error}");
        // Before the group is placed, too.
        let later = placement_group([one_cpu()], PlacementStrategy::Pack).unwrap();
        let options = group_of_task::options().placement_group(&later).bundle_index(1);
        is_group_error(get(options.remote()), &later);
    });
}

#[test]
fn options_without_their_group_are_an_error_that_says_so() {
    in_own_process(|| {
        let _ray = session();
        let error = get(group_of_task::options().bundle_index(0).remote()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`bundle_index` needs the option `placement_group`"),
            "{error}"
        );
        let group = placement_group([one_cpu()], PlacementStrategy::Pack).unwrap();
        let actor = Member::options()
            .isolation(Isolation::Shared)
            .placement_group(&group)
            .remote();
        let error = get(actor.pid()).unwrap_err();
        assert!(error.to_string().contains("placement_group"), "{error}");
    });
}

#[test]
fn removal_ends_what_runs_and_what_waits_in_the_group() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("gate"));
        let group = placement_group([one_cpu(), one_cpu()], PlacementStrategy::Pack).unwrap();
        let actor = Member::options()
            .num_cpus(1)
            .max_restarts(-1)
            .placement_group(&group)
            .remote();
        let pid = get(actor.pid()).unwrap();
        let held = || {
            let options = hold::options().placement_group(&group).max_retries(5);
            options.remote(started.clone(), gate.clone())
        };
        let (running, waiting) = (held(), held());
        wait_until(|| started.count() == 1);
        remove_placement_group(&group).unwrap();
        for task in [running, waiting] {
            is_group_error(get(task), &group);
        }
        assert_eq!(started.count(), 1, "a task of a group that is gone was tried again");
        let error = get(actor.pid()).unwrap_err();
        assert!(matches!(error, RayError::ActorDied { .. }), "{error}");
        assert!(error.to_string().contains("was removed"), "{error}");
        wait_until(|| !std::path::Path::new(&format!("/proc/{pid}")).exists());
        wait_until(|| cpus() == 2.0);
        // Later calls for the group are refused at once.
        let late = group_of_task::options().placement_group(&group).remote();
        is_group_error(get(late), &group);
        assert!(placement_group_table().unwrap().is_empty());
        assert!(list_actors().unwrap().iter().all(|actor| actor.state == "DEAD"));
    });
}

#[test]
fn a_worker_that_dies_in_a_group_is_replaced_in_it() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("gate"));
        let group = placement_group([one_cpu()], PlacementStrategy::Pack).unwrap();
        let actor = Member::options()
            .num_cpus(0)
            .max_restarts(1)
            .placement_group(&group)
            .remote();
        let before = get(actor.pid()).unwrap();
        let running = hold::options()
            .placement_group(&group)
            .remote(started.clone(), gate.clone());
        wait_until(|| started.count() == 1);
        let workers = ray_core::list_workers().unwrap();
        let holder = workers.iter().find(|worker| worker.serves.ends_with("hold")).unwrap();
        kill_process(holder.pid);
        kill_process(before);
        wait_until(|| started.count() == 2);
        gate.open();
        assert_ne!(get(running).unwrap(), holder.pid);
        wait_until(|| get(actor.pid()).is_ok_and(|pid| pid != before));
        assert_eq!(get(actor.group()).unwrap(), Some(group.id().to_string()));
        assert_eq!(cpus(), 1.0);
    });
}

#[test]
fn a_group_ends_with_the_actor_that_made_it_unless_it_is_detached() {
    in_own_process(|| {
        let _ray = session();
        let maker = Member::options().num_cpus(0).remote();
        let groups = get([maker.make_group(false), maker.make_group(true)]).unwrap();
        groups.iter().for_each(ready);
        let running: ObjectRef<u32> = Member::options().num_cpus(0).placement_group(&groups[0]).remote().pid();
        get(&running).unwrap();
        kill(&maker, true).unwrap();
        wait_until(|| state_of(&groups[0]).0 == "GONE");
        is_group_error(groups[0].wait(LONG), &groups[0]);
        assert_eq!(state_of(&groups[1]).0, "CREATED");
        wait_until(|| cpus() == 1.0);
        remove_placement_group(&groups[1]).unwrap();
        wait_until(|| cpus() == 2.0);
    });
}

#[test]
fn groups_are_placed_as_others_leave_and_each_is_whole() {
    in_own_process(|| {
        let _ray = session();
        let groups: Vec<PlacementGroup> = (0..20)
            .map(|number| {
                let bundles = vec![one_cpu(); 1 + number % 2];
                placement_group(bundles, PlacementStrategy::Pack).unwrap()
            })
            .collect();
        let mut open: Vec<_> = groups.iter().map(PlacementGroup::ready).collect();
        let ids: Vec<_> = open.iter().map(ObjectRef::id).collect();
        while !open.is_empty() {
            // In whatever order: a small one may pass a large one.
            let (placed, rest) = ray_core::wait(open, 1, None).unwrap();
            open = rest;
            let number = ids.iter().position(|id| *id == placed[0].id()).unwrap();
            let group = &groups[number];
            assert!(cpus() <= 1.0);
            let task = group_of_task::options().placement_group(group).remote();
            assert_eq!(get(task).unwrap(), Some(group.id().to_string()));
            remove_placement_group(group).unwrap();
        }
        wait_until(|| cpus() == 2.0);
        assert!(placement_group_table().unwrap().is_empty());
    });
}

#[test]
fn the_options_of_an_actor_name_a_group_as_its_builder_does() {
    in_own_process(|| {
        let _ray = session();
        let group = placement_group([one_cpu()], PlacementStrategy::Pack).unwrap();
        let options = ActorOptions {
            scheduling_strategy: (&group).into(),
            ..ActorOptions::default()
        };
        let queue = ray_core::util::Queue::with_options(0, options);
        queue.put(&1_u64).unwrap();
        remove_placement_group(&group).unwrap();
        assert!(matches!(queue.get(), Err(RayError::ActorDied { .. })));
    });
}

#[remote]
fn short(stop: Gate) -> bool {
    std::thread::sleep(Duration::from_millis(2));
    stop.is_open()
}

#[test]
fn a_stream_of_tasks_and_other_groups_do_not_keep_a_group_waiting_for_ever() {
    in_own_process(|| {
        let _ray = session();
        let signs = Signs::new();
        let stop = signs.gate("stop");
        std::thread::scope(|scope| {
            // So many that one is always in line.
            for _ in 0..6 {
                scope.spawn(|| while !get(&short::remote(stop.clone())).unwrap() {});
            }
            let groups = [(); 2].map(|()| placement_group([one_cpu(), one_cpu()], PlacementStrategy::Pack).unwrap());
            // Each needs the whole node, and they are placed one after another, whichever is first.
            let mut waiting: Vec<&PlacementGroup> = groups.iter().collect();
            while !waiting.is_empty() {
                wait_until(|| waiting.iter().any(|group| state_of(group).0 == "CREATED"));
                let (created, others): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|group| state_of(group).0 == "CREATED");
                assert_eq!(created.len(), 1);
                remove_placement_group(created[0]).unwrap();
                waiting = others;
            }
            stop.open();
        });
        wait_until(|| cpus() == 2.0);
    });
}
