//! Several nodes, each a process of its own with its own session directory and object store, joined over TCP.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use ray_core::ids::NodeId;
use ray_core::value::Buffer;
use ray_core::{
    Bundle, NodeSummary, ObjectRef, PlacementStrategy, Ray, RayError, cluster_resources, get, get_timeout, list_nodes,
    placement_group, put, remote, runtime_context,
};
use tempfile::TempDir;

use crate::support::{Gate, Signs, Tally, in_own_process, is_gone, kill_process, wait_until};

const MIB: usize = 1 << 20;
/// Longer than any test may take: the watchdog comes first.
const LONG: Duration = Duration::from_secs(600);

fn here() -> NodeId {
    runtime_context().unwrap().node_id()
}

#[remote]
fn where_am_i() -> NodeId {
    here()
}

#[remote]
fn add_one(numbers: Buffer) -> (NodeId, Buffer) {
    let added: Vec<u8> = numbers.iter().map(|number| number.wrapping_add(1)).collect();
    (here(), added.into())
}

/// Where it ran, and where a task ran that it has started for what another node has.
#[remote]
fn nested(resource: String) -> (NodeId, NodeId) {
    (
        here(),
        get(where_am_i::options().resource(resource, 1.0).remote()).unwrap(),
    )
}

#[remote(num_cpus = 0)]
fn hold(started: Tally, gate: Gate) -> NodeId {
    started.add();
    gate.wait();
    here()
}

struct Counter(u64);

#[remote]
impl Counter {
    fn new(start: u64) -> Self {
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn node(&self) -> NodeId {
        here()
    }

    fn keep(&self, numbers: Buffer) -> ObjectRef<Buffer> {
        put(&numbers).unwrap()
    }
}

#[remote]
fn call(counter: CounterHandle) -> u64 {
    get(counter.next()).unwrap()
}

/// A cluster of this test's own: its nodes end with it.
struct Cluster {
    directory: TempDir,
    address: String,
    nodes: Vec<PathBuf>,
}

impl Cluster {
    /// A head of one CPU, which has the resource `head`. It is the node that this process joins.
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("rn-").tempdir_in("/tmp").unwrap();
        let mut cluster = Self {
            directory,
            address: String::new(),
            nodes: vec![PathBuf::from(std::env::var_os("RAY_TMPDIR").unwrap())],
        };
        let started = cluster.ray(
            0,
            &[
                "start",
                "--head",
                "--port",
                "0",
                "--num-cpus",
                "1",
                "--resources",
                r#"{"head": 4}"#,
            ],
        );
        let said = text(&started);
        assert!(started.status.success(), "{said}");
        let address = said.split("--address ").nth(1).unwrap();
        cluster.address = address.split('`').next().unwrap().to_owned();
        cluster
    }

    /// A further node of one CPU, which has this resource.
    fn add(&mut self, resource: &str) -> usize {
        let number = self.nodes.len();
        self.nodes.push(self.directory.path().join(number.to_string()));
        let resources = format!(r#"{{"{resource}": 4}}"#);
        let arguments = [
            "start",
            "--address",
            &self.address,
            "--num-cpus",
            "1",
            "--resources",
            &resources,
        ];
        let started = self.ray(number, &arguments);
        assert!(started.status.success(), "{}", text(&started));
        number
    }

    fn ray(&self, node: usize, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray"));
        command.args(arguments).env("RAY_TMPDIR", &self.nodes[node]);
        command.env("RAY_AUTH_TOKEN_PATH", self.directory.path().join("token"));
        command.output().unwrap()
    }

    /// Joins the head's node.
    fn join(&self) -> Ray {
        Ray::builder().address("auto").log_to_driver(false).init().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let how: &[&str] = if std::thread::panicking() {
            &["stop", "--force"]
        } else {
            &["stop"]
        };
        // Some have ended already.
        for node in (0..self.nodes.len()).rev() {
            self.ray(node, how);
        }
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The node that has this resource.
fn node_with(resource: &str) -> NodeSummary {
    let mut nodes = list_nodes().unwrap().into_iter();
    nodes.find(|node| node.resources.contains_key(resource)).unwrap()
}

#[test]
fn tasks_run_on_whichever_node_has_what_they_need_and_values_go_there_and_back() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("two");
        let two = node_with("two").id;
        assert_ne!(two, here());
        assert_eq!(cluster_resources().unwrap()["CPU"], 2.0);

        let numbers = put(&Buffer::from(vec![7; 3 * MIB])).unwrap();
        let there = || add_one::options().resource("two", 1.0);
        for round in 0..3 {
            let (node, added) = get(there().remote(&numbers)).unwrap();
            assert_eq!(node, two, "round {round}");
            assert!(added.len() == 3 * MIB && added.iter().all(|number| *number == 8));
        }
        // A result that stays there is an argument there and here.
        let once = there().remote(&numbers);
        let (_, once) = get(&once).unwrap();
        let twice = [there().remote(once.clone()), add_one::remote(once)];
        for twice in get(twice.to_vec()).unwrap() {
            assert!(twice.1.iter().all(|number| *number == 9));
        }
        // From there, what only the head has.
        let (ran, child) = get(nested::options().resource("two", 1.0).remote("head")).unwrap();
        assert_eq!((ran, child), (two, here()));

        // With both CPUs taken, whatever comes free serves.
        let all: Vec<_> = (0..200).map(|_| where_am_i::remote()).collect();
        let all = get(&all).unwrap();
        assert!(all.iter().all(|node| *node == two || *node == here()));
        let impossible = where_am_i::options().resource("nowhere", 1.0).remote();
        assert!(matches!(get(&impossible), Err(RayError::Unschedulable { .. })));
        drop(ray);
    });
}

