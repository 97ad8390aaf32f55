//! Following log files: the handle to the thread that does it.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use super::following::Following;
use super::watcher::Bell;

/// How log files are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The longest line in bytes; longer ones are split.
    pub longest_line: usize,
    /// Within which time repetitions are counted; `None` shows every line.
    pub deduplicate_within: Option<Duration>,
}

impl Default for Options {
    /// Ray's window of five seconds, and lines of up to 64 KiB.
    fn default() -> Self {
        Self {
            longest_line: 64 * 1024,
            deduplicate_within: Some(Duration::from_secs(5)),
        }
    }
}

/// Which of a process's streams a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A file to follow, from its start.
#[derive(Debug, Clone)]
pub struct Follow {
    /// The file. It must exist, and may be followed once at a time.
    pub path: PathBuf,
    /// Who writes it: a task's or actor's name.
    pub name: String,
    /// The process that writes it.
    pub pid: u32,
    /// Which of the process's streams it is.
    pub stream: Stream,
}

/// A followed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FollowId(pub(super) u64);

/// A line to show. Its text is `(name pid=123) line`.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Who wrote it.
    pub name: &'a str,
    /// The process that wrote it.
    pub pid: u32,
    /// The stream it was written to.
    pub stream: Stream,
    /// The line without its end.
    pub text: &'a str,
}

impl fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} pid={}) {}", self.name, self.pid, self.text)
    }
}

/// Follows log files in a thread of its own. Dropping it shows what is left of all files, then ends.
#[derive(Debug)]
pub struct LogFollower {
    shared: Arc<Shared>,
    next_id: AtomicU64,
    /// The followed files, to see how long they are.
    files: Mutex<HashMap<FollowId, File>>,
    thread: Option<JoinHandle<()>>,
}

/// How the handle speaks to the thread.
#[derive(Debug)]
pub(super) struct Shared {
    commands: Mutex<Vec<Command>>,
    pub(super) bell: Bell,
}

impl Shared {
    pub(super) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Follow(FollowId, File, Follow),
    /// From this length of the file on.
    Rename(FollowId, String, u64),
    Finish(FollowId),
    End,
}

impl LogFollower {
    /// Starts the thread. `show` is called in it, line by line.
    pub fn start(options: Options, show: impl FnMut(LogLine<'_>) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            commands: Mutex::default(),
            bell: Bell::new()?,
        });
        let thread = std::thread::Builder::new().name("ray-logs".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || Following::new(options, show).run(&shared)
        })?;
        Ok(Self {
            shared,
            next_id: AtomicU64::new(0),
            files: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Follows a file.
    pub fn follow(&self, follow: Follow) -> io::Result<FollowId> {
        let file = File::open(&follow.path)?;
        let id = FollowId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.files().insert(id, file.try_clone()?);
        self.ask(Command::Follow(id, file, follow));
        Ok(id)
    }

    /// Gives a file's lines another name, those that are written from now on: its process runs something else.
    pub fn rename(&self, id: FollowId, name: impl Into<String>) {
        // The thread may come to it late, when there are lines of both.
        let length = self.files().get(&id).and_then(|file| file.metadata().ok());
        if let Some(length) = length {
            self.ask(Command::Rename(id, name.into(), length.len()));
        }
    }

    /// Shows what is left of a file, whose process has ended, and follows it no more.
    pub fn finish(&self, id: FollowId) {
        self.files().remove(&id);
        self.ask(Command::Finish(id));
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FollowId, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, command: Command) {
        self.shared
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command);
        self.shared.bell.ring();
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        self.ask(Command::End);
        if matches!(self.thread.take().map(JoinHandle::join), Some(Err(_))) {
            tracing::warn!("the thread that follows log files had ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;

    /// When a test is taken to hang.
    const HANGS: Duration = Duration::from_secs(120);
    const EVERY_LINE: Options = Options {
        longest_line: 100,
        deduplicate_within: None,
    };

    fn start(options: Options) -> (LogFollower, mpsc::Receiver<String>) {
        let (sender, shown) = mpsc::channel();
        let show = move |line: LogLine<'_>| sender.send(format!("{:?} {line}", line.stream)).unwrap();
        (LogFollower::start(options, show).unwrap(), shown)
    }

    fn log(directory: &Path, name: &str, pid: u32, stream: Stream) -> (File, Follow) {
        let path = directory.join(format!("{name}-{pid}"));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let name = name.to_owned();
        (
            file,
            Follow {
                path,
                name,
                pid,
                stream,
            },
        )
    }

    #[test]
    fn lines_are_shown_while_they_are_written_and_the_rest_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let (mut out, follow_out) = log(directory.path(), "f", 1, Stream::Stdout);
        let (mut err, follow_err) = log(directory.path(), "g", 2, Stream::Stderr);
        out.write_all(b"before\nhalf").unwrap();
        let (follower, shown) = start(EVERY_LINE);
        let next = || shown.recv_timeout(HANGS).unwrap();
        let id = follower.follow(follow_out).unwrap();
        assert_eq!(next(), "Stdout (f pid=1) before");
        follower.follow(follow_err).unwrap();
        err.write_all(b"oops\n").unwrap();
        assert_eq!(next(), "Stderr (g pid=2) oops");
        out.write_all(b" a line\n").unwrap();
        assert_eq!(next(), "Stdout (f pid=1) half a line");
        follower.rename(id, "Actor");
        out.write_all(b"last words").unwrap();
        follower.finish(id);
        assert_eq!(next(), "Stdout (Actor pid=1) last words");
        err.write_all(b"unfinished").unwrap();
        drop(follower);
        assert_eq!(next(), "Stderr (g pid=2) unfinished");
        assert!(shown.recv().is_err());
    }

    #[test]
    fn much_output_of_one_file_is_shown_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let (mut out, follow) = log(directory.path(), "f", 1, Stream::Stdout);
        let text: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
        assert!(text.len() > 2 << 20);
        out.write_all(text.as_bytes()).unwrap();
        let (follower, shown) = start(EVERY_LINE);
        follower.follow(follow).unwrap();
        drop(follower);
        let lines: Vec<_> = shown.iter().collect();
        assert_eq!(lines.len(), 200_000);
        assert!(
            lines
                .iter()
                .enumerate()
                .all(|(number, line)| *line == format!("Stdout (f pid=1) line {number}"))
        );
    }

    #[test]
    fn what_several_processes_repeat_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (follower, shown) = start(Options::default());
        for pid in 0..4 {
            let (mut out, follow) = log(directory.path(), "f", pid, Stream::Stdout);
            out.write_all(b"loading the model\n").unwrap();
            let id = follower.follow(follow).unwrap();
            follower.finish(id);
        }
        drop(follower);
        let lines: Vec<_> = shown.iter().collect();
        let expected = [
            "Stdout (f pid=0) loading the model",
            "Stdout (f pid=3) loading the model [repeated 3x across cluster]",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_file_that_does_not_exist_is_an_error() {
        let (follower, _shown) = start(EVERY_LINE);
        let follow = Follow {
            path: "/nowhere/log".into(),
            name: "f".to_owned(),
            pid: 1,
            stream: Stream::Stdout,
        };
        assert!(follower.follow(follow).is_err());
    }
}
