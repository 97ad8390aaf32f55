//! Workers that die at each stage of a task's life, and tasks whose own code fails.

use std::time::{Duration, Instant};

use ray_core::process::setup::WORKER_SETUP;
use ray_core::{ObjectRef, Ray, RayError, RetryBackoff, get, put, remote, runtime_context};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Gate, Signs, Tally, in_own_process, kill_process, wait_until, workers};

/// A way to die.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Death {
    Exit,
    Abort,
    Kill,
    Overflow,
    Panic,
}

/// Those that end the process.
const OF_THE_PROCESS: [Death; 4] = [Death::Exit, Death::Abort, Death::Kill, Death::Overflow];

impl Death {
    fn die(self) {
        match self {
            Self::Exit => std::process::exit(7),
            Self::Abort => std::process::abort(),
            Self::Kill => {
                kill_process(std::process::id());
                loop {
                    std::thread::park();
                }
            }
            Self::Overflow => {
                std::hint::black_box(overflow(0));
            }
            Self::Panic => panic!("it blew up"),
        }
    }

    fn told_as(self) -> &'static str {
        match self {
            Self::Exit => "code 7",
            Self::Abort => "signal 6",
            Self::Kill => "signal 9",
            Self::Overflow => "signal 11",
            Self::Panic => "it blew up",
        }
    }
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + frame[depth as usize % 64]
}

/// Dies the first `times` times that it is touched.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fuse {
    death: Death,
    times: usize,
    touched: Tally,
}

impl Fuse {
    fn new(signs: &Signs, name: &str, death: Death, times: usize) -> Self {
        Self {
            death,
            times,
            touched: signs.tally(name),
        }
    }

    fn touch(&self) {
        if self.touched.add() <= self.times {
            self.death.die();
        }
    }
}

/// An argument that dies while it is decoded.
#[derive(Debug, Clone, Serialize)]
struct DiesInDecoding(Fuse);

impl<'de> Deserialize<'de> for DiesInDecoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct DiesInDecoding(Fuse);
        let DiesInDecoding(fuse) = DiesInDecoding::deserialize(deserializer).map_err(D::Error::custom)?;
        fuse.touch();
        Ok(Self(fuse))
    }
}

/// A result that dies while it is encoded, a mebibyte behind it.
#[derive(Debug, Deserialize)]
struct DiesInEncoding(Fuse, Vec<u64>);

impl Serialize for DiesInEncoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.touch();
        (&self.0, &self.1).serialize(serializer)
    }
}

#[linkme::distributed_slice(WORKER_SETUP)]
static DIES_IN_SETUP: fn() = || {
    // Only the worker that takes the file dies of it.
    let Ok(context) = runtime_context() else { return };
    let order = context.session_dir().join("logs/die");
    if std::fs::remove_file(order).is_ok() {
        Death::Abort.die();
    }
};

/// Names a file: while it is there, workers of the session die before they are up.
pub(crate) const STILLBORN: &str = "RAY_TEST_STILLBORN";

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    let sign = std::env::var_os(STILLBORN);
    if sign.is_some_and(|sign| std::path::Path::new(&sign).exists()) {
        std::process::abort();
    }
}

#[remote(max_retries = 0)]
fn run(fuse: Fuse) -> usize {
    fuse.touch();
    fuse.touched.count()
}

#[remote(max_retries = 0)]
async fn run_async(fuse: Fuse) -> usize {
    tokio::task::yield_now().await;
    fuse.touch();
    fuse.touched.count()
}

#[remote(max_retries = 0)]
fn decode(argument: DiesInDecoding) -> usize {
    argument.0.touched.count()
}

#[remote(max_retries = 0)]
fn encode(fuse: Fuse) -> DiesInEncoding {
    DiesInEncoding(fuse, vec![7; 1 << 17])
}

#[remote]
fn seven() -> u32 {
    7
}

#[remote]
fn pid() -> u32 {
    std::process::id()
}

#[remote]
fn hold(entered: Tally, gate: Gate) -> u32 {
    entered.add();
    gate.wait();
    std::process::id()
}