#[test]
fn actors_live_on_other_nodes_and_are_called_from_everywhere() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("two");
        let two = node_with("two").id;
        let counter = Counter::options().resource("two", 1.0).remote(10);
        assert_eq!(get(counter.node()).unwrap(), two);
        let numbers: Vec<_> = (0..50).map(|_| counter.next()).collect();
        assert_eq!(get(&numbers).unwrap(), (11..=60).collect::<Vec<u64>>());
        // By a task here, and by one there.
        assert_eq!(
            get(call::options().resource("head", 1.0).remote(counter.clone())).unwrap(),
            61
        );
        assert_eq!(
            get(call::options().resource("two", 1.0).remote(counter.clone())).unwrap(),
            62
        );
        // What it owns is read here.
        let kept = get(counter.keep(Buffer::from(vec![5; 2 * MIB]))).unwrap();
        assert!(get(&kept).unwrap().iter().all(|number| *number == 5));
        drop((kept, counter));

        let named = Counter::options().name("far").resource("two", 1.0).remote(0);
        assert_eq!(get(named.next()).unwrap(), 1);
        let found = CounterHandle::get("far").unwrap();
        assert_eq!(get(found.next()).unwrap(), 2);
        drop((named, found));
        drop(ray);
    });
}

#[test]
fn a_node_that_is_killed_loses_no_work() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("pool");
        let first = node_with("pool");
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("go on"));
        let hold = || hold::options().resource("pool", 1.0);
        let retried: Vec<_> = (0..2).map(|_| hold().remote(started.clone(), gate.clone())).collect();
        let not_retried = hold().max_retries(0).remote(started.clone(), gate.clone());
        let counter = Counter::options().resource("pool", 1.0).max_restarts(1).remote(10);
        assert_eq!(get(counter.node()).unwrap(), first.id);
        wait_until(|| started.count() == 3);

        cluster.add("pool");
        wait_until(|| list_nodes().unwrap().len() == 3);
        kill_process(first.pid);
        let error = get_timeout(&not_retried, LONG).unwrap_err();
        assert!(matches!(error, RayError::WorkerCrashed { .. }), "{error:?}");
        assert!(error.to_string().contains("node"), "{error}");
        gate.open();
        let ran = get(&retried).unwrap();
        assert!(ran[0] != first.id && ran[0] == ran[1] && ran[0] != here(), "{ran:?}");
        // The actor is restarted where there is room.
        wait_until(|| get(counter.node()).is_ok_and(|node| node == ran[0]));
        assert_eq!(get(counter.next()).unwrap(), 11);
        let nodes = list_nodes().unwrap();
        let dead: Vec<_> = nodes.iter().filter(|node| node.death.is_some()).collect();
        assert!(dead.len() == 1 && dead[0].id == first.id, "{nodes:?}");
        drop((retried, not_retried, counter, ray));
    });
}

#[test]
fn a_node_that_stands_still_is_dead_and_ends_itself_when_it_goes_on() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("still");
        let still = node_with("still");
        let signs = Signs::new();
        let (started, gate) = (signs.tally("started"), signs.gate("go on"));
        let held = hold::options().resource("still", 1.0).max_retries(0);
        let held = held.remote(started.clone(), gate.clone());
        wait_until(|| started.count() == 1);
        let pid = rustix::process::Pid::from_raw(still.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        assert!(matches!(get(&held), Err(RayError::WorkerCrashed { .. })));
        wait_until(|| node_with("still").death.is_some());
        let why = node_with("still").death.unwrap();
        assert!(why.contains("no sign of life"), "{why}");
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        wait_until(|| is_gone(still.pid));
        drop((held, ray));
    });
}

