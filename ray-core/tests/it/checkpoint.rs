//! Actors whose state is saved: restarts, later runs, damage, full disks.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ray_core::{
    Checkpoint, CheckpointPolicy, CheckpointSummary, Isolation, ObjectRef, RayError, get, get_timeout, kill,
    list_actors, put, remote, runtime_context,
};

use crate::support::{Gate, Signs, Tally, Watchdog, in_own_process, is_gone, kill_process, skip, wait_until};

/// Counts, and is saved.
struct Register {
    total: AtomicI64,
    ballast: Vec<u8>,
}

impl Checkpoint for Register {
    type State = (i64, Vec<u8>);

    fn save(&self) -> Self::State {
        (self.total.load(Ordering::Relaxed), self.ballast.clone())
    }

    fn restore((total, ballast): Self::State) -> Self {
        Self {
            total: AtomicI64::new(total),
            ballast,
        }
    }
}

#[remote(max_restarts = -1, max_task_retries = -1)]
impl Register {
    fn new(made: Option<Tally>) -> Self {
        if let Some(made) = made {
            made.add();
        }
        Self {
            total: AtomicI64::new(0),
            ballast: Vec::new(),
        }
    }

    fn add(&mut self, amount: i64) -> i64 {
        *self.total.get_mut() += amount;
        *self.total.get_mut()
    }

    /// Beside others.
    fn add_shared(&self, amount: i64) -> i64 {
        self.total.fetch_add(amount, Ordering::Relaxed) + amount
    }

    fn add_noted(&mut self, runs: Tally, go_on: Gate) -> i64 {
        if runs.add() == 1 {
            go_on.wait();
        }
        self.add(1)
    }

    fn add_large(&mut self) -> Vec<u64> {
        let total = self.add(1);
        vec![u64::try_from(total).unwrap(); 100_000]
    }

    fn refuse(&mut self) -> Result<i64, std::io::Error> {
        Err(std::io::Error::other(format!("refused at {}", self.add(1))))
    }

    async fn wait(&self, gate: Gate) {
        while !gate.is_open() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Calls itself.
    async fn add_twice(&self, itself: RegisterHandle) -> i64 {
        itself.add_shared(1).await.unwrap();
        itself.add_shared(1).await.unwrap()
    }

    fn weigh(&mut self, bytes: usize) -> usize {
        self.ballast = vec![7; bytes];
        bytes
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn kill_register(register: &RegisterHandle) {
    let pid = get(&register.pid()).unwrap();
    kill_process(pid);
    wait_until(|| is_gone(pid));
}

fn summary(name: &str) -> CheckpointSummary {
    let mut actors = list_actors().unwrap().into_iter();
    let actor = actors.find(|actor| actor.name.as_deref() == Some(name) && actor.state != "DEAD");
    actor.unwrap().checkpoint.unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The files of saved states, the oldest first.
fn states(place: &Path) -> Vec<PathBuf> {
    let directories = std::fs::read_dir(place).unwrap().flatten();
    let files = directories.flat_map(|directory| std::fs::read_dir(directory.path()).unwrap().flatten());
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "state"));
    files.sort();
    files
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_restart_restores_the_state_and_does_not_run_the_constructor() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let made = signs.tally("made");
    let register = Register::options().checkpoint(1_u32).remote(Some(made.clone()));
    for expected in 1..=3 {
        assert_eq!(get(&register.add(1)).unwrap(), expected);
    }
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 4);
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 5);
    assert_eq!(made.count(), 1);
}

#[test]
fn where_every_call_is_saved_each_counts_once_and_its_result_is_known_again_whenever_the_process_dies() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let options = Register::options().checkpoint(1_u32).name("stormy");
    let register = options.checkpoint_place(text(place.path())).remote(None);
    let mut pid = get(&register.pid()).unwrap();
    let mut added = 0;
    for round in 0..16 {
        let before = states(place.path());
        let calls: Vec<ObjectRef<i64>> = (0..60).map(|_| register.add(1)).collect();
        if round % 2 == 0 {
            // Just when a state is on disk, and the answers that wait for it have not left.
            while states(place.path()).last() == before.last() {}
        } else {
            get(&calls[round * 3]).unwrap();
        }
        kill_process(pid);
        for call in &calls {
            added += 1;
            assert_eq!(get(call).unwrap(), added);
        }
        wait_until(|| is_gone(pid));
        pid = get(&register.pid()).unwrap();
    }
    let saved = summary("stormy");
    assert_eq!(saved.loss_bound, Some(0));
    assert_eq!(saved.error, None);
}