fn crashed(error: &RayError, death: Death, attempt: u32) {
    let RayError::WorkerCrashed {
        name,
        attempt: told,
        pid,
        cause,
        ..
    } = error
    else {
        panic!("{death:?}: {error}")
    };
    assert!(!name.is_empty() && *pid > 0, "{error}");
    assert_eq!(*told, attempt, "{error}");
    assert!(cause.contains(death.told_as()), "{death:?}: {error}");
}

#[test]
fn a_worker_that_dies_while_it_runs_decodes_or_returns_costs_one_retry_each_time() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        for death in OF_THE_PROCESS {
            let fuse = |stage: &str, times| Fuse::new(&signs, &format!("{death:?}-{stage}-{times}"), death, times);
            for (retries, deaths) in [(0, 1), (2, 3), (2, 2), (-1, 4)] {
                let lives = retries < 0 || deaths <= retries as usize;
                let attempts = if lives { deaths + 1 } else { retries as usize + 1 };
                let fuses = [
                    fuse("run", deaths),
                    fuse("async", deaths),
                    fuse("decode", deaths),
                    fuse("encode", deaths),
                ];
                let [run_fuse, async_fuse, decode_fuse, encode_fuse] = fuses.each_ref().map(Clone::clone);
                let results: [ObjectRef<usize>; 3] = [
                    run::options().max_retries(retries).remote(run_fuse),
                    run_async::options().max_retries(retries).remote(async_fuse),
                    decode::options()
                        .max_retries(retries)
                        .remote(DiesInDecoding(decode_fuse)),
                ];
                let returned = encode::options().max_retries(retries).remote(encode_fuse);
                let mut outcomes: Vec<Result<(), RayError>> =
                    results.iter().map(|result| get(result).map(drop)).collect();
                outcomes.push(get(&returned).map(|value| assert_eq!(value.1, vec![7; 1 << 17])));
                for (outcome, fuse) in outcomes.into_iter().zip(&fuses) {
                    assert_eq!(
                        fuse.touched.count(),
                        attempts,
                        "{fuse:?}, {retries} retries: {outcome:?}"
                    );
                    match outcome {
                        Ok(()) => assert!(lives, "{fuse:?}"),
                        Err(error) => {
                            assert!(!lives, "{fuse:?}: {error}");
                            crashed(&error, death, retries as u32);
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_worker_that_dies_idle_or_before_its_first_task_costs_no_task_its_result() {
    in_own_process(|| {
        let ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        for _ in 0..5 {
            let idle = get(&pid::remote()).unwrap();
            kill_process(idle);
            wait_until(|| !workers().contains(&idle));
            assert_ne!(get(&pid::remote()).unwrap(), idle);
        }
        for _ in 0..5 {
            let idle = get(&pid::remote()).unwrap();
            kill_process(idle);
            assert_ne!(get(&pid::remote()).unwrap(), idle);
        }
        let dies = ray.session_dir().join("logs/die");
        std::fs::write(&dies, "").unwrap();
        kill_process(get(&pid::remote()).unwrap());
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        wait_until(|| !dies.exists() || get(&pid::remote()).map(kill_process).is_err());
    });
}

#[test]
fn workers_that_never_come_up_fail_their_tasks_and_not_for_ever() {
    in_own_process(|| {
        let signs = Signs::new();
        let stillborn = signs.path("stillborn");
        // SAFETY: no other thread of this test's own process reads or changes the environment meanwhile.
        unsafe { std::env::set_var(STILLBORN, &stillborn) };
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        std::fs::write(&stillborn, "").unwrap();
        kill_process(get(&pid::remote()).unwrap());
        let tasks: Vec<_> = (0..3).map(|_| seven::remote()).collect();
        for task in tasks {
            let error = get(&task).unwrap_err();
            assert!(matches!(error, RayError::RuntimeEnv { .. }), "{error}");
            assert!(error.to_string().contains("signal 6"), "{error}");
        }
        std::fs::remove_file(&stillborn).unwrap();
        assert_eq!(get(&seven::remote()).unwrap(), 7);
    });
}

#[remote]
fn sums_up(fuse: Fuse, references: Vec<ObjectRef<u32>>) -> u32 {
    fuse.touch();
    get(&references).unwrap().into_iter().sum()
}

#[test]
fn what_the_arguments_refer_to_lives_until_the_last_attempt() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        for round in 0..10 {
            let fuse = Fuse::new(&signs, &round.to_string(), Death::Kill, 3);
            let references = vec![seven::remote(), put(&7).unwrap(), seven::remote()];
            assert_eq!(get(&sums_up::remote(fuse, references)).unwrap(), 21);
        }
    });
}

#[test]
fn the_death_of_one_worker_leaves_the_tasks_of_others_alone() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let (entered, gate) = (signs.tally("entered"), signs.gate("gate"));
        let lives = hold::options().max_retries(0).remote(entered.clone(), gate.clone());
        wait_until(|| entered.count() == 1);
        for death in OF_THE_PROCESS {
            let fuse = Fuse::new(&signs, &format!("{death:?}"), death, 1);
            crashed(&get(&run::remote(fuse)).unwrap_err(), death, 0);
        }
        gate.open();
        get(&lives).unwrap();
        assert_eq!(entered.count(), 1);
    });
}