#[test]
fn a_node_without_the_token_is_refused_and_nodes_end_with_their_head() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let two = cluster.add("two");
        let pid = {
            let _ray = cluster.join();
            node_with("two").pid
        };
        let status = text(&cluster.ray(two, &["status"]));
        assert!(status.contains("nodes: 2 alive, 0 dead"), "{status}");
        let token = text(&cluster.ray(0, &["get-auth-token"]));
        assert_eq!(token.trim().len(), 64);

        let third = cluster.directory.path().join("3");
        let refused = Command::new(env!("CARGO_BIN_EXE_ray"))
            .args(["start", "--address", &cluster.address])
            .env("RAY_TMPDIR", &third)
            .env("RAY_AUTH_TOKEN", "another-token-of-some-length")
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused);
        assert!(said.contains("token") && said.contains("ray get-auth-token"), "{said}");
        assert!(!said.contains("another-token-of-some-length"), "{said}");
        // A node that is no head cannot be joined, and one that is nowhere neither.
        let address = {
            let _ray = cluster.join();
            node_with("two").address
        };
        cluster.nodes.push(third);
        let said = text(&cluster.ray(2, &["start", "--address", &address]));
        assert!(said.contains("not the head"), "{said}");
        let said = text(&cluster.ray(2, &["start", "--address", "127.0.0.1:1"]));
        assert!(said.contains("127.0.0.1:1 cannot be reached"), "{said}");

        let head: u32 = {
            let _ray = cluster.join();
            node_with("head").pid
        };
        kill_process(head);
        wait_until(|| is_gone(pid));
        // The next one removes what the killed one has left.
        wait_until(|| text(&cluster.ray(0, &["status"])).contains("ray start --head"));
        let next = cluster.ray(0, &["start", "--head", "--port", "0"]);
        assert!(next.status.success(), "{}", text(&next));
    });
}

#[test]
fn bundles_of_one_group_lie_on_several_nodes() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("two");
        wait_until(|| list_nodes().unwrap().len() == 2);
        let bundle = || Bundle::new().num_cpus(1);
        let group = placement_group([bundle(), bundle()], PlacementStrategy::StrictSpread).unwrap();
        assert!(group.wait(LONG).unwrap());
        let in_bundle = |index| {
            where_am_i::options()
                .placement_group(&group)
                .bundle_index(index)
                .remote()
        };
        let nodes = get(&[in_bundle(0), in_bundle(1)]).unwrap();
        assert_ne!(nodes[0], nodes[1]);
        for (index, node) in (0..).zip(&nodes) {
            let counter = Counter::options()
                .num_cpus(1)
                .placement_group(&group)
                .bundle_index(index)
                .remote(0);
            assert_eq!(get(counter.node()).unwrap(), *node);
        }
        drop((group, ray));
    });
}

#[test]
fn a_group_whose_node_dies_is_placed_anew_and_many_actors_spread_over_the_nodes() {
    in_own_process(|| {
        let mut cluster = Cluster::start();
        let ray = cluster.join();
        cluster.add("first");
        cluster.add("second");
        wait_until(|| list_nodes().unwrap().len() == 3);
        // Created in one moment, each has a CPU of its own.
        let counters: Vec<_> = (0..3).map(|_| Counter::options().num_cpus(1).remote(0)).collect();
        let calls: Vec<_> = counters.iter().map(CounterHandle::node).collect();
        let mut nodes = get(&calls).unwrap();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), 3);
        drop((calls, counters));

        let bundle = || Bundle::new().num_cpus(1);
        let group = placement_group([bundle(), bundle()], PlacementStrategy::StrictSpread).unwrap();
        assert!(group.wait(LONG).unwrap());
        let in_bundle = |index| {
            where_am_i::options()
                .placement_group(&group)
                .bundle_index(index)
                .remote()
        };
        let before = get(&[in_bundle(0), in_bundle(1)]).unwrap();
        let lost = list_nodes().unwrap();
        let lost = lost
            .iter()
            .find(|node| before.contains(&node.id) && !node.is_head)
            .unwrap();
        kill_process(lost.pid);
        wait_until(|| list_nodes().unwrap().iter().any(|node| node.death.is_some()));
        let after = get(&[in_bundle(0), in_bundle(1)]).unwrap();
        assert!(
            after[0] != after[1] && !after.contains(&lost.id),
            "{before:?} {after:?}"
        );
        // More than a bundle holds is refused, wherever the bundles are.
        let large = where_am_i::options().num_cpus(2).placement_group(&group).remote();
        assert!(matches!(get(&large), Err(RayError::Unschedulable { .. })));
        drop((group, ray));
    });
}