#[remote]
fn add_many(register: RegisterHandle, calls: usize, under_way: Tally) -> Vec<i64> {
    let calls: Vec<_> = (0..calls).map(|_| register.add(1)).collect();
    let mut totals = Vec::new();
    for call in &calls {
        totals.push(get(call).unwrap());
        under_way.add();
    }
    totals
}

#[test]
fn the_calls_of_each_caller_keep_their_order_and_count_once_through_restarts() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let register = Register::options().checkpoint(1_u32).name("many callers").remote(None);
    let mut pid = get(&register.pid()).unwrap();
    let under_way = signs.tally("under way");
    let callers: Vec<_> = (0..2)
        .map(|_| {
            add_many::options()
                .num_cpus(0.0)
                .remote(register.clone(), 150, under_way.clone())
        })
        .collect();
    for answered in [20, 120, 220] {
        wait_until(|| under_way.count() >= answered);
        kill_process(pid);
        wait_until(|| is_gone(pid));
        pid = get(&register.pid()).unwrap();
    }
    let totals = get(&callers).unwrap();
    for of_caller in &totals {
        assert!(of_caller.is_sorted(), "{of_caller:?}");
    }
    let mut all = totals.concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(1..=300), "{all:?}");
}

#[test]
fn errors_and_large_results_of_saved_calls_are_known_again_too() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let register = Register::options().checkpoint(1_u32).remote(None);
    for round in 0..4_i64 {
        let pid = get(&register.pid()).unwrap();
        let (large, refused) = (register.add_large(), register.refuse());
        std::thread::sleep(Duration::from_micros(u64::try_from(round).unwrap() * 300));
        kill_process(pid);
        let total = u64::try_from(round * 2 + 1).unwrap();
        let large = get(&large).unwrap();
        assert!(large.len() == 100_000 && large.iter().all(|number| *number == total));
        let error = get(&refused).unwrap_err().to_string();
        assert!(error.contains(&format!("refused at {}", total + 1)), "{error}");
        wait_until(|| is_gone(pid));
    }
}

#[test]
fn a_call_that_the_death_interrupts_is_run_again_on_the_saved_state() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let register = Register::options().checkpoint(1_u32).remote(None);
    assert_eq!(get(&register.add(10)).unwrap(), 10);
    let (pid, runs) = (get(&register.pid()).unwrap(), signs.tally("runs"));
    let interrupted = register.add_noted(runs.clone(), signs.gate("never"));
    let later = register.add(100);
    wait_until(|| runs.count() == 1);
    kill_process(pid);
    assert_eq!(get(&interrupted).unwrap(), 11);
    assert_eq!(get(&later).unwrap(), 111);
    assert_eq!(runs.count(), 2);
}

#[test]
fn every_n_calls_the_state_is_saved_and_what_was_answered_later_is_lost() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let register = Register::options().checkpoint(10_u32).name("tens").remote(None);
    assert_eq!(summary("tens").saves, 0);
    for expected in 1..=9 {
        assert_eq!(get(&register.add(1)).unwrap(), expected);
    }
    assert_eq!(summary("tens").saves, 0);
    assert_eq!(get(&register.add(1)).unwrap(), 10);
    wait_until(|| summary("tens").saves == 1);
    let saved = summary("tens");
    assert_eq!(
        (saved.policy, saved.loss_bound),
        (CheckpointPolicy::every_calls(10), Some(19))
    );
    for expected in 11..=15 {
        assert_eq!(get(&register.add(1)).unwrap(), expected);
    }
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 11);
}

