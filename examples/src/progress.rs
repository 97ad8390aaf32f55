//! How far a run is: a bar on a terminal, plain lines anywhere else. Both go to standard error.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// In plain lines, one is written for each of so many parts of the whole.
const LINES: u64 = 10;

/// A display of steps out of a known total.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines(Lines<io::Stderr>),
}

impl Progress {
    /// A display of `total` steps of `what`.
    pub fn new(what: &str, total: u64) -> Self {
        let shown = if io::stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_prefix(what.to_owned());
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {elapsed} {msg}");
            Shown::Bar(match style {
                Ok(style) => bar.with_style(style.progress_chars("=> ")),
                Err(_) => bar,
            })
        } else {
            Shown::Lines(Lines::new(io::stderr(), what, total))
        };
        Self { shown }
    }

    /// Shows that `done` steps are done, and a word about the present.
    pub fn set(&mut self, done: u64, message: &str) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_message(message.to_owned());
                bar.set_position(done);
            }
            Shown::Lines(lines) => lines.set(done, message),
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.abandon();
        }
    }
}

/// A line whenever a further part of the whole is done.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    what: String,
    total: u64,
    written: u64,
}

impl<W: Write> Lines<W> {
    fn new(out: W, what: &str, total: u64) -> Self {
        Self {
            out,
            what: what.to_owned(),
            total,
            written: 0,
        }
    }

    fn set(&mut self, done: u64, message: &str) {
        let part = done * LINES / self.total.max(1);
        if part > self.written {
            self.written = part;
            // A progress line that cannot be written is no reason to stop the work it tells of.
            drop(writeln!(self.out, "{} {done}/{} {message}", self.what, self.total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_written_for_each_tenth_only() {
        let mut lines = Lines::new(Vec::new(), "training", 100);
        for done in [0, 5, 10, 11, 12, 35, 100, 100] {
            lines.set(done, "ok");
        }
        let text = String::from_utf8(lines.out).unwrap();
        assert_eq!(text, "training 10/100 ok\ntraining 35/100 ok\ntraining 100/100 ok\n");
    }

    #[test]
    fn no_steps_at_all_are_no_error() {
        Lines::new(Vec::new(), "nothing", 0).set(0, "");
        let mut progress = Progress::new("nothing", 0);
        progress.set(0, "");
        progress.finish();
    }
}
