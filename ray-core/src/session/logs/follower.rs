//! The thread that follows log files.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::watcher::{Bell, Grown, Watch, Watcher};
use super::{Deduplicator, Lines};
use crate::clock;

const CHUNK: usize = 64 * 1024;
/// How much of one file is read before the others get their turn.
const TURN: usize = 1024 * 1024;

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
pub struct FollowId(u64);

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
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    commands: Mutex<Vec<Command>>,
    bell: Bell,
}

#[derive(Debug)]
enum Command {
    Follow(FollowId, File, Follow),
    Rename(FollowId, String),
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
            thread: Some(thread),
        })
    }

    /// Follows a file.
    pub fn follow(&self, follow: Follow) -> io::Result<FollowId> {
        let file = File::open(&follow.path)?;
        let id = FollowId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.ask(Command::Follow(id, file, follow));
        Ok(id)
    }

    /// Gives a file's lines another name from now on, because its process runs something else.
    pub fn rename(&self, id: FollowId, name: impl Into<String>) {
        self.ask(Command::Rename(id, name.into()));
    }

    /// Shows what is left of a file, whose process has ended, and follows it no more.
    pub fn finish(&self, id: FollowId) {
        self.ask(Command::Finish(id));
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

/// Who wrote a line. A process is one source, whatever the stream.
#[derive(Debug, Clone)]
struct Source {
    name: Arc<str>,
    pid: u32,
    stream: Stream,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

struct Followed {
    file: File,
    source: Source,
    lines: Lines,
    watch: Watch,
    /// Whether its turn ended before its bytes did.
    is_behind: bool,
}

/// The thread's state.
struct Following<Show> {
    longest_line: usize,
    watcher: Watcher,
    files: HashMap<FollowId, Followed>,
    output: Output<Show>,
    buffer: Vec<u8>,
}

struct Output<Show> {
    deduplicator: Option<Deduplicator<Source>>,
    show: Show,
}

impl<Show: FnMut(LogLine<'_>)> Output<Show> {
    fn line(&mut self, source: &Source, text: &str) {
        match &mut self.deduplicator {
            Some(deduplicator) => deduplicator.push(clock::monotonic(), source, text, shown_by(&mut self.show)),
            None => shown_by(&mut self.show)(source, text),
        }
    }

    fn flush(&mut self) {
        if let Some(deduplicator) = &mut self.deduplicator {
            deduplicator.flush(clock::monotonic(), shown_by(&mut self.show));
        }
    }

    fn finish(&mut self) {
        if let Some(deduplicator) = &mut self.deduplicator {
            deduplicator.finish(shown_by(&mut self.show));
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let due = self.deduplicator.as_ref()?.due()?;
        Some(due.saturating_sub(clock::monotonic()))
    }
}

fn shown_by(show: &mut impl FnMut(LogLine<'_>)) -> impl FnMut(&Source, &str) {
    |source, text| {
        show(LogLine {
            name: &source.name,
            pid: source.pid,
            stream: source.stream,
            text,
        });
    }
}

impl<Show: FnMut(LogLine<'_>)> Following<Show> {
    fn new(options: Options, show: Show) -> Self {
        Self {
            longest_line: options.longest_line,
            watcher: Watcher::new(),
            files: HashMap::new(),
            output: Output {
                deduplicator: options.deduplicate_within.map(Deduplicator::new),
                show,
            },
            buffer: vec![0; CHUNK],
        }
    }

    fn run(mut self, shared: &Shared) {
        loop {
            let commands = std::mem::take(&mut *shared.commands.lock().unwrap_or_else(PoisonError::into_inner));
            for command in commands {
                match command {
                    Command::Follow(id, file, follow) => self.follow(id, file, follow),
                    Command::Rename(id, name) => self.rename(id, &name),
                    Command::Finish(id) => self.finish(id),
                    Command::End => return self.end(),
                }
            }
            if let Err(error) = self.wait_and_read(&shared.bell) {
                tracing::warn!(%error, "log files are no longer followed");
                return self.end();
            }
        }
    }

    fn wait_and_read(&mut self, bell: &Bell) -> io::Result<()> {
        let is_behind = self.files.values().any(|file| file.is_behind);
        let has_polled = self.files.values().any(|file| file.watch == Watch::Polled);
        let timeout = if is_behind {
            Some(Duration::ZERO)
        } else {
            self.output.time_left()
        };
        let grown = self.watcher.wait(bell, timeout, has_polled)?;
        for file in self.files.values_mut() {
            let has_grown = match &grown {
                Grown::All => true,
                Grown::These(watches) => watches.contains(&file.watch),
            };
            if has_grown || file.is_behind {
                file.read(TURN, &mut self.buffer, &mut self.output);
            }
        }
        self.output.flush();
        Ok(())
    }

    fn follow(&mut self, id: FollowId, file: File, follow: Follow) {
        let mut followed = Followed {
            file,
            source: Source {
                name: follow.name.into(),
                pid: follow.pid,
                stream: follow.stream,
            },
            lines: Lines::new(self.longest_line),
            watch: self.watcher.watch(&follow.path),
            is_behind: false,
        };
        // After the watch began, so that nothing is missed.
        followed.read(TURN, &mut self.buffer, &mut self.output);
        self.files.insert(id, followed);
    }

    fn rename(&mut self, id: FollowId, name: &str) {
        if let Some(file) = self.files.get_mut(&id) {
            // What is there was written under the old name.
            file.read(usize::MAX, &mut self.buffer, &mut self.output);
            file.source.name = name.into();
        }
    }

    fn finish(&mut self, id: FollowId) {
        if let Some(mut file) = self.files.remove(&id) {
            self.watcher.unwatch(file.watch);
            file.read(usize::MAX, &mut self.buffer, &mut self.output);
            let Followed { lines, source, .. } = &mut file;
            lines.finish(|line| self.output.line(source, &line));
        }
    }

    fn end(mut self) {
        let ids: Vec<_> = self.files.keys().copied().collect();
        ids.into_iter().for_each(|id| self.finish(id));
        self.output.finish();
    }
}

impl Followed {
    /// Reads what is new, up to `most` bytes.
    fn read<Show: FnMut(LogLine<'_>)>(&mut self, most: usize, buffer: &mut [u8], output: &mut Output<Show>) {
        let mut taken = 0;
        self.is_behind = loop {
            match self.file.read(buffer) {
                Ok(0) => break false,
                Ok(bytes) => {
                    let Self { lines, source, .. } = self;
                    lines.push(&buffer[..bytes], |line| output.line(source, &line));
                    taken += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, pid = self.source.pid, "cannot read a log file");
                    break false;
                }
            }
            if taken >= most {
                break true;
            }
        };
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
        assert!(text.len() > 2 * TURN);
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
    fn without_inotify_files_are_looked_at_regularly() {
        let directory = tempfile::tempdir().unwrap();
        let (mut out, follow) = log(directory.path(), "f", 1, Stream::Stdout);
        let (sender, shown) = mpsc::channel();
        let show = move |line: LogLine<'_>| sender.send(line.text.to_owned()).unwrap();
        let mut following = Following::new(EVERY_LINE, show);
        following.watcher = Watcher::without_inotify();
        let file = File::open(&follow.path).unwrap();
        following.follow(FollowId(0), file, follow);
        out.write_all(b"seen\n").unwrap();
        following.wait_and_read(&Bell::new().unwrap()).unwrap();
        assert_eq!(shown.recv_timeout(HANGS).unwrap(), "seen");
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
