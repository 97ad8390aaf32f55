//! What workers print, from the thread that follows their files to the driver's terminal (HE-2).

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use crate::session::logs::{LogFollower, LogLine, Options, Stream};
use crate::wire::Frame;
use crate::wire::blocking::{read_frame, write_frame};

/// Follows files and prints their lines in this process.
pub(super) fn print_here(options: Options) -> io::Result<LogFollower> {
    LogFollower::start(options, print)
}

/// Follows files in the head and sends their lines to the driver.
pub(super) fn send_to_driver(options: Options, mut driver: UnixStream) -> io::Result<LogFollower> {
    LogFollower::start(options, move |line| {
        let frame = Frame::Output {
            name: line.name.to_owned(),
            pid: line.pid,
            stderr: line.stream == Stream::Stderr,
            text: line.text.to_owned(),
        };
        // A driver that is gone reads nothing.
        let _gone = write_frame(&mut driver, &frame);
    })
}

/// Prints in this process what the head sends, in a thread that ends when the head does.
pub(super) fn print_from_head(head: UnixStream) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("ray-logs".into()).spawn(move || {
        let mut head = BufReader::with_capacity(64 << 10, head);
        loop {
            match read_frame(&mut head) {
                Ok(Some(Frame::Output {
                    name,
                    pid,
                    stderr,
                    text,
                })) => print(LogLine {
                    name: &name,
                    pid,
                    stream: if stderr { Stream::Stderr } else { Stream::Stdout },
                    text: &text,
                }),
                Ok(Some(other)) => tracing::warn!(target: "ray_core::head", ?other, "a frame that is no output"),
                // A head that was killed may have begun a line.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(target: "ray_core::head", %error, "the output of workers is no longer shown");
                    return;
                }
            }
        }
    })
}

fn print(line: LogLine<'_>) {
    // A closed terminal is no reason to stop.
    let _closed = match line.stream {
        Stream::Stdout => writeln!(io::stdout().lock(), "{line}"),
        Stream::Stderr => writeln!(io::stderr().lock(), "{line}"),
    };
}
