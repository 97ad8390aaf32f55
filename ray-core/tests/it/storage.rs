//! Actors that are saved in object storage: over HTTP with a server that speaks S3, and what goes wrong on the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ray_core::{Checkpoint, RayError, get, get_timeout, kill, list_actors, remote};

use crate::support::{Watchdog, in_own_process_given, is_gone, kill_process, skip, wait_until};

/// Counts, and is saved.
struct Till(i64);

impl Checkpoint for Till {
    type State = i64;

    fn save(&self) -> i64 {
        self.0
    }

    fn restore(total: i64) -> Self {
        Self(total)
    }
}

#[remote(max_restarts = -1, max_task_retries = -1, checkpoint = 1)]
impl Till {
    fn new() -> Self {
        Self(0)
    }

    fn add(&mut self, amount: i64) -> i64 {
        self.0 += amount;
        self.0
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn till(name: &str, place: &str) -> TillHandle {
    Till::options().name(name).checkpoint_place(place).remote()
}

/// The error of a call whose actor's state could not be saved or restored.
fn checkpoint_error(result: ray_core::Result<i64>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, RayError::Checkpoint { .. }), "{error}");
    error.to_string()
}

/// How the test reaches the server without the runtime.
const SERVER: &str = "RAY_TEST_S3";
/// The directory by which the test opens and closes the way between.
const WAY: &str = "RAY_TEST_S3_WAY";
const NEEDS: &str =
    "the S3 server `moto_server` (`pip install 'moto[server]'`) in the PATH, or its path in RAY_TEST_MOTO_SERVER";

