//! A node that lives by itself (`ray start`), and drivers that come and go.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use ray_core::value::Buffer;
use ray_core::{Lifetime, ObjectRef, Ray, RayError, get, list_workers, put, remote};

use crate::support::{Signs, in_own_process, is_gone, kill_process, object_memory, skip, wait_until};

#[remote]
fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

#[remote]
fn double(numbers: Buffer) -> Buffer {
    let doubled: Vec<u8> = numbers.iter().map(|number| number.wrapping_mul(2)).collect();
    doubled.into()
}

#[remote(max_retries = 0)]
fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

#[remote]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Prints more than a socket holds, once it may.
#[remote]
fn chatter(directory: String) {
    let directory = Path::new(&directory);
    std::fs::write(directory.join("begun"), "").unwrap();
    wait_until(|| directory.join("go").exists());
    for line in 0..80_000 {
        println!("{line:0100}");
    }
    std::fs::write(directory.join("printed"), "").unwrap();
}

#[remote]
fn make_counter() -> CounterHandle {
    Counter::remote()
}

#[remote]
fn total_len(a: Buffer, b: Buffer, c: Buffer) -> usize {
    a.len() + b.len() + c.len()
}

/// It has created one actor itself, and one in a task.
struct Keeper(Vec<CounterHandle>);

#[remote]
impl Keeper {
    fn new() -> Self {
        Self(vec![Counter::remote(), get(&make_counter::remote()).unwrap()])
    }

    fn next(&self) -> Vec<u64> {
        get(&self.0.iter().map(CounterHandle::next).collect::<Vec<_>>()).unwrap()
    }
}

struct Counter(u64);

#[remote]
impl Counter {
    fn new() -> Self {
        Self(0)
    }

    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn sum(&self, numbers: Buffer) -> u64 {
        numbers.iter().map(|number| u64::from(*number)).sum()
    }

    fn sum_within(&self, parts: Vec<ObjectRef<Buffer>>) -> u64 {
        let parts = get(&parts).unwrap();
        parts
            .iter()
            .flat_map(|part| part.iter())
            .map(|number| u64::from(*number))
            .sum()
    }

    fn repeat(&self, number: u8) -> Buffer {
        vec![number; 1 << 20].into()
    }

    fn keep(&self, numbers: Buffer) -> ObjectRef<Buffer> {
        put(&numbers).unwrap()
    }

    fn large(&self) -> Buffer {
        vec![7; 24 << 20].into()
    }

    #[method(num_returns = 3)]
    fn three_large(&self) -> (Buffer, Buffer, Buffer) {
        (self.large(), self.large(), self.large())
    }
}

