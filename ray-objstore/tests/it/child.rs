//! Child processes: this test binary again, with a role. The store's descriptor is the child's standard input.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStdout, Command, Stdio};

use ray_objstore::Client;

use crate::support::{Watchdog, key, pattern, put};

const ROLE: &str = "RAY_OBJSTORE_TEST_ROLE";

/// A child that is killed and reaped when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    pub(crate) fn spawn(role: &str, store: Option<OwnedFd>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child::a_child_plays_its_role", "--nocapture"])
            .env(ROLE, role);
        command
            .stdin(store.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// Reads until the child says `word`.
    pub(crate) fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(&format!("@{word}")) {
                return;
            }
            line.clear();
        }
        panic!("the child ended before it said {word}");
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn succeed(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Already reaped is fine.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{word}").unwrap();
    out.flush().unwrap();
}

fn store() -> Client {
    Client::new(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap()
}

fn sleep_forever() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let _watchdog = Watchdog::start();
    match role.as_str() {
        "exchange" => {
            let client = store();
            assert_eq!(client.get(&key(1)).unwrap()[..], pattern(1, 3 << 20)[..]);
            put(&client, key(2), &pattern(2, 5 << 20));
            put(&client, key(3), b"small");
        }
        "pin" => {
            let client = store();
            let _view = client.get(&key(1)).unwrap();
            say("pinned");
            sleep_forever();
        }
        "create" => {
            let client = store();
            let mut writer = client.create(key(1), 8 << 20).unwrap();
            writer.fill(7);
            say("created");
            sleep_forever();
        }
        "churn" => {
            let client = store();
            say("started");
            for number in 0.. {
                put(
                    &client,
                    key(number % 50),
                    &pattern(number, 1 + number as usize * 37 % 100_000),
                );
                client.get(&key(number % 50)).ok();
                client.free(&[key((number + 25) % 50)]);
            }
        }
        "publish" => {
            let client = store();
            for number in 0..100 {
                put(&client, key(number), &pattern(number, 1000 + number as usize));
            }
            say("sealed");
            sleep_forever();
        }
        "publish forever" => {
            let client = store();
            say("started");
            for number in 0.. {
                put(
                    &client,
                    key(number % 500),
                    &pattern(number % 500, 1 + number as usize * 7 % 4000),
                );
                if number % 3 == 0 {
                    client.free(&[key((number + 250) % 500)]);
                }
            }
        }
        "nothing" => drop(store()),
        "leaks" => crate::leaks::leave_nothing(),
        "resident" => crate::disk::a_gibibyte_through_64_mebibytes(),
        other => panic!("no role {other}"),
    }
}