/// A server that speaks S3.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(environment: &[(&str, &str)]) -> Option<Self> {
        let program = std::env::var_os("RAY_TEST_MOTO_SERVER").unwrap_or_else(|| "moto_server".into());
        let mut process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("http://")?.1.trim().parse().ok());
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            process.kill().unwrap();
            process.wait().unwrap();
            return None;
        };
        let server = Self { process, address };
        assert_eq!(server.request("PUT", "/bucket", b"").0, 200);
        Some(server)
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        request(self.address, method, path, body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A request of the test's own, signed as badly as the server bears.
fn request(server: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let mut connection = TcpStream::connect(server).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Type: application/octet-stream\r\nAuthorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n"
    );
    connection.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// The names of the objects of an actor, in order.
fn objects(actor: &str) -> Vec<String> {
    let server = std::env::var(SERVER).unwrap().parse().unwrap();
    let (status, list) = request(
        server,
        "GET",
        &format!("/bucket?list-type=2&prefix=states/{actor}/"),
        b"",
    );
    assert_eq!(status, 200, "{list}");
    let keys = list.split("<Key>").skip(1);
    keys.map(|rest| rest.split_once("</Key>").unwrap().0.to_owned())
        .collect()
}

/// What lies between the runtime and the server: connections pass, or end at once.
struct Gateway {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Gateway {
    /// Closed as long as the file `close` is in the directory. The file `closed` tells that it is.
    fn start(server: SocketAddr, way: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        std::thread::spawn(move || {
            let (close, closed) = (way.join("close"), way.join("closed"));
            let mut open: Vec<TcpStream> = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let shut = Path::exists(&close);
                if shut && !Path::exists(&closed) {
                    for stream in open.drain(..) {
                        // It may have ended by itself.
                        let _gone = stream.shutdown(Shutdown::Both);
                    }
                    std::fs::write(&closed, "").unwrap();
                } else if !shut && Path::exists(&closed) {
                    std::fs::remove_file(&closed).unwrap();
                }
                match listener.accept() {
                    Ok((near, _)) if !shut => open.extend(forward(near, server)),
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { address, ends }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn forward(near: TcpStream, server: SocketAddr) -> Vec<TcpStream> {
    near.set_nonblocking(false).unwrap();
    let far = TcpStream::connect(server).unwrap();
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || {
            // Either side may end at any time.
            let _bytes = std::io::copy(&mut from, &mut to);
            let _gone = to.shutdown(Shutdown::Write);
        });
    }
    vec![near, far]
}

fn close_the_way() {
    let way = PathBuf::from(std::env::var_os(WAY).unwrap());
    std::fs::write(way.join("close"), "").unwrap();
    wait_until(|| Path::exists(&way.join("closed")));
}

fn open_the_way() {
    let way = PathBuf::from(std::env::var_os(WAY).unwrap());
    std::fs::remove_file(way.join("close")).unwrap();
    wait_until(|| !Path::exists(&way.join("closed")));
}

/// Lives as long as the process that uses it.
type Beside = (Server, Gateway, tempfile::TempDir);

/// A server with the bucket `bucket`, and what the process must know of it.
fn with_server() -> Option<(Beside, Vec<(&'static str, String)>)> {
    with_server_of(&[])
}

fn with_server_of(environment: &[(&str, &str)]) -> Option<(Beside, Vec<(&'static str, String)>)> {
    let Some(server) = Server::start(environment) else {
        skip(NEEDS);
        return None;
    };
    let way = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(server.address, way.path().to_owned());
    let variables = vec![
        ("AWS_ENDPOINT_URL", format!("http://{}", gateway.address)),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("RAY_CHECKPOINT_STORAGE_TIMEOUT_MS", "6000".to_owned()),
        (SERVER, server.address.to_string()),
        (WAY, way.path().to_str().unwrap().to_owned()),
    ];
    Some(((server, gateway, way), variables))
}

#[test]
fn a_named_actor_goes_on_from_object_storage_after_a_crash_and_in_a_later_run() {
    in_own_process_given(with_server, || {
        for run in 0..3 {
            let ray = ray_core::init().unwrap();
            let till = till("kept/till", "s3://bucket/states");
            assert_eq!(get(&till.add(1)).unwrap(), run * 3 + 1);
            let pid = get(&till.pid()).unwrap();
            kill_process(pid);
            // What was answered is there, and what was not runs again.
            assert_eq!(get(&till.add(1)).unwrap(), run * 3 + 2);
            wait_until(|| is_gone(pid));
            assert_eq!(get(&till.add(1)).unwrap(), run * 3 + 3);
            kill_process(get(&till.pid()).unwrap());
            drop(ray);
        }
        let saved = objects("anonymous.kept%252ftill");
        assert!((2..=4).contains(&saved.len()), "{saved:?}");
    });
}

/// The sign of a driver that is to be killed, in its environment.
const VICTIM: &str = "RAY_TEST_VICTIM";

#[test]
fn a_named_actor_goes_on_from_object_storage_when_its_driver_was_killed() {
    in_own_process_given(with_server, || {
        if let Some(ready) = std::env::var_os(VICTIM) {
            let _ray = ray_core::init().unwrap();
            let till = till("orphan", "s3://bucket/states");
            (1..=3).for_each(|expected| assert_eq!(get(&till.add(1)).unwrap(), expected));
            std::fs::write(ready, "").unwrap();
            std::thread::sleep(Duration::from_secs(600));
        }
        let directory = tempfile::Builder::new().prefix("ray-").tempdir_in("/tmp").unwrap();
        let ready = directory.path().join("ready");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env(VICTIM, &ready)
            .env("RAY_TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(|| {
            assert_eq!(victim.try_wait().unwrap(), None, "it ended by itself");
            Path::exists(&ready)
        });
        victim.kill().unwrap();
        victim.wait().unwrap();
        let _ray = ray_core::init().unwrap();
        assert_eq!(get(&till("orphan", "s3://bucket/states").add(1)).unwrap(), 4);
    });
}

#[test]
fn what_an_actor_without_a_name_saved_goes_with_it() {
    in_own_process_given(with_server, || {
        let _ray = ray_core::init().unwrap();
        let till = Till::options().checkpoint_place("s3://bucket/states").remote();
        assert_eq!(get(&till.add(1)).unwrap(), 1);
        let actor = list_actors().unwrap()[0].id.to_string();
        assert!(!objects(&actor).is_empty());
        drop(till);
        wait_until(|| objects(&actor).is_empty());
    });
}

#[test]
fn what_was_answered_is_saved_when_an_actor_or_its_session_ends_and_the_next_one_has_it() {
    in_own_process_given(with_server, || {
        let lazy = || {
            let options = Till::options().name("lazy").checkpoint(1_000_u32);
            options.checkpoint_place("s3://bucket/states").remote()
        };
        for run in 0..2 {
            let ray = ray_core::init().unwrap();
            let first = lazy();
            assert_eq!(get(&first.add(1)).unwrap(), run * 4 + 1);
            assert_eq!(get(&first.add(1)).unwrap(), run * 4 + 2);
            drop(first);
            // At once: it begins after the last save of the one before.
            let second = lazy();
            assert_eq!(get(&second.add(1)).unwrap(), run * 4 + 3);
            assert_eq!(get(&second.add(1)).unwrap(), run * 4 + 4);
            drop(ray);
        }
    });
}

#[test]
fn a_save_waits_for_a_server_that_is_away_for_a_second() {
    in_own_process_given(with_server, || {
        let _ray = ray_core::init().unwrap();
        let till = till("patient", "s3://bucket/states");
        assert_eq!(get(&till.add(1)).unwrap(), 1);
        let pid = get(&till.pid()).unwrap();
        close_the_way();
        let waits = till.add(1);
        let error = get_timeout(&waits, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, RayError::GetTimeout { .. }), "{error}");
        open_the_way();
        assert_eq!(get(&waits).unwrap(), 2);
        kill_process(pid);
        assert_eq!(get(&till.add(1)).unwrap(), 3);
    });
}

#[test]
fn a_server_that_stays_away_is_told_to_the_callers_and_the_next_save_tries_again() {
    in_own_process_given(with_server, || {
        let _ray = ray_core::init().unwrap();
        let till = till("unsaved", "s3://bucket/states");
        assert_eq!(get(&till.add(1)).unwrap(), 1);
        close_the_way();
        let error = checkpoint_error(get(&till.add(1)));
        assert!(
            error.contains("s3://bucket/states/anonymous.unsaved/") && error.contains("has run"),
            "{error}"
        );
        assert!(error.contains("checkpoint_storage_timeout_ms"), "{error}");
        open_the_way();
        assert_eq!(get(&till.add(1)).unwrap(), 3);
        kill(&till, false).unwrap();
        assert_eq!(get(&till.add(1)).unwrap(), 4);
    });
}

#[test]
fn an_actor_that_another_process_has_taken_over_is_told_so() {
    in_own_process_given(with_server, || {
        let _ray = ray_core::init().unwrap();
        let till = till("twice", "s3://bucket/states");
        assert_eq!(get(&till.add(1)).unwrap(), 1);
        let taken = objects("anonymous.twice").pop().unwrap();
        let number: u64 = taken
            .rsplit('/')
            .next()
            .unwrap()
            .trim_end_matches(".state")
            .parse()
            .unwrap();
        let claim = format!("/bucket/states/anonymous.twice/{:020}.state", number + 1);
        let server = std::env::var(SERVER).unwrap().parse().unwrap();
        assert_eq!(request(server, "PUT", &claim, b"another process!").0, 200);
        for _ in 0..2 {
            let error = checkpoint_error(get(&till.add(1)));
            assert!(
                error.contains("another process has taken over s3://bucket/states/"),
                "{error}"
            );
        }
        // A new process takes it over in turn.
        kill(&till, false).unwrap();
        assert_eq!(get(&till.add(1)).unwrap(), 2);
    });
}

#[test]
fn a_bucket_that_does_not_exist_is_an_error_that_names_it() {
    in_own_process_given(with_server, || {
        let _ray = ray_core::init().unwrap();
        let error = checkpoint_error(get(&till("lost", "s3://no-such-bucket/states").add(1)));
        assert!(
            error.contains("s3://no-such-bucket/states") && error.contains("bucket"),
            "{error}"
        );
        assert!(error.contains("does not exist"), "{error}");
    });
}

#[test]
fn wrong_credentials_are_an_error_at_once() {
    // Requests after the test's own need a user that exists.
    in_own_process_given(
        || with_server_of(&[("INITIAL_NO_AUTH_ACTION_COUNT", "1")]),
        || {
            let _ray = ray_core::init().unwrap();
            let error = checkpoint_error(get(&till("stranger", "s3://bucket/states").add(1)));
            assert!(error.contains("s3://bucket/states") && error.contains("403"), "{error}");
            assert!(!error.contains("tried"), "{error}");
        },
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error_after_the_time_that_was_set() {
    let key = r#"{"gcs_base_url": "http://127.0.0.1:9", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
    let nobody = || {
        let variables = vec![
            ("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_owned()),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0".to_owned()),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("RAY_CHECKPOINT_STORAGE_TIMEOUT_MS", "1500".to_owned()),
        ];
        Some(((), variables))
    };
    in_own_process_given(nobody, || {
        let _ray = ray_core::init().unwrap();
        for url in ["s3://bucket/states", "gs://bucket/states", "az://container/states"] {
            let begun = Instant::now();
            let error = checkpoint_error(get(&till(url, url).add(1)));
            assert!(error.contains(&format!("{url}/anonymous.")), "{error}");
            assert!(error.contains("refused") && error.contains("tried"), "{error}");
            // It was tried more than once.
            assert!(begun.elapsed() > Duration::from_millis(100), "{error}");
        }
    });
}

#[test]
fn a_file_url_is_the_directory() {
    let _watchdog = Watchdog::start();
    let (_ray, place) = (ray_core::init_or_join().unwrap(), tempfile::tempdir().unwrap());
    let path = place.path().join("with space");
    let url = format!("file://{}/with%20space", place.path().display());
    for (expected, place) in [(1, url.as_str()), (2, path.to_str().unwrap()), (3, &url)] {
        let till = till("by url and path", place);
        assert_eq!(get(&till.add(1)).unwrap(), expected);
        kill(&till, true).unwrap();
    }
}

#[test]
fn urls_that_are_no_place_are_refused() {
    let _watchdog = Watchdog::start();
    let _ray = ray_core::init_or_join().unwrap();
    for (url, said) in [
        ("memory:///states", "gone with it"),
        ("s3://id:secret@bucket/states", "environment"),
        ("https://example.com/states", "object storage"),
        ("tape://drive/states", "s3://"),
    ] {
        let error = get(&till("nowhere", url).add(1)).unwrap_err();
        assert!(matches!(error, RayError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}