fn ray(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ray")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// A node of this test's own, which ends with this value.
struct Node;

impl Node {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        let arguments = [
            "start",
            "--head",
            "--port",
            "0",
            "--num-cpus",
            "2",
            "--object-store-memory",
            "67108864",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray"));
        let started = command
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert!(started.status.success(), "{}", text(&started));
        Self
    }

    fn status() -> String {
        let status = ray(&["status"]);
        assert!(status.status.success(), "{}", text(&status));
        text(&status)
    }

    /// Nothing runs there and nothing is taken.
    fn is_idle() -> bool {
        let status = Self::status();
        let processes = status
            .lines()
            .skip_while(|line| !line.contains("serves"))
            .skip(1)
            .take_while(|line| !line.is_empty())
            .count();
        processes == 0 && status.contains("CPU     0 of 2 in use") && status.contains("0 drivers")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been stopped by the test. Killed, it leaves what the next one removes.
        ray(if std::thread::panicking() {
            &["stop", "--force"]
        } else {
            &["stop"]
        });
    }
}

fn join() -> Ray {
    Ray::builder().address("auto").log_to_driver(false).init().unwrap()
}

/// Joins where the further drivers name their actors.
fn join_all_others() -> Ray {
    let builder = Ray::builder().address("auto").namespace("shared by all");
    builder.log_to_driver(false).init().unwrap()
}

/// A further driver: this test binary, as a program of its own that does what it is told line by line.
struct Driver {
    process: Child,
    orders: ChildStdin,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "node::a_driver_that_does_what_it_is_told",
                "--exact",
                "--nocapture",
                "--include-ignored",
            ])
            .env("RAY_ADDRESS", "auto")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            process,
            orders,
            answers,
        }
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        let answers = self.answers.by_ref().map_while(Result::ok);
        let mut answers = answers.filter_map(|line| Some(line.split_once("ANSWER ")?.1.to_owned()));
        answers.next().unwrap()
    }

    /// Its session ends as it should.
    fn end(mut self) {
        self.order("end");
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
#[ignore = "only a part of other tests"]
fn a_driver_that_does_what_it_is_told() {
    if std::env::var_os("RAY_ADDRESS").is_none() {
        return skip("an order");
    }
    let ray = Ray::builder().namespace("shared by all").init().unwrap();
    let mut kept: Vec<ObjectRef<()>> = Vec::new();
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let answer = match order.as_str() {
            _ if order.starts_with("chatter ") => {
                kept.push(chatter::remote(order.replace("chatter ", "")));
                "begun".to_owned()
            }
            "keep" => {
                let counter = Counter::options().name("the driver's").remote();
                let keeper = Keeper::options().name("keeper").lifetime(Lifetime::Detached).remote();
                let numbers = get(&keeper.next()).unwrap();
                let own = get(&counter.next()).unwrap();
                format!("{own} {numbers:?}")
            }
            "work" => {
                let numbers = put(&Buffer::from(vec![21u8; 3 << 20])).unwrap();
                let doubled: Vec<ObjectRef<Buffer>> = (0..20).map(|_| double::remote(&numbers)).collect();
                let right = get(&doubled)
                    .unwrap()
                    .iter()
                    .all(|buffer| buffer.iter().all(|byte| *byte == 42));
                format!("{right}")
            }
            "detach" => {
                let counter = Counter::options().name("counter").lifetime(Lifetime::Detached).remote();
                format!("{}", get(&counter.next()).unwrap())
            }
            "hang" => {
                kept.extend((0..8).map(|_| sleep_for_ever::remote()));
                let pids: Vec<u32> = list_workers().unwrap().iter().map(|worker| worker.pid).collect();
                format!("{}", pids.len())
            }
            _ => break,
        };
        println!("ANSWER {answer}");
    }
    drop(ray);
    println!("ANSWER ended");
}

#[test]
fn a_driver_joins_uses_the_node_and_leaves_it_as_it_was() {
    in_own_process(|| {
        let _node = Node::start();
        for _ in 0..2 {
            let session = join();
            let parents = get(&(0..4).map(|_| parent::remote()).collect::<Vec<_>>()).unwrap();
            let own = std::process::id();
            assert!(
                parents.iter().all(|parent| *parent != own && *parent == parents[0]),
                "{parents:?}"
            );
            let numbers = put(&Buffer::from(vec![4u8; 5 << 20])).unwrap();
            assert!(get(&double::remote(&numbers)).unwrap().iter().all(|byte| *byte == 8));
            let counter = Counter::remote();
            assert_eq!(get(&[counter.next(), counter.next()].to_vec()).unwrap(), [1, 2]);
            assert!(Node::status().contains("1 driver,"));
            drop(session);
            wait_until(Node::is_idle);
        }
        let stopped = ray(&["stop"]);
        assert!(stopped.status.success(), "{}", text(&stopped));
        let gone = join_error();
        assert!(gone.contains("ray start --head"), "{gone}");
    });
}