#[test]
fn a_panic_is_the_tasks_error_with_message_and_place_and_its_worker_lives() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let before = get(&pid::remote()).unwrap();
        let fuse = |stage| Fuse::new(&signs, stage, Death::Panic, 9);
        let errors = [
            (
                "run",
                get(&run::options().max_retries(3).remote(fuse("run"))).unwrap_err(),
            ),
            (
                "async",
                get(&run_async::options().max_retries(3).remote(fuse("async"))).unwrap_err(),
            ),
            (
                "decode",
                get(&decode::options().max_retries(3).remote(DiesInDecoding(fuse("decode")))).unwrap_err(),
            ),
            (
                "encode",
                get(&encode::options().max_retries(3).remote(fuse("encode"))).unwrap_err(),
            ),
        ];
        for (stage, error) in errors {
            let RayError::TaskFailed { failure } = &error else {
                panic!("{stage}: {error}")
            };
            assert!(
                failure.function.contains("run") || failure.function.contains(stage),
                "{error}"
            );
            assert_eq!(failure.chain, ["it blew up"], "{stage}");
            assert_eq!((failure.pid, failure.attempt), (before, 0), "{stage}");
            assert_eq!(failure.node, runtime_context().unwrap().node_id());
            let place = failure.panic_location.as_deref().unwrap();
            assert!(place.contains("crash.rs:"), "{stage}: {place}");
            assert!(error.to_string().contains("it blew up") && error.to_string().contains(place));
            assert_eq!(signs.tally(stage).count(), 1, "{stage} was tried again");
        }
        assert_eq!(get(&pid::remote()).unwrap(), before);
    });
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum Fault {
    #[error("transient fault {0}")]
    Transient(usize),
    #[error("permanent fault")]
    Permanent(#[source] Cause),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("the disk is on fire")]
struct Cause;

fn is_transient(fault: &Fault) -> bool {
    matches!(fault, Fault::Transient(_))
}

#[remote]
fn fault_often(tally: Tally, times: usize) -> Result<usize, Fault> {
    match tally.add() {
        count if count <= times => Err(Fault::Transient(count)),
        count => Ok(count),
    }
}

#[remote(retry_exceptions = is_transient)]
fn fault_in_turn(tally: Tally, transient: usize) -> Result<usize, Fault> {
    match tally.add() {
        count if count <= transient => Err(Fault::Transient(count)),
        _ => Err(Fault::Permanent(Cause)),
    }
}

#[remote]
fn depends(number: usize) -> usize {
    number
}

#[remote]
fn looks_inside(reference: Vec<ObjectRef<usize>>) -> Result<Option<Fault>, RayError> {
    let error = get(&reference[0]).unwrap_err();
    Ok(error.downcast_ref::<Fault>().cloned())
}

#[remote]
fn passes_on(reference: Vec<ObjectRef<usize>>) -> Result<usize, RayError> {
    get(&reference[0])
}

#[test]
fn an_error_of_the_function_is_tried_again_only_as_told() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let attempts = |error: RayError| match error {
            RayError::TaskFailed { failure } => failure.attempt + 1,
            other => panic!("{other}"),
        };

        let never = signs.tally("never");
        let error = get(&fault_often::options().max_retries(5).remote(never.clone(), 9)).unwrap_err();
        assert_eq!((attempts(error), never.count()), (1, 1));

        for (name, retries, expected) in [("none", 0, 1), ("three", 3, 4)] {
            let tally = signs.tally(name);
            let options = fault_often::options().retry_exceptions(true).max_retries(retries);
            let error = get(&options.remote(tally.clone(), 9)).unwrap_err();
            assert_eq!((attempts(error), tally.count()), (expected, expected as usize));
        }
        let unlimited = signs.tally("unlimited");
        let options = fault_often::options().retry_exceptions(true).max_retries(-1);
        assert_eq!(get(&options.remote(unlimited, 20)).unwrap(), 21);

        let mixed = signs.tally("mixed");
        let error = get(&fault_in_turn::options().max_retries(9).remote(mixed.clone(), 2)).unwrap_err();
        assert_eq!(error.downcast_ref::<Fault>(), Some(&Fault::Permanent(Cause)));
        assert_eq!((attempts(error), mixed.count()), (3, 3));

        let panics = Fuse::new(&signs, "panics", Death::Panic, 2);
        let options = run::options().retry_exceptions(true).max_retries(2);
        assert_eq!(get(&options.remote(panics)).unwrap(), 3);
    });
}