#[test]
fn after_a_time_the_state_is_saved_once_if_there_were_calls() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let policy = CheckpointPolicy::every(Duration::from_millis(40));
    let register = Register::options().checkpoint(policy).name("timed").remote(None);
    assert_eq!(get(&register.add(1)).unwrap(), 1);
    wait_until(|| summary("timed").saves == 1);
    // No call, no save.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((summary("timed").saves, summary("timed").unsaved_calls), (1, 0));
    assert_eq!(get(&register.add(1)).unwrap(), 2);
    wait_until(|| summary("timed").saves == 2);
    assert_eq!(summary("timed").loss_bound, None);
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 3);
}

#[test]
fn a_named_actor_goes_on_in_a_later_run_and_one_in_the_session_directory_does_not() {
    in_own_process(|| {
        let (place, signs) = (tempfile::tempdir().unwrap(), Signs::new());
        let made = signs.tally("made");
        let kept = || {
            let options = Register::options().name("kept/counter").checkpoint(1_u32);
            options.checkpoint_place(text(place.path())).remote(Some(made.clone()))
        };
        let session = || Register::options().name("session's").checkpoint(1_u32).remote(None);
        for run in 1..=3 {
            let ray = ray_core::init().unwrap();
            let (kept, session) = (kept(), session());
            assert_eq!(get(&kept.add(1)).unwrap(), run);
            assert_eq!(get(&session.add(1)).unwrap(), 1);
            // Whoever looks it up in a worker, too.
            drop(ray);
        }
        assert_eq!(made.count(), 1);
        let ray = ray_core::Builder::default().namespace("other").init().unwrap();
        assert_eq!(get(&kept().add(1)).unwrap(), 1);
        drop(ray);
    });
}

#[test]
fn an_actor_that_ends_as_it_should_is_saved_at_its_end() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let register = || {
        let options = Register::options().name("ends well").checkpoint(1_000_u32);
        options.checkpoint_place(text(place.path())).remote(None)
    };
    let first = register();
    for expected in 1..=3 {
        assert_eq!(get(&first.add(1)).unwrap(), expected);
    }
    let pid = get(&first.pid()).unwrap();
    drop(first);
    wait_until(|| is_gone(pid));
    assert_eq!(get(&register().add(1)).unwrap(), 4);
}

/// An actor that is not due for a save for long.
fn lazy(place: &Path) -> RegisterHandle {
    let options = Register::options().name("lazy").checkpoint(1_000_u32);
    options.checkpoint_place(text(place)).remote(None)
}

#[test]
fn a_session_that_ends_saves_what_was_answered() {
    in_own_process(|| {
        let place = tempfile::tempdir().unwrap();
        for run in 0..3 {
            let ray = ray_core::init().unwrap();
            let register = lazy(place.path());
            for call in 1..=3 {
                assert_eq!(get(&register.add(1)).unwrap(), run * 3 + call);
            }
            // Whether a handle lives or not.
            match run {
                0 => ray.shutdown(),
                _ => drop((register, ray)),
            }
        }
        // Nothing new is saved by one that was only asked.
        let ray = ray_core::init().unwrap();
        let register = lazy(place.path());
        assert!(get(&register.pid()).unwrap() > 0);
        drop(ray);
    });
}

#[test]
fn at_the_end_of_a_session_the_running_call_ends_and_those_behind_it_are_given_up() {
    in_own_process(|| {
        let (place, signs) = (tempfile::tempdir().unwrap(), Signs::new());
        let ray = ray_core::init().unwrap();
        let register = lazy(place.path());
        assert_eq!(get(&register.add(1)).unwrap(), 1);
        let (runs, gate) = (signs.tally("runs"), signs.gate("go on"));
        let running = register.add_noted(runs.clone(), gate.clone());
        let behind: Vec<_> = (0..5).map(|_| register.add_noted(runs.clone(), gate.clone())).collect();
        wait_until(|| runs.count() == 1);
        let opener = std::thread::spawn(move || {
            // The driver's end has begun, and the actor hears of it soon.
            wait_until(|| runtime_context().is_err());
            std::thread::sleep(Duration::from_secs(1));
            gate.open();
        });
        drop(ray);
        opener.join().unwrap();
        assert!(get(&running).is_err() && behind.iter().all(|call| get(call).is_err()));
        assert_eq!(runs.count(), 1);
        let _ray = ray_core::init().unwrap();
        assert_eq!(get(&lazy(place.path()).add(1)).unwrap(), 3);
    });
}