fn join_error() -> String {
    match Ray::builder().address("auto").init() {
        Err(error @ RayError::Start { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_drivers_at_once_each_have_a_job_of_their_own() {
    in_own_process(|| {
        let _node = Node::start();
        let mut drivers = [Driver::start(), Driver::start()];
        for _ in 0..2 {
            assert!(drivers.iter_mut().all(|driver| driver.order("work") == "true"));
        }
        let [one, mut other] = drivers;
        one.end();
        assert_eq!(other.order("work"), "true");
        other.end();
        wait_until(Node::is_idle);
    });
}

#[test]
fn a_detached_actor_outlives_its_driver_and_another_program_calls_it() {
    in_own_process(|| {
        let _node = Node::start();
        let mut driver = Driver::start();
        assert_eq!(driver.order("detach"), "1");
        driver.end();
        let session = join_all_others();
        let counter = CounterHandle::get("counter").unwrap();
        assert_eq!(get(&counter.next()).unwrap(), 2);
        // Each job has its own part of the store; large values come all the same, as arguments, inside others, as results.
        let large = put(&Buffer::from(vec![1u8; 1 << 20])).unwrap();
        assert_eq!(get(&counter.sum(&large)).unwrap(), 1 << 20);
        assert_eq!(get(&counter.sum(Buffer::from(vec![2u8; 1 << 20]))).unwrap(), 2 << 20);
        assert_eq!(get(&counter.sum_within(vec![large.clone(), large])).unwrap(), 2 << 20);
        let repeated = get(&counter.repeat(3)).unwrap();
        assert!(repeated.len() == 1 << 20 && repeated.iter().all(|byte| *byte == 3));
        let kept = get(&counter.keep(Buffer::from(vec![5u8; 1 << 20]))).unwrap();
        assert!(get(&kept).unwrap().iter().all(|byte| *byte == 5));
        let pid = get(&counter.pid()).unwrap();
        // It comes back although its program has ended.
        ray_core::kill(&counter, true).unwrap();
        wait_until(|| is_gone(pid));
        drop(counter);
        drop(session);
        wait_until(Node::is_idle);
    });
}

#[test]
fn what_a_detached_actor_has_created_outlives_the_driver_and_ends_with_it() {
    in_own_process(|| {
        let _node = Node::start();
        let mut driver = Driver::start();
        assert_eq!(driver.order("keep"), "1 [1, 1]");
        driver.end();
        let session = join_all_others();
        let of_driver = || CounterHandle::get("the driver's");
        wait_until(|| matches!(of_driver(), Err(RayError::ActorNotFound { .. })));
        let keeper = KeeperHandle::get("keeper").unwrap();
        assert_eq!(get(&keeper.next()).unwrap(), [2, 2]);
        ray_core::kill(&keeper, true).unwrap();
        drop(keeper);
        drop(session);
        wait_until(Node::is_idle);
    });
}

#[test]
fn values_between_two_jobs_that_fit_no_frame_together_are_a_typed_error() {
    in_own_process(|| {
        let _node = Node::start();
        let mut driver = Driver::start();
        assert_eq!(driver.order("detach"), "1");
        driver.end();
        let session = join_all_others();
        let counter = CounterHandle::get("counter").unwrap();
        let (one, _, _) = counter.three_large();
        let error = get(&one).unwrap_err();
        assert!(
            matches!(&error, RayError::Unsupported { why, .. } if why.contains("return fewer")),
            "{error}"
        );
        // Each comes for itself, and two go on together, but not three.
        let parts = [counter.large(), counter.large(), counter.large()];
        assert!(get(&parts.to_vec()).unwrap().iter().all(|part| part.len() == 24 << 20));
        let error = get(&total_len::remote(&parts[0], &parts[1], &parts[2])).unwrap_err();
        assert!(
            matches!(&error, RayError::Unsupported { why, .. } if why.contains("put()")),
            "{error}"
        );
        let small = Buffer::from(vec![1u8]);
        let two = total_len::remote(&parts[0], &parts[1], small);
        assert_eq!(get(&two).unwrap(), (48 << 20) + 1);
        ray_core::kill(&counter, true).unwrap();
        drop((counter, parts));
        drop(session);
        wait_until(Node::is_idle);
    });
}

#[test]
fn a_node_ends_although_a_driver_is_stopped_and_takes_no_output() {
    in_own_process(|| {
        let _node = Node::start();
        let signs = Signs::new();
        let mut driver = Driver::start();
        let directory = signs.path("").display().to_string();
        assert_eq!(driver.order(&format!("chatter {directory}")), "begun");
        wait_until(|| signs.path("begun").exists());
        let process = rustix::process::Pid::from_child(&driver.process);
        rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
        std::fs::write(signs.path("go"), "").unwrap();
        wait_until(|| signs.path("printed").exists());
        let stopped = ray(&["stop"]);
        assert!(stopped.status.success(), "{}", text(&stopped));
        driver.process.kill().unwrap();
        driver.process.wait().unwrap();
    });
}

#[test]
fn the_memory_of_a_program_that_only_uses_a_node_is_not_the_nodes() {
    in_own_process(|| {
        // Its store has 64 MiB of it.
        let _node = Node::start_with(&[("RAY_MEMORY_LIMIT", "402653184")]);
        let session = join();
        let own = vec![1u8; 512 << 20];
        // Twice as long as the memory is looked at in turns of a quarter of a second.
        get(&pause::options().max_retries(0).remote(Duration::from_millis(500))).unwrap();
        assert_eq!(std::hint::black_box(own)[4096], 1);
        drop(session);
    });
}

#[test]
fn a_driver_that_is_killed_leaves_nothing_running_and_nothing_taken() {
    in_own_process(|| {
        let _node = Node::start();
        let mut driver = Driver::start();
        assert_eq!(driver.order("work"), "true");
        driver.order("hang");
        wait_until(|| Node::status().contains("CPU     2 of 2 in use"));
        kill_process(driver.process.id());
        driver.process.wait().unwrap();
        wait_until(Node::is_idle);
        let session = join();
        assert_eq!(get(&parent::remote()).unwrap(), get(&parent::remote()).unwrap());
        drop(session);
    });
}

#[test]
fn a_node_that_is_killed_is_a_typed_error_and_another_one_takes_its_place() {
    in_own_process(|| {
        let _node = Node::start();
        let session = join();
        let node = get(&parent::remote()).unwrap();
        let waits = sleep_for_ever::remote();
        kill_process(node);
        let error = get(&waits).unwrap_err();
        assert!(matches!(error, RayError::Disconnected { .. }), "{error:?}");
        drop(session);
        // The kernel takes a moment to close what a killed process had open.
        wait_until(|| text(&ray(&["status"])).contains("ray start --head"));
        assert_eq!(ray(&["status"]).status.code(), Some(1));
        let _next = Node::start();
        let session = join();
        assert_ne!(get(&parent::remote()).unwrap(), node);
        drop(session);
        assert!(ray(&["stop"]).status.success());
        wait_until(|| object_memory().is_empty());
    });
}

#[test]
fn what_cannot_be_is_said_and_how_it_can() {
    in_own_process(|| {
        let refused = |args: &[&str], says: &str| {
            let output = ray(args);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
            assert!(text(&output).contains(says), "{args:?}: {}", text(&output));
        };
        refused(&["stop"], "no node runs on this machine");
        refused(&["start"], "--head");
        refused(&["start", "--head", "--resources", "[1]"], "JSON object");
        let mine = Ray::builder()
            .address("auto")
            .num_cpus(4)
            .resource("license", 1.0)
            .init();
        let error = mine.unwrap_err().to_string();
        assert!(
            error.contains("RAY0004")
                && error.contains("`num_cpus`, resource `license`")
                && error.contains("ray start"),
            "{error}"
        );
        let _node = Node::start();
        refused(&["start", "--head"], "runs on this machine already");
        let error = Ray::builder().address("10.0.0.1:6379").init().unwrap_err();
        assert!(error.to_string().contains("`auto`"), "{error}");
    });
}