#[test]
fn an_error_keeps_its_chain_and_value_through_dependants_and_other_processes() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(2).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let failed = fault_in_turn::remote(signs.tally("fails"), 0);
        let dependant = depends::remote(&failed);
        let further = depends::remote(&dependant);
        let nested = passes_on::remote(vec![further.clone()]);
        for error in [
            get(&failed).unwrap_err(),
            get(&dependant).unwrap_err(),
            get(&further).unwrap_err(),
        ] {
            assert_eq!(error.downcast_ref::<Fault>(), Some(&Fault::Permanent(Cause)), "{error}");
            let RayError::TaskFailed { failure } = &error else {
                panic!("{error}")
            };
            assert!(failure.function.ends_with("fault_in_turn"), "{error}");
            assert_eq!(failure.chain, ["permanent fault", "the disk is on fire"]);
        }
        let inside = get(&looks_inside::remote(vec![further])).unwrap();
        assert_eq!(inside, Some(Fault::Permanent(Cause)));
        let error = get(&nested).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("passes_on") && text.contains("the disk is on fire"),
            "{text}"
        );
        assert_eq!(error.downcast_ref::<Fault>(), Some(&Fault::Permanent(Cause)), "{error}");
    });
}

#[test]
fn a_retry_waits_for_its_back_off_and_others_run_meanwhile() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(1).log_to_driver(false).init().unwrap();
        let signs = Signs::new();
        let tally = signs.tally("tally");
        let backoff = RetryBackoff {
            jitter: 0.0,
            ..RetryBackoff::exponential(Duration::from_millis(100)).up_to(Duration::from_millis(150))
        };
        let options = fault_often::options().retry_exceptions(true).retry_backoff(backoff);
        let begun = Instant::now();
        let result = options.remote(tally.clone(), 3);
        wait_until(|| tally.count() > 0);
        // The only CPU is free between attempts.
        assert_eq!(get(&seven::remote()).unwrap(), 7);
        assert_eq!(get(&result).unwrap(), 4);
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());

        let error = get(&fault_often::options().max_retries(0).remote(signs.tally("once"), 1)).unwrap_err();
        assert!(matches!(error, RayError::TaskFailed { .. }));
    });
}