/// What this process logs.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_last_save_that_takes_too_long_is_given_up_with_a_warning_that_names_the_actor() {
    in_own_process(|| {
        let (place, signs, log) = (tempfile::tempdir().unwrap(), Signs::new(), Log::default());
        let writer = log.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
        let builder = ray_core::Builder::default().config("checkpoint_at_end_ms", "300");
        let ray = builder.init().unwrap();
        let head_log = ray.session_dir().join("logs/head.err");
        let register = lazy(place.path());
        assert_eq!(get(&register.add(1)).unwrap(), 1);
        let runs = signs.tally("runs");
        let _never_ends = register.add_noted(runs.clone(), signs.gate("never"));
        wait_until(|| runs.count() == 1);
        drop(ray);
        let mut said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        said += &std::fs::read_to_string(head_log).unwrap_or_default();
        let warned = said.contains("the actor `lazy` was ended before its last state was saved");
        assert!(warned && said.contains("checkpoint_at_end_ms"), "{said}");
        let _ray = ray_core::init().unwrap();
        assert_eq!(get(&lazy(place.path()).add(1)).unwrap(), 1);
    });
}

#[test]
fn at_the_end_of_a_session_the_states_of_actors_without_a_name_go_whatever_runs() {
    in_own_process(|| {
        let (place, signs) = (tempfile::tempdir().unwrap(), Signs::new());
        let ray = ray_core::init().unwrap();
        let options = Register::options().checkpoint(1_u32);
        let register = options.checkpoint_place(text(place.path())).remote(None);
        assert_eq!(get(&register.add(1)).unwrap(), 1);
        assert_eq!(states(place.path()).len(), 1);
        let runs = signs.tally("runs");
        let _never_ends = register.add_noted(runs.clone(), signs.gate("never"));
        wait_until(|| runs.count() == 1);
        drop(ray);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    });
}

#[remote]
fn create_lazy(place: PathBuf) -> (RegisterHandle, u32) {
    (lazy(&place), std::process::id())
}

#[test]
fn an_actor_whose_creator_has_died_is_saved_before_it_ends() {
    in_own_process(|| {
        let place = tempfile::tempdir().unwrap();
        let _ray = ray_core::init().unwrap();
        let (register, creator) = get(&create_lazy::remote(place.path().to_owned())).unwrap();
        for expected in 1..=3 {
            assert_eq!(get(&register.add(1)).unwrap(), expected);
        }
        let pid = get(&register.pid()).unwrap();
        kill_process(creator);
        wait_until(|| is_gone(pid));
        assert_eq!(get(&lazy(place.path()).add(1)).unwrap(), 4);
    });
}

#[test]
fn the_states_of_an_actor_without_a_name_go_with_it() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let options = Register::options().checkpoint(1_u32);
    let register = options.checkpoint_place(text(place.path())).remote(None);
    assert_eq!(get(&register.add(1)).unwrap(), 1);
    assert_eq!(states(place.path()).len(), 1);
    drop(register);
    wait_until(|| std::fs::read_dir(place.path()).unwrap().count() == 0);
}

#[test]
fn a_damaged_state_is_passed_over_for_the_one_before_and_two_are_an_error_that_names_them() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let register = || {
        let options = Register::options().name("damaged").checkpoint(1_u32);
        options.checkpoint_place(text(place.path())).remote(None)
    };
    let first = register();
    for expected in 1..=3 {
        assert_eq!(get(&first.add(1)).unwrap(), expected);
    }
    kill(&first, true).unwrap();
    let files = states(place.path());
    assert_eq!(files.len(), 2);
    damage(&files[1]);
    let second = register();
    assert_eq!(get(&second.add(10)).unwrap(), 12);
    kill(&second, true).unwrap();
    let files = states(place.path());
    files.iter().for_each(|file| damage(file));
    let error = get(&register().add(1)).unwrap_err();
    assert!(matches!(error, RayError::Checkpoint { .. }), "{error}");
    let error = error.to_string();
    let named = files.iter().all(|file| error.contains(&text(file)));
    assert!(named && error.contains("remove the directory"), "{error}");
    std::fs::remove_dir_all(files[0].parent().unwrap()).unwrap();
    assert_eq!(get(&register().add(1)).unwrap(), 1);
}

