//! A running example: its lines as they come, its processes, and the watchdog over it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No example takes a tenth of it, on any machine.
const WATCHDOG: Duration = Duration::from_secs(180);

/// An example that runs; dropped, it is killed with SIGKILL.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    ends: Instant,
}

impl Program {
    /// Starts the executable `path`.
    pub(crate) fn start(path: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                // Ends with the program, or when the test has heard enough.
                lines.map(|line| sender.send(line)).find(Result::is_err)
            });
        }
        Self {
            child,
            lines,
            said: Vec::new(),
            ends: Instant::now() + WATCHDOG,
        }
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        loop {
            let line = self.next_line();
            let line = line.unwrap_or_else(|| panic!("it ended without a line {text:?}:\n{}", self.said.join("\n")));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end and gives all lines it wrote.
    pub(crate) fn finish(mut self) -> Vec<String> {
        while self.next_line().is_some() {}
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.said.join("\n"));
        std::mem::take(&mut self.said)
    }

    fn next_line(&mut self) -> Option<String> {
        let left = self.ends.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it hangs; it said:\n{}", self.said.join("\n")),
        }
    }

    /// The pids of its worker processes.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let (heads, mut workers): (Vec<u32>, Vec<u32>) = children_of(self.child.id()).into_iter().partition(is_head);
        workers.extend(heads.into_iter().flat_map(children_of));
        workers
    }

    /// Kills the program itself, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Whether a process is a head of its own, whose children the workers are.
fn is_head(pid: &u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ray::head\n")
}

fn children_of(pid: u32) -> Vec<u32> {
    // It may have ended.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children = children.collect::<Vec<_>>().concat();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only for a program that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Kills a process with SIGKILL, unless it was gone before: an idle worker may end at any time.
#[must_use]
pub(crate) fn kill(pid: u32) -> bool {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    status.unwrap().success()
}
