//! The thread that follows log files: waits, reads, cuts, counts, shows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::follower::{Command, Shared};
use super::watcher::{Bell, Grown, Watch, Watcher};
use super::{Deduplicator, Follow, FollowId, Lines, LogLine, Options, Stream};
use crate::clock;

const CHUNK: usize = 64 * 1024;
/// How much of one file is read before the others get their turn.
const TURN: usize = 1024 * 1024;

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
    /// How many bytes have been read.
    position: u64,
    /// How many there were when it was looked at last; `None` before that.
    length: Option<u64>,
    watch: Watch,
}

/// The thread's state.
pub(super) struct Following<Show> {
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
    pub(super) fn new(options: Options, show: Show) -> Self {
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

    /// A process is given a new name before it does what that names. So a line is shown under the right name if the lengths
    /// of the files are taken first, then the names, and then no more is read than was there.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            for command in shared.take_commands() {
                match command {
                    Command::Follow(id, file, follow) => self.follow(id, file, follow),
                    Command::Rename(id, name, from) => self.rename(id, &name, from),
                    Command::Finish(id) => self.finish(id),
                    Command::End => return self.end(),
                }
            }
            self.read();
            if let Err(error) = self.wait(&shared.bell) {
                tracing::warn!(%error, "log files are no longer followed");
                return self.end();
            }
        }
    }

    /// Waits until files have grown, and notes to where.
    fn wait(&mut self, bell: &Bell) -> io::Result<()> {
        // A new file is looked at after its watch began, so that nothing is missed.
        let is_behind = self.files.values().any(|file| file.length.is_none() || file.left() > 0);
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
            if has_grown || file.length.is_none() {
                file.look();
            }
        }
        Ok(())
    }

    /// Reads what was noted.
    fn read(&mut self) {
        for file in self.files.values_mut().filter(|file| file.left() > 0) {
            file.read(TURN.min(file.left()), &mut self.buffer, &mut self.output);
        }
        self.output.flush();
    }

    fn follow(&mut self, id: FollowId, file: File, follow: Follow) {
        let followed = Followed {
            file,
            source: Source {
                name: follow.name.into(),
                pid: follow.pid,
                stream: follow.stream,
            },
            lines: Lines::new(self.longest_line),
            position: 0,
            length: None,
            watch: self.watcher.watch(&follow.path),
        };
        self.files.insert(id, followed);
    }

    fn rename(&mut self, id: FollowId, name: &str, from: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            // What was there then was written under the old name.
            let before = usize::try_from(from.saturating_sub(file.position)).unwrap_or(usize::MAX);
            file.read(before, &mut self.buffer, &mut self.output);
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
    /// Bytes that are known and not read yet.
    fn left(&self) -> usize {
        let left = self.length.map_or(0, |length| length.saturating_sub(self.position));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn look(&mut self) {
        self.length = Some(self.file.metadata().map_or(self.position, |metadata| metadata.len()));
    }

    /// Reads what is new, up to `most` bytes.
    fn read<Show: FnMut(LogLine<'_>)>(&mut self, most: usize, buffer: &mut [u8], output: &mut Output<Show>) {
        let mut taken = 0;
        while taken < most {
            let wanted = buffer.len().min(most - taken);
            match self.file.read(&mut buffer[..wanted]) {
                // Somebody has cut the file.
                Ok(0) => return self.length = Some(self.position),
                Ok(bytes) => {
                    let Self { lines, source, .. } = self;
                    lines.push(&buffer[..bytes], |line| output.line(source, &line));
                    taken += bytes;
                    self.position += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, pid = self.source.pid, "cannot read a log file");
                    return self.length = Some(self.position);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn without_inotify_files_are_looked_at_regularly() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut out = File::create(&path).unwrap();
        let follow = Follow {
            path,
            name: "f".to_owned(),
            pid: 1,
            stream: Stream::Stdout,
        };
        let (sender, shown) = mpsc::channel();
        let show = move |line: LogLine<'_>| sender.send(line.text.to_owned()).unwrap();
        let mut following = Following::new(Options::default(), show);
        following.watcher = Watcher::without_inotify();
        let file = File::open(&follow.path).unwrap();
        following.follow(FollowId(0), file, follow);
        out.write_all(b"seen\n").unwrap();
        following.wait(&Bell::new().unwrap()).unwrap();
        following.read();
        assert_eq!(shown.try_recv().unwrap(), "seen");
    }
}