/// Another type.
struct Other;

impl Checkpoint for Other {
    type State = ();

    fn save(&self) {}

    fn restore((): ()) -> Self {
        Self
    }
}

#[remote]
impl Other {
    fn new() -> Self {
        Self
    }

    fn call(&self) {}
}

#[test]
fn the_state_of_another_type_is_an_error_that_names_both() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let options = Register::options().name("two types").checkpoint(1_u32);
    let register = options.checkpoint_place(text(place.path())).remote(None);
    assert_eq!(get(&register.add(1)).unwrap(), 1);
    kill(&register, true).unwrap();
    let options = Other::options().name("two types").checkpoint(1_u32);
    let error = get(&options.checkpoint_place(text(place.path())).remote().call()).unwrap_err();
    assert!(matches!(error, RayError::Checkpoint { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("::Register`") && error.contains("::Other`"), "{error}");
    assert_eq!(states(place.path()).len(), 1, "it is still there");
}

/// A small disk.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, Some(options.as_c_str())).ok()?;
        Some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_and_ends_neither_the_actor_nor_what_was_saved() {
    let Some(disk) = Disk::mount(256 << 10) else {
        return skip("the right to mount a small tmpfs");
    };
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let options = Register::options().name("full").checkpoint(1_u32);
    let register = options.checkpoint_place(text(disk.0.path())).remote(None);
    assert_eq!(get(&register.add(1)).unwrap(), 1);
    let error = get(&register.weigh(1 << 20)).unwrap_err();
    assert!(matches!(error, RayError::Checkpoint { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("No space left") && error.contains("has run"), "{error}");
    wait_until(|| summary("full").error.is_some());
    let told = summary("full");
    assert!(told.error.unwrap().contains("No space left"));
    assert_eq!(told.loss_bound, None);
    // What was saved before is restored.
    let actors = list_actors().unwrap();
    let full = actors.iter().find(|actor| actor.name.as_deref() == Some("full"));
    kill_process(full.unwrap().pid.unwrap());
    assert_eq!(get(&register.add(1)).unwrap(), 2);
    // The actor goes on, and the next save tries again.
    let pid = get(&register.pid()).unwrap();
    assert!(get(&register.weigh(1 << 20)).is_err());
    wait_until(|| summary("full").error.is_some());
    assert_eq!(get(&register.weigh(10)).unwrap(), 10);
    wait_until(|| summary("full").error.is_none());
    assert_eq!(get(&register.pid()).unwrap(), pid);
    drop(register);
    wait_until(|| is_gone(pid));
}

/// A disk that takes nothing until it is let go: who writes to the pipe waits for a reader.
struct SlowDisk(PathBuf);

impl SlowDisk {
    /// After a first save.
    fn before_next_save(place: &Path) -> Self {
        let pipe = states(place)[0].with_file_name("unfinished");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        Self(pipe)
    }

    /// The write that waits fails, since a pipe is no file.
    fn let_go(self) {
        drop(std::fs::File::open(self.0).unwrap());
    }
}

const A_WHILE: Duration = Duration::from_millis(150);

#[test]
fn calls_go_on_while_a_state_is_written_until_the_next_one_is_due() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let options = Register::options().name("slow disk").checkpoint(3_u32);
    let register = options.checkpoint_place(text(place.path())).remote(None);
    let add = |expected: i64| assert_eq!(get(&register.add(1)).unwrap(), expected);
    (1..=3).for_each(add);
    wait_until(|| summary("slow disk").saves == 1);
    let disk = SlowDisk::before_next_save(place.path());
    // The sixth has a save begin, and the ninth has the next one wait for it.
    (4..=9).for_each(add);
    let tenth = register.add(1);
    let error = get_timeout(&tenth, A_WHILE).unwrap_err();
    assert!(matches!(error, RayError::GetTimeout { .. }), "{error}");
    assert_eq!(summary("slow disk").saves, 1);
    disk.let_go();
    assert_eq!(get(&tenth).unwrap(), 10);
    wait_until(|| summary("slow disk").saves == 2);
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 10);
}

#[test]
fn where_every_call_is_saved_no_answer_leaves_before_its_state_is_on_disk() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let options = Register::options().name("very slow disk").checkpoint(1_u32);
    let register = options.checkpoint_place(text(place.path())).remote(None);
    let pid = get(&register.pid()).unwrap();
    let disk = SlowDisk::before_next_save(place.path());
    let (waits, behind) = (register.add(1), register.add(1));
    for call in [&waits, &behind] {
        let error = get_timeout(call, A_WHILE).unwrap_err();
        assert!(matches!(error, RayError::GetTimeout { .. }), "{error}");
    }
    // Nothing of them is on disk: both run again. The pipe goes first, so that the next process never writes to it; the one
    // that does hangs at it all the same.
    std::fs::remove_file(&disk.0).unwrap();
    kill_process(pid);
    wait_until(|| is_gone(pid));
    assert_eq!(get(&(waits, behind)).unwrap(), (1, 2));
}

#[test]
fn a_save_gives_way_to_calls_beside_one_that_does_not_end() {
    let _watchdog = Watchdog::start();
    let (_ray, signs) = (ray_core::init_or_join().unwrap(), Signs::new());
    let register = Register::options().checkpoint(2_u32).name("busy").remote(None);
    let gate = signs.gate("go on");
    let waiting = register.wait(gate.clone());
    for expected in 1..=20 {
        assert_eq!(get(&register.add_shared(1)).unwrap(), expected);
    }
    assert_eq!(summary("busy").saves, 0);
    gate.open();
    get(&waiting).unwrap();
    wait_until(|| summary("busy").saves > 0);
    kill_register(&register);
    let total = get(&register.add(1)).unwrap();
    assert!(total >= 20, "{total}");
}

#[test]
fn an_actor_whose_every_call_is_saved_can_wait_for_its_own_calls() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let register = Register::options().checkpoint(1_u32).remote(None);
    assert_eq!(get(&register.add_twice(register.clone())).unwrap(), 2);
    kill_register(&register);
    assert_eq!(get(&register.add(1)).unwrap(), 3);
}

/// Cannot always be saved.
#[derive(Default)]
struct Stubborn {
    reference: Option<ObjectRef<i64>>,
    panics: bool,
}

impl Checkpoint for Stubborn {
    type State = Option<ObjectRef<i64>>;

    fn save(&self) -> Self::State {
        assert!(!self.panics, "not to be saved");
        self.reference.clone()
    }

    fn restore(reference: Self::State) -> Self {
        Self {
            reference,
            panics: false,
        }
    }
}

#[remote]
impl Stubborn {
    fn new() -> Self {
        Self::default()
    }

    fn set(&mut self, reference: Vec<ObjectRef<i64>>, panics: bool) {
        self.reference = reference.into_iter().next();
        self.panics = panics;
    }
}

#[test]
fn a_state_with_references_or_a_panic_is_not_saved_and_the_actor_goes_on() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let stubborn = Stubborn::options().checkpoint(1_u32).remote();
    let reference = put(&1_i64).unwrap();
    for (references, panics, said) in [
        (vec![reference], false, "references"),
        (Vec::new(), true, "not to be saved"),
    ] {
        let error = get(&stubborn.set(references, panics)).unwrap_err();
        assert!(matches!(error, RayError::Checkpoint { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    get(&stubborn.set(Vec::new(), false)).unwrap();
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    let url = Register::options()
        .checkpoint(1_u32)
        .checkpoint_place("memory:///states");
    let shared = Register::options().checkpoint(1_u32).isolation(Isolation::Shared);
    for (register, said) in [
        (url.remote(None), "memory:///states"),
        (shared.remote(None), "checkpoint"),
    ] {
        let error = get(&register.add(1)).unwrap_err();
        assert!(matches!(error, RayError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let no_policy = Register::options().checkpoint_place("/tmp");
    let no_time = Register::options().checkpoint(Duration::ZERO);
    for register in [no_policy.remote(None), no_time.remote(None)] {
        let error = get(&register.add(1)).unwrap_err();
        assert!(matches!(error, RayError::InvalidOption { .. }), "{error}");
    }
}
